"""Where alarms go: lines of JSON, a webhook, MQTT. Each is a listener, and none makes a camera wait."""

import json
from base64 import b64encode
from collections.abc import Callable
from queue import Full, Queue
from threading import Condition, Event, Lock, Thread
from typing import Any, TextIO
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tristream.anomaly.notes import Alarm, Note, Scored, State
from tristream.streams.errors import UsageError

MOST_WAITING = 1000  # alarms that may wait for a peer that does not answer
ANSWER_SECONDS = 10.0
PAUSES_SECONDS = (0.0, 1.0, 4.0, 16.0)  # before each try of a webhook
FAREWELL_SECONDS = 10.0  # for what waits when all is to end
MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}

Say = Callable[[str], None]


class JsonLines:
    """Alarms as JSON Lines on standard output: one when an event opens, one when it is over.

    Args:
        stop: is set when nobody reads them any more; then `broken` is true.
    """

    def __init__(self, stop: Event) -> None:
        self._stop, self._lock = stop, Lock()
        self.broken = False

    def __call__(self, note: Note) -> None:
        if not isinstance(note, Alarm):
            return
        try:
            with self._lock:  # alarms come from several threads
                print(json.dumps(note.to_json(), allow_nan=False), flush=True)
        except BrokenPipeError:
            self.broken = True
            self._stop.set()


class ScoreLines:
    """Every score as a line of JSON, added to a file."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, note: Note) -> None:
        if isinstance(note, Scored):
            score = note.score
            span = {"start_seconds": score.start_seconds, "end_seconds": score.end_seconds}
            data = {"camera": note.camera, "time": note.time} | span | {"score": score.score}
            self._out.write(json.dumps(data | {"streams": dict(score.shares), "box": score.box}) + "\n")


class Webhook:
    """Posts each alarm to an http(s):// address, again after 1, 4 and 16 s where that fails.

    Raises:
        UsageError: another kind of address.
    """

    def __init__(self, url: str, say: Say) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError("a webhook is an http:// or https:// address")
        self._name = f"the webhook at {parts.hostname}"  # the path is mostly the secret
        self._say, self._stop = say, Event()
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._headers = {"Content-Type": "application/json", "User-Agent": "tristream"}
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {b64encode(user.encode()).decode()}"
        self._queue: Queue[Alarm | None] = Queue(MOST_WAITING)
        self._opener = build_opener(_NoRedirect)
        self._thread = Thread(target=self._work, name="tristream-webhook", daemon=True)
        self._thread.start()

    def __call__(self, note: Note) -> None:
        if isinstance(note, Alarm):
            try:
                self._queue.put_nowait(note)
            except Full:
                self._say(f"{self._name} does not take alarms: {note.key} was not sent")

    def close(self) -> None:
        """Send what waits, within 10 seconds."""
        self._stop.set()
        try:
            self._queue.put(None, timeout=FAREWELL_SECONDS)
            self._thread.join(FAREWELL_SECONDS)
        except Full:
            pass
        if left := self._queue.qsize():
            self._say(f"{self._name} did not take {left} alarms before the end")

    def _work(self) -> None:
        while (alarm := self._queue.get()) is not None:
            error = self._send(alarm)
            if error is not None:
                self._say(f"{self._name} did not take {alarm.key}: {error}")

    def _send(self, alarm: Alarm) -> str | None:
        """Post an alarm; why that failed, if it did."""
        data, error = json.dumps(alarm.to_json()).encode(), None
        for pause_seconds in PAUSES_SECONDS:
            if pause_seconds and self._stop.wait(pause_seconds):
                break
            try:
                request = Request(self._url, data, self._headers, method="POST")  # noqa: S310 it is http(s)
                with self._opener.open(request, timeout=ANSWER_SECONDS):
                    return None
            except HTTPError as refusal:
                error = f"it answers {refusal.code} {refusal.reason}"
                refusal.close()
                if refusal.code < 500 and refusal.code not in (408, 429):
                    break  # it will not like it better
            except (URLError, OSError, ValueError) as failure:
                reason = getattr(failure, "reason", failure)
                error = getattr(reason, "strerror", None) or type(reason).__name__
        return error


class _NoRedirect(HTTPRedirectHandler):
    """Alarms go where they were sent, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Mqtt:
    """Publishes alarms at TOPIC/CAMERA/alarm and TOPIC/CAMERA/event, and at TOPIC/CAMERA/state, retained, how it does.

    Args:
        url: `mqtt://USER:PASSWORD@HOST:PORT/TOPIC`, or `mqtts://` over TLS; the topic is `tristream` if not given.

    Raises:
        UsageError: another kind of address, or paho-mqtt is not installed.
    """

    def __init__(self, url: str, say: Say) -> None:
        parts = urlsplit(url)
        if parts.scheme not in MQTT_PORTS or not parts.hostname:
            raise UsageError("an MQTT address is mqtt://HOST/TOPIC or mqtts://HOST/TOPIC")
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise UsageError("--mqtt needs paho-mqtt: pip install 'tristream[mqtt]'") from error
        self._topic = parts.path.strip("/") or "tristream"
        name = f"the MQTT broker at {parts.hostname}"
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.max_queued_messages_set(MOST_WAITING)
        self._client.reconnect_delay_set(1, 30)
        if parts.username is not None:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            self._client.tls_set()

        def connected(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
            if reason.is_failure:
                say(f"{name} refuses: {reason}")

        def lost(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
            if reason.is_failure and not self._closing:
                say(f"{name} was lost: {reason}")

        self._closing = False
        self._say, self._name = say, name
        self._under_way: set[int] = set()  # messages that the broker has not acknowledged
        self._arrival = Condition()

        def arrived(client: Any, data: Any, number: int, reason: Any, properties: Any) -> None:
            with self._arrival:
                self._under_way.discard(number)
                self._arrival.notify_all()

        self._client.on_publish = arrived
        self._client.on_connect, self._client.on_disconnect = connected, lost
        self._client.on_connect_fail = lambda *_: say(f"{name} cannot be reached")
        self._client.connect_async(parts.hostname, parts.port or MQTT_PORTS[parts.scheme])
        self._client.loop_start()

    def __call__(self, note: Note) -> None:
        topic = f"{self._topic}/{note.camera}"
        if isinstance(note, Alarm):
            data = note.to_json()
            self._publish(f"{topic}/{data['kind']}", json.dumps(data))
        elif isinstance(note, State):
            self._publish(f"{topic}/state", note.state, retain=True)

    def close(self) -> None:
        """Send what waits, within 10 seconds."""
        with self._arrival:
            if self._client.is_connected():
                self._arrival.wait_for(lambda: not self._under_way, FAREWELL_SECONDS)
            if self._under_way:
                self._say(f"{self._name} did not take {len(self._under_way)} messages before the end")
        self._closing = True
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic: str, text: str, *, retain: bool = False) -> None:
        with self._arrival:  # held until the number is noted, so that no answer comes before
            number = self._client.publish(topic, text, qos=1, retain=retain).mid
            self._under_way.add(number)
            if len(self._under_way) > MOST_WAITING:  # the client lets go of what is more
                self._under_way.pop()
