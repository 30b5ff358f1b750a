"""Where alarms go, against real peers on loopback."""

import json
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tristream.anomaly import outlets
from tristream.anomaly.events import Event, Score
from tristream.anomaly.notes import Alarm, State
from tristream.anomaly.outlets import JsonLines, Mqtt, Webhook
from tristream.streams.errors import UsageError

CANARY = "sw0rdf1sh"
SCORE = Score(1.0, 2.0, 7.5, (0.0, 0.5, 0.25, 1.0), {"temporal": 7.5})
ALARM = Alarm("yard", False, Event(1.5, 2.0, SCORE, 1.5, 0.05), 1_700_000_000.0)
OVER = Alarm("yard", True, Event(1.5, 2.0, SCORE, 4.5, 0.05), 1_700_000_000.0, "/e/a.jpg", "/e/a.mp4")


def test_an_alarm_as_json() -> None:
    assert ALARM.to_json() == {
        "kind": "alarm",
        "camera": "yard",
        "id": "yard-20231114T221322.000Z",
        "start": "2023-11-14T22:13:21.500Z",
        "alarm": "2023-11-14T22:13:22.000Z",
        "peak": "2023-11-14T22:13:21.500Z",
        "end": None,
        "score": 7.5,
        "p_value": 0.05,
        "streams": {"temporal": 7.5},
        "box": [0.0, 0.5, 0.25, 1.0],
        "snapshot": None,
        "clip": None,
    }
    over = OVER.to_json()
    assert (over["kind"], over["end"], over["clip"]) == ("event", "2023-11-14T22:13:24.500Z", "/e/a.mp4")
    assert over["id"] == ALARM.key


def test_lines_of_json_until_nobody_reads_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    lines = JsonLines(stop)
    lines(State("yard", "watching"))
    lines(ALARM)
    assert json.loads(capsys.readouterr().out) == ALARM.to_json()

    def broken(*_: Any, **__: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", broken)
    lines(ALARM)
    assert lines.broken
    assert stop.is_set()


class Server:
    """Answers each post as told, and keeps what came."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.came: list[tuple[str, dict[str, str], Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.came.append((self.path, dict(self.headers), json.loads(body)))
                code = server.answers.pop(0) if server.answers else 200
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: Any) -> None: ...

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://admin:{CANARY}@127.0.0.1:{self.http.server_port}/hook/{CANARY}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(outlets, "PAUSES_SECONDS", (0.0, 0.05, 0.1, 0.2))
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()
    made.thread.join()


def test_a_webhook_gets_each_alarm_with_its_password_in_the_header_only(server: Server) -> None:
    said: list[str] = []
    hook = Webhook(server.url, said.append)
    hook(ALARM)
    hook(State("yard", "lost"))
    hook(OVER)
    hook.close()
    assert [data["kind"] for _, _, data in server.came] == ["alarm", "event"]
    path, headers, _ = server.came[0]
    assert path == f"/hook/{CANARY}"
    assert headers["Authorization"] == "Basic " + b64encode(f"admin:{CANARY}".encode()).decode()
    assert CANARY not in headers["Host"]
    assert said == []


@pytest.mark.parametrize(
    "answers, posts, words",
    [
        ([500, 503], 3, None),
        ([500] * 4, 4, "answers 500"),
        ([404], 1, "answers 404"),
        ([302], 1, "answers 302"),  # alarms go where they were sent, and nowhere else
    ],
)
def test_a_webhook_that_refuses(server: Server, answers: list[int], posts: int, words: str | None) -> None:
    said: list[str] = []
    server.answers = list(answers)
    hook = Webhook(server.url, said.append)
    hook(ALARM)
    deadline = time.monotonic() + 5
    while len(server.came) < posts and time.monotonic() < deadline:
        time.sleep(0.01)
    hook.close()
    assert len(server.came) == posts
    assert (words is None and said == []) or (words is not None and words in said[0])
    assert CANARY not in "".join(said)


def test_a_webhook_that_is_not_there_makes_nothing_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "MOST_WAITING", 3)
    said: list[str] = []
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    hook = Webhook(f"http://u:{CANARY}@127.0.0.1:{port}/", said.append)
    began = time.monotonic()
    for _ in range(20):
        hook(ALARM)
    assert time.monotonic() - began < 0.5
    hook.close()
    assert any("does not take alarms" in each for each in said)
    assert any("Connection refused" in each for each in said)
    assert CANARY not in "".join(said)


@pytest.mark.parametrize("url", ["ftp://h/x", "nonsense", "file:///etc/passwd", "http://"])
def test_what_is_no_webhook(url: str) -> None:
    with pytest.raises(UsageError, match="a webhook is an http"):
        Webhook(url, print)


class Broker:
    """As much of MQTT 3.1.1 as a publisher meets: it is greeted, and what it publishes is kept and acknowledged."""

    def __init__(self, refuse: bool = False) -> None:
        self.refuse = refuse
        self.connected: list[bytes] = []
        self.published: list[tuple[str, bytes, bool]] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            with line, line.makefile("rb") as file:
                self._talk(line, file)

    def _talk(self, line: socket.socket, file: Any) -> None:
        while head := file.read(1):
            length, shift = 0, 0
            while (byte := file.read(1)[0]) & 128:
                length, shift = length | (byte & 127) << shift, shift + 7
            body = file.read(length | byte << shift)
            if head[0] >> 4 == 1:
                self.connected.append(body)
                line.sendall(b"\x20\x02\x00" + (b"\x05" if self.refuse else b"\x00"))
            elif head[0] >> 4 == 3:
                size = int.from_bytes(body[:2], "big")
                topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
                self.published.append((topic, rest[2:], bool(head[0] & 1)))
                line.sendall(b"\x40\x02" + rest[:2])

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


def wait_until(true: Any) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_mqtt_gets_alarms_and_states() -> None:
    broker, said = Broker(), []
    outlet = Mqtt(f"mqtt://admin:{CANARY}@127.0.0.1:{broker.port}/home/cameras", said.append)
    outlet(State("yard", "watching"))
    outlet(ALARM)
    outlet(OVER)
    wait_until(lambda: len(broker.published) == 3)
    outlet.close()
    broker.close()
    assert CANARY.encode() in broker.connected[0]
    (state, alarm, over) = broker.published
    assert state == ("home/cameras/yard/state", b"watching", True)
    assert (alarm[0], json.loads(alarm[1]), alarm[2]) == ("home/cameras/yard/alarm", ALARM.to_json(), False)
    assert over[0] == "home/cameras/yard/event"
    assert said == []


def test_mqtt_that_refuses_or_is_not_there_is_told_without_the_password() -> None:
    broker, said = Broker(refuse=True), []
    outlet = Mqtt(f"mqtt://admin:{CANARY}@127.0.0.1:{broker.port}", said.append)
    wait_until(lambda: said)
    outlet.close()
    broker.close()
    assert "refuses" in said[0]
    other: list[str] = []
    outlet = Mqtt(f"mqtt://admin:{CANARY}@127.0.0.1:{broker.port}", other.append)
    outlet(ALARM)
    wait_until(lambda: other)
    outlet.close()
    assert "cannot be reached" in other[0]
    assert CANARY not in "".join(said + other)


def test_what_is_no_broker() -> None:
    with pytest.raises(UsageError, match="an MQTT address"):
        Mqtt("http://h", print)
