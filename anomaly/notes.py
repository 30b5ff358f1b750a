"""What a watcher has to say, as it happens: how a camera does, how strange what it shows is, and alarms."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from tristream.anomaly.events import Event, Score


@dataclass(frozen=True)
class State:
    """A camera answers, is lost, or is at its end; `message` says why."""

    camera: str
    state: Literal["connecting", "watching", "lost", "ended", "failed"]
    message: str = ""
    fps: float | None = None  # of one that answers
    pause_seconds: float | None = None  # until a lost one is tried again


@dataclass(frozen=True)
class Pulse:
    """Frames came: how many in all since the connection began, dropped of these, and worked on since the last pulse."""

    camera: str
    came: int
    dropped: int
    worked: int
    newest_time: float  # when the newest of them happened, in seconds since 1970
    pictures: tuple[tuple[float, bytes], ...] = ()  # times on the camera's clock, and JPEG files


@dataclass(frozen=True)
class Scored:
    """How strange a moment was; `time` is when its window ended, `latency_seconds` how long ago that was."""

    camera: str
    score: Score
    level: float | None
    time: float
    latency_seconds: float
    alarmed: bool  # whether an event goes on


@dataclass(frozen=True)
class Alarm:
    """An event that opens, and then again that is over."""

    camera: str
    over: bool
    event: Event
    began_seconds: float  # when the clock of the event's times was 0, in seconds since 1970
    snapshot: str | None = None
    clip: str | None = None

    @property
    def key(self) -> str:
        """What names the event: its camera and when the alarm was raised."""
        moment = datetime.fromtimestamp(self.began_seconds + self.event.alarm_seconds, UTC)
        return f"{self.camera}-{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON data, on the clock of the world."""
        data = self.event.to_json()
        times: dict[str, str | None] = {name: _iso(self.began_seconds + data.pop(f"{name}_seconds")) for name in TIMES}
        kind = "event" if self.over else "alarm"
        if not self.over:
            times["end"] = None
        files = {"snapshot": self.snapshot, "clip": self.clip}
        return {"kind": kind, "camera": self.camera, "id": self.key} | times | data | files


TIMES = ("start", "alarm", "peak", "end")
Note = State | Pulse | Scored | Alarm
Listener = Callable[[Note], None]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
