"""Where alarms go, against real peers on loopback."""

import contextlib
import json
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tristream.anomaly import outlets, webhook
from tristream.anomaly.events import Event, Score
from tristream.anomaly.mqtt import Mqtt
from tristream.anomaly.notes import Alarm, Note, Scored, State
from tristream.anomaly.outlets import JsonLines, Outlet, ScoreLines, Sink, close_all
from tristream.anomaly.webhook import Webhook
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


def play(sink: Sink, *notes: Note, wait: Any = None) -> list[str]:
    """Hand notes to a sink by way of its outlet; what is said."""
    said: list[str] = []
    outlet = Outlet(sink, said.append)
    for note in notes:
        outlet(note)
    if wait is not None:
        wait_until(wait)
    close_all([outlet])
    return said


def wait_until(true: Any) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_lines_of_json_until_nobody_reads_them(capfd: pytest.CaptureFixture[str]) -> None:
    stop = threading.Event()
    assert play(JsonLines(stop), State("yard", "watching"), ALARM, OVER) == []
    assert [json.loads(line) for line in capfd.readouterr().out.splitlines()] == [ALARM.to_json(), OVER.to_json()]
    assert not stop.is_set()


def test_nobody_reads_them_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(outlets, "_write_out", broken)
    stop = threading.Event()
    lines = JsonLines(stop)
    assert play(lines, ALARM, OVER) == []
    assert lines.broken
    assert stop.is_set()


class Slow:
    """Takes nothing until it may."""

    name, kinds = "a slow sink", (Alarm,)

    def __init__(self) -> None:
        self.may = threading.Event()
        self.taken = 0

    def send(self, note: Note) -> None:
        self.may.wait(10)
        self.taken += 1

    def stop(self) -> None:
        self.may.set()

    def close(self, seconds: float) -> None: ...


def test_a_sink_that_is_slow_makes_nobody_wait_and_what_is_lost_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "MOST_WAITING", 3)
    sink, said = Slow(), []
    outlet = Outlet(sink, said.append)
    began = time.monotonic()
    for _ in range(20):
        outlet(ALARM)
    assert time.monotonic() - began < 0.5
    assert said == ["a slow sink does not take notes as fast as they come: some are lost"]
    assert close_all([outlet])
    assert 3 <= sink.taken <= 4


def test_a_sink_that_fails_is_told_and_goes_on(tmp_path: Any) -> None:
    score = Scored("yard", SCORE, 9.0, 1_700_000_000.0, 0.5, False)
    with (tmp_path / "scores.jsonl").open("w") as file:
        assert play(ScoreLines(file), score, ALARM, score) == []
    assert [json.loads(line)["score"] for line in (tmp_path / "scores.jsonl").read_text().splitlines()] == [7.5, 7.5]
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    full = Path("/dev/full").open("w")  # noqa: SIM115
    said = play(ScoreLines(full), score, score)
    with contextlib.suppress(OSError):  # it flushes once more
        full.close()
    assert said == ["/dev/full did not take what is said of yard: No space left on device"] * 2


def test_one_that_takes_nothing_at_the_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "FAREWELL_SECONDS", 0.2)
    sink, said = Slow(), []
    sink.stop = lambda: None  # type: ignore[method-assign]
    outlet = Outlet(sink, said.append)
    outlet(ALARM)
    assert not close_all([outlet])
    assert said == ["a slow sink did not take all before the end"]
    sink.may.set()


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
    monkeypatch.setattr(webhook, "PAUSES_SECONDS", (0.0, 0.05, 0.1, 0.2))
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()
    made.thread.join()


def test_a_webhook_gets_each_alarm_with_its_password_in_the_header_only(server: Server) -> None:
    assert play(Webhook(server.url), ALARM, State("yard", "lost"), OVER) == []
    assert [data["kind"] for _, _, data in server.came] == ["alarm", "event"]
    path, headers, _ = server.came[0]
    assert path == f"/hook/{CANARY}"
    assert headers["Authorization"] == "Basic " + b64encode(f"admin:{CANARY}".encode()).decode()
    assert CANARY not in headers["Host"]


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
    server.answers = list(answers)
    said = play(Webhook(server.url), ALARM, wait=lambda: len(server.came) == posts)
    assert len(server.came) == posts
    assert (words is None and said == []) or (words is not None and words in said[0])
    assert CANARY not in "".join(said)


def test_a_webhook_that_is_not_there_or_answers_nonsense_is_told_without_its_secrets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def nonsense() -> None:
            with server.accept()[0] as line:
                line.recv(10_000)
                line.sendall(b"nonsense\r\n\r\n")

        thread = threading.Thread(target=nonsense)
        thread.start()
        url = f"http://u:{CANARY}@127.0.0.1:{port}/{CANARY}"
        said = play(Webhook(url), ALARM, wait=lambda: not thread.is_alive())
    said += play(Webhook(url), ALARM)
    assert "BadStatusLine" in said[0]
    assert "Connection refused" in said[-1]
    assert CANARY not in "".join(said)


@pytest.mark.parametrize("url", ["ftp://h/x", "nonsense", "file:///etc/passwd", "http://", f"http://h/{CANARY} x"])
def test_what_is_no_webhook(url: str) -> None:
    with pytest.raises(UsageError, match=r"a webhook is an http|no address"):
        Webhook(url)


class Broker:
    """As much of MQTT 3.1.1 as a publisher meets: it is greeted, and what it publishes is kept and acknowledged."""

    def __init__(self, refuse: bool = False) -> None:
        self.refuse = refuse
        self.connected: list[bytes] = []
        self.published: list[tuple[str, bytes, bool]] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._line = self._socket  # until there is one
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            self._line = line
            # A client that hangs up with acknowledgements unread resets the connection.
            with line, line.makefile("rb") as file, contextlib.suppress(ConnectionResetError):
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
                acknowledged = bool(head[0] & 6)
                self.published.append((topic, rest[2:] if acknowledged else rest, bool(head[0] & 1)))
                if acknowledged:
                    line.sendall(b"\x40\x02" + rest[:2])

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        # A client that was closed while it connected may leave its line open until it is collected.
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._thread.join()


def test_mqtt_gets_alarms_and_states() -> None:
    broker, said = Broker(), []
    sink = Mqtt(f"mqtt://admin:{CANARY}@127.0.0.1:{broker.port}/home/cameras", said.append)
    said += play(sink, State("yard", "watching"), ALARM, OVER, wait=lambda: len(broker.published) == 4)
    broker.close()
    assert CANARY.encode() in broker.connected[0]
    assert b"home/cameras/state" in broker.connected[0]  # the will
    told = dict((topic, (data, retained)) for topic, data, retained in broker.published)
    assert ("home/cameras/yard/state", b"watching", True) in broker.published
    assert ("home/cameras/state", b"online", True) in broker.published
    data, retained = told["home/cameras/yard/alarm"]
    assert (json.loads(data), retained) == (ALARM.to_json(), False)
    assert "home/cameras/yard/event" in told
    assert told["home/cameras/yard/state"] == (b"stopped", True)
    assert told["home/cameras/state"] == (b"offline", True)
    assert said == []


def test_mqtt_takes_thousands_of_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "MOST_WAITING", 5000)
    broker, said = Broker(), []
    sink = Mqtt(f"mqtt://127.0.0.1:{broker.port}", said.append)
    wait_until(lambda: broker.published)
    said += play(sink, *[ALARM] * 900, wait=lambda: len(broker.published) > 900)
    said += play(sink := Mqtt(f"mqtt://127.0.0.1:{broker.port}", said.append))
    broker.close()
    assert [topic for topic, *_ in broker.published].count("tristream/yard/alarm") == 900
    assert said == []


def test_mqtt_that_refuses_or_is_not_there_is_told_once_without_the_password() -> None:
    broker, said = Broker(refuse=True), []
    sink = Mqtt(f"mqtt://admin:{CANARY}@127.0.0.1:{broker.port}", said.append)
    wait_until(lambda: said)
    time.sleep(1.5)  # it is tried again
    play(sink)
    broker.close()
    assert len(said) == 1
    assert "refuses" in said[0]
    other: list[str] = []
    sink = Mqtt(f"mqtt://admin:{CANARY}@127.0.0.1:{broker.port}", other.append)
    other += play(sink, ALARM, wait=lambda: other)
    assert "cannot be reached" in other[0]
    assert "1 alarms did not arrive" in other[1]
    assert CANARY not in "".join(said + other)


@pytest.mark.parametrize("url", ["http://h", "mqtt://h/a/+", f"mqtt://u:{CANARY}/x@h/t", "mqtt://h:port/t"])
def test_what_is_no_broker(url: str) -> None:
    with pytest.raises(UsageError) as error:
        Mqtt(url, print)
    assert CANARY not in str(error.value)
