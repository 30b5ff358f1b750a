"""How each camera does right now, from the notes of a watcher; and that as Prometheus metrics on loopback."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, time

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tristream.anomaly.notes import Note, Pulse, Scored, State
from tristream.streams.errors import UsageError

RATE_SECONDS = 10.0  # over which frames a second are counted
LOOPBACK = "127.0.0.1"


@dataclass
class Status:
    """What is known of a camera."""

    state: str = "connecting"
    message: str = ""
    connections: int = 0
    dropped: int = 0  # frames of all connections
    alarms: int = 0
    newest_time: float | None = None  # of a frame
    score: float | None = None
    level: float | None = None
    alarmed: bool = False
    latency_seconds: float | None = None
    _dropped_before: int = 0  # in connections before this one
    _recent: deque[tuple[float, int, int]] = field(default_factory=deque)  # monotonic seconds, came, worked since

    @property
    def camera_fps(self) -> float:
        """Frames that come a second."""
        recent = list(self._recent)
        return (recent[-1][1] - recent[0][1]) / self._span(recent) if len(recent) > 1 else 0.0

    @property
    def process_fps(self) -> float:
        """Frames that are worked on a second."""
        recent = list(self._recent)
        return sum(worked for _, _, worked in recent[1:]) / self._span(recent) if len(recent) > 1 else 0.0

    @property
    def last_frame_age_seconds(self) -> float | None:
        """How long ago the newest frame happened."""
        return None if self.newest_time is None else time() - self.newest_time

    @staticmethod
    def _span(recent: list[tuple[float, int, int]]) -> float:
        """Up to now, where no more comes."""
        return max(recent[-1][0], monotonic() - 1.0) - recent[0][0] or 1.0

    def take(self, note: Note) -> None:
        """Bring it up to date."""
        if isinstance(note, State):
            self.state, self.message = note.state, note.message
            if note.state == "watching":
                self.connections += 1
                self._recent.clear()
                self._dropped_before = self.dropped
        elif isinstance(note, Pulse):
            now = monotonic()
            self._recent.append((now, note.came, note.worked))
            while now - self._recent[0][0] > RATE_SECONDS:
                self._recent.popleft()
            self.dropped, self.newest_time = self._dropped_before + note.dropped, note.newest_time
        elif isinstance(note, Scored):
            self.score, self.level, self.alarmed = note.score.score, note.level, note.alarmed
            self.latency_seconds = note.latency_seconds
        elif not note.over:
            self.alarms += 1
        else:
            self.alarmed = False


class Board:
    """The status of each camera by name: a listener of a watcher."""

    def __init__(self, names: Iterable[str]) -> None:
        self.cameras = {name: Status() for name in names}

    def __call__(self, note: Note) -> None:
        self.cameras[note.camera].take(note)

    def collect(self) -> Iterator[Metric]:
        """All as Prometheus wants it."""
        for name, about, value in GAUGES:
            gauge = GaugeMetricFamily(f"tristream_{name}", about, labels=["camera"])
            for camera, status in self.cameras.items():
                if (found := value(status)) is not None:
                    gauge.add_metric([camera], float(found))
            yield gauge
        for name, about, value in COUNTERS:
            counter = CounterMetricFamily(f"tristream_{name}", about, labels=["camera"])
            for camera, status in self.cameras.items():
                counter.add_metric([camera], float(value(status)))
            yield counter


GAUGES: tuple[tuple[str, str, Callable[[Status], float | None]], ...] = (
    ("up", "1 while the camera answers.", lambda status: status.state == "watching"),
    ("camera_fps", "Frames that come a second.", lambda status: status.camera_fps),
    ("process_fps", "Frames that are worked on a second.", lambda status: status.process_fps),
    ("last_frame_age_seconds", "How long ago the newest frame came.", lambda status: status.last_frame_age_seconds),
    ("score", "How strange the last window was.", lambda status: status.score),
    ("threshold", "The score above which an event opens.", lambda status: status.level),
    ("alarmed", "1 while an event goes on.", lambda status: status.alarmed),
    ("latency_seconds", "From the end of the last window to its score.", lambda status: status.latency_seconds),
)
COUNTERS: tuple[tuple[str, str, Callable[[Status], int]], ...] = (
    ("dropped", "Frames that nobody had time for.", lambda status: status.dropped),
    ("reconnects", "Times that it came back.", lambda status: max(0, status.connections - 1)),
    ("alarms", "Events that opened.", lambda status: status.alarms),
)


@contextmanager
def metrics_at(port: int, board: Board) -> Iterator[int]:
    """Serve the board as text at http://127.0.0.1:PORT/metrics; which port that is, where 0 leaves it open.

    Raises:
        UsageError: the port is taken.
    """
    registry = CollectorRegistry()
    registry.register(board)
    try:
        server, thread = start_http_server(port, LOOPBACK, registry)
    except (OSError, OverflowError) as error:
        raise UsageError(f"metrics cannot be served on port {port}: {getattr(error, 'strerror', error)}") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
