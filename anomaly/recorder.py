"""Pictures of events: notes in, alarms with a snapshot and a short clip around the peak out, in a folder with a limit.

The pictures of the last seconds of each camera are kept in memory. Files are written in a thread, in which alarms are
then passed on, so that whoever hears of one finds its files.
"""

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from queue import Queue
from threading import Thread

import cv2

from tristream.anomaly.notes import Alarm, Listener, Note, Pulse, Scored, State
from tristream.fusion.folder import write_atomically
from tristream.streams.clip_file import clip_of, decoded
from tristream.streams.errors import UsageError
from tristream.streams.grid import Box

BEFORE_SECONDS, AFTER_SECONDS = 5.0, 5.0  # of a clip, around the peak
KEPT_SECONDS, KEPT_BYTES = 20.0, 64 << 20  # of each camera
MOST_WAITING = 64  # alarms whose files are to be written; more go without
FAREWELL_SECONDS = 10.0
JPEG_QUALITY = 90
BOX_BGR = (119, 102, 238)  # the red of the plots
GB = 1 << 30
_FILE = re.compile(r"[A-Za-z0-9_.-]+-\d{8}T\d{6}\.\d{3}Z\.(jpg|mp4)")

Pictures = list[tuple[float, bytes]]


@dataclass
class _Kept:
    """Pictures of a camera, and of the peak of its event."""

    pictures: deque[tuple[float, bytes]] = field(default_factory=deque)
    size_bytes: int = 0
    peak_score: float = -inf
    peak_seconds: float = 0.0
    around_peak: Pictures | None = None  # once all of it has come

    def add(self, pictures: tuple[tuple[float, bytes], ...]) -> None:
        for seconds, data in pictures:
            self.pictures.append((seconds, data))
            self.size_bytes += len(data)
        while self.pictures and (
            self.pictures[-1][0] - self.pictures[0][0] > KEPT_SECONDS or self.size_bytes > KEPT_BYTES
        ):
            self.size_bytes -= len(self.pictures.popleft()[1])

    def follow(self, scored: Scored) -> None:
        """Hold what is around the highest score of the event that goes on, before it is let go."""
        if not scored.alarmed:
            return
        if scored.score.score > self.peak_score:
            self.peak_score, self.peak_seconds, self.around_peak = scored.score.score, scored.score.seconds, None
        newest_seconds = self.pictures[-1][0] if self.pictures else -inf
        if self.around_peak is None and newest_seconds > self.peak_seconds + AFTER_SECONDS:
            self.around_peak = self.around(self.peak_seconds)

    def around(self, seconds: float) -> Pictures:
        return [each for each in self.pictures if -BEFORE_SECONDS <= each[0] - seconds <= AFTER_SECONDS]


class Recorder:
    """Writes a snapshot when an event opens, that of its peak and a clip when it is over; a listener of a watcher.

    Args:
        folder: for the files; made if it is not there.
        limit_bytes: that they may take; the oldest go first, and nothing else in the folder is touched.
        tell: who hears of alarms, with their files, in another thread.
        say: is told what cannot be written.

    Raises:
        UsageError: nothing can be written there, or the limit leaves no room.
    """

    def __init__(self, folder: Path, limit_bytes: int, tell: Listener, say: Callable[[str], None]) -> None:
        if limit_bytes < 1 << 20:
            raise UsageError(f"a folder of events needs room for a megabyte at least, got {limit_bytes} bytes")
        self._folder, self._limit_bytes, self._tell, self._say = folder, limit_bytes, tell, say
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".tristream"
            write_atomically(probe, b"")
            probe.unlink()
        except OSError as error:
            raise UsageError(f"events cannot be kept in {folder}: {error.strerror or error}") from error
        self._cameras: dict[str, _Kept] = {}
        self._jobs: Queue[tuple[Alarm, Pictures] | None] = Queue()
        self._thread = Thread(target=self._work, name="tristream-recorder", daemon=True)
        self._thread.start()

    def __call__(self, note: Note) -> None:
        kept = self._cameras.setdefault(note.camera, _Kept())
        if isinstance(note, State):
            if note.state == "watching":  # its clock begins anew
                self._cameras[note.camera] = _Kept()
        elif isinstance(note, Pulse):
            kept.add(note.pictures)
        elif isinstance(note, Scored):
            kept.follow(note)
        else:
            pictures = kept.around(note.event.peak.seconds)
            if note.over:
                pictures = kept.around_peak or pictures
                kept.peak_score, kept.around_peak = -inf, None
            if self._jobs.qsize() >= MOST_WAITING:
                self._say(f"the files of {note.key} cannot be written as fast as alarms come: it goes without")
                pictures = []
            self._jobs.put((note, pictures))

    def close(self) -> None:
        """Write what is to be written, within 10 seconds."""
        self._jobs.put(None)
        self._thread.join(FAREWELL_SECONDS)
        if self._thread.is_alive():
            self._say(f"{self._folder} did not take the files of all events before the end")

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            alarm, pictures = job
            try:
                alarm = replace(alarm, snapshot=self._snapshot(alarm, pictures))
                if alarm.over:
                    data = clip_of(pictures) if len(pictures) > 1 else None
                    alarm = replace(alarm, clip=self._write(f"{alarm.key}.mp4", data))
            except Exception as error:  # foreign code (codecs) and a disk that is full: the alarm is what counts
                self._say(f"no picture of {alarm.key}: {getattr(error, 'strerror', None) or error}")
            self._tell(alarm)

    def _snapshot(self, alarm: Alarm, pictures: Pictures) -> str | None:
        """Write the picture nearest to the peak, with the box."""
        peak = alarm.event.peak
        if not pictures:
            return None
        _, data = min(pictures, key=lambda each: abs(each[0] - peak.seconds))
        return self._write(f"{alarm.key}.jpg", with_box(data, peak.box))

    def _write(self, name: str, data: bytes | None) -> str | None:
        if data is None:
            return None
        path = self._folder / name
        self._make_room(len(data), path)
        write_atomically(path, data)
        return str(path.absolute())

    def _make_room(self, size_bytes: int, but: Path) -> None:
        """Let go of the oldest files until there is room for one of that size, which may replace one."""
        files = []
        for path in self._folder.iterdir():
            if _FILE.fullmatch(path.name) and path != but:
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        total_bytes = size_bytes + sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total_bytes <= self._limit_bytes:
                return
            path.unlink(missing_ok=True)
            total_bytes -= size


def with_box(data: bytes, box: Box | None) -> bytes:
    """A JPEG file with a box drawn into it."""
    picture = decoded(data) if box is not None else None
    if picture is None or box is None:
        return data
    height, width = picture.shape[:2]
    left, top, right, bottom = (
        round(side * size) for side, size in zip(box, (width, height, width, height), strict=True)
    )
    cv2.rectangle(picture, (left, top), (min(right, width) - 1, min(bottom, height) - 1), BOX_BGR, 2)
    done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes() if done else data
