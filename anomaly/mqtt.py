"""Alarms and states published by MQTT, through paho-mqtt, which keeps the broker connected."""

import json
from collections import deque
from time import monotonic, sleep
from typing import Any
from urllib.parse import unquote

from tristream.anomaly.notes import Alarm, Note, State
from tristream.anomaly.outlets import MOST_WAITING, NotTakenError, Say
from tristream.streams.addresses import redacted, split_address
from tristream.streams.errors import UsageError

PORTS = {"mqtt": 1883, "mqtts": 8883}
NOT_CONNECTED = 4  # MQTT_ERR_NO_CONN: the message is kept until it is


class Mqtt:
    """Publishes alarms at TOPIC/CAMERA/alarm and TOPIC/CAMERA/event, and how a camera does at TOPIC/CAMERA/state.

    States are retained, and so is TOPIC/state, `online` or `offline`, which the broker itself sets where we are lost.

    Args:
        url: `mqtt://USER:PASSWORD@HOST:PORT/TOPIC`, or `mqtts://` over TLS; the topic is `tristream` if not given.
        say: is told when the broker is lost.

    Raises:
        UsageError: another kind of address, or paho-mqtt is not installed.
    """

    kinds = (Alarm, State)

    def __init__(self, url: str, say: Say) -> None:
        parts = split_address(url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise UsageError("an MQTT address is mqtt://HOST/TOPIC or mqtts://HOST/TOPIC")
        self._topic = parts.path.strip("/") or "tristream"
        if set("+#") & set(self._topic):
            raise UsageError(f"{redacted(url)}: a topic that is published at has no + and no #")
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise UsageError("--mqtt needs paho-mqtt: pip install 'tristream[mqtt]'") from error
        self.name = f"the MQTT broker at {parts.hostname}"
        self._say, self._away, self._closing = say, False, False
        self._states: dict[str, str] = {}
        self._alarms: deque[int] = deque(maxlen=MOST_WAITING)  # numbers of the last messages
        self._taken: deque[int] = deque(maxlen=4 * MOST_WAITING)  # numbers of those that arrived
        client = self._client = Client(CallbackAPIVersion.VERSION2)
        client.max_queued_messages_set(MOST_WAITING)
        client.reconnect_delay_set(1, 30)
        client.will_set(f"{self._topic}/state", "offline", qos=1, retain=True)
        if parts.username is not None:
            client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            client.tls_set()
        client.on_connect, client.on_disconnect = self._connected, self._lost
        client.on_connect_fail = lambda *_: self._tell_away("cannot be reached")
        client.on_publish = self._note
        client.connect_async(parts.hostname, parts.port or PORTS[parts.scheme])
        client.loop_start()

    def send(self, note: Note) -> None:
        if isinstance(note, State):
            self._states[note.camera] = note.state
            if self._client.is_connected():  # else all are told when it is
                self._client.publish(f"{self._topic}/{note.camera}/state", note.state, retain=True)
        elif isinstance(note, Alarm):
            data = note.to_json()
            told = self._client.publish(f"{self._topic}/{note.camera}/{data['kind']}", json.dumps(data), qos=1)
            if told.rc not in (0, NOT_CONNECTED):
                raise NotTakenError(f"{MOST_WAITING} notes wait for it")
            self._alarms.append(told.mid)

    def stop(self) -> None: ...

    def close(self, seconds: float) -> None:
        end_at = monotonic() + seconds
        while (left := set(self._alarms) - set(self._taken)) and self._client.is_connected() and monotonic() < end_at:
            sleep(0.05)
        self._closing = True
        for camera in self._states:
            self._client.publish(f"{self._topic}/{camera}/state", "stopped", retain=True)
        self._client.publish(f"{self._topic}/state", "offline", retain=True)
        self._client.disconnect()
        self._client.loop_stop()
        if left:
            raise NotTakenError(f"{len(left)} alarms did not arrive")

    # These are called in the client's own thread.

    def _connected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._tell_away(f"refuses: {reason}")
            return
        self._away = False
        client.publish(f"{self._topic}/state", "online", retain=True)
        for camera, state in list(self._states.items()):
            client.publish(f"{self._topic}/{camera}/state", state, retain=True)

    def _lost(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure and not self._closing:
            self._tell_away("was lost")

    def _note(self, client: Any, data: Any, number: int, reason: Any, properties: Any) -> None:
        self._taken.append(number)

    def _tell_away(self, why: str) -> None:
        """Say it once for each time that it is away."""
        if not self._away:
            self._say(f"{self.name} {why}; it is tried again")
        self._away = True
