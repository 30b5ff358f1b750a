"""Where notes go: each sink has a thread and a queue of its own, so that none makes a camera, or another, wait."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from queue import Full, Queue
from threading import Event, Thread
from time import monotonic
from typing import Protocol, TextIO

from tristream.anomaly.notes import Alarm, Note, Scored
from tristream.streams.errors import TristreamError

MOST_WAITING = 1000  # notes that may wait for a sink that does not take them
FAREWELL_SECONDS = 10.0  # for what waits when all is to end

Say = Callable[[str], None]


class NotTakenError(TristreamError):
    """A peer did not take a note; says why, without what is secret."""


class Sink(Protocol):
    """What an Outlet hands its notes to, one after the other in a thread of its own.

    An error means that the note was not taken. `name` is for a reader, without what is secret.
    """

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def kinds(self) -> tuple[type, ...]:
        """Of notes that it takes."""

    def send(self, note: Note) -> None:
        """Take a note; may take its time."""

    def stop(self) -> None:
        """All is to end soon: do not wait for what does not come. In another thread."""

    def close(self, seconds: float) -> None:
        """All notes were sent; see to it that they arrive, within so many seconds."""


class Outlet:
    """A listener that hands notes to a sink, and never waits: what a sink does not take in time is lost, and told."""

    def __init__(self, sink: Sink, say: Say) -> None:
        self._sink, self._say = sink, say
        self._queue: Queue[Note | None] = Queue(MOST_WAITING)
        self._thread = Thread(target=self._work, name=f"tristream-{type(sink).__name__.lower()}", daemon=True)
        self._end_at = 0.0
        self._full = False
        self._thread.start()

    def __call__(self, note: Note) -> None:
        if not isinstance(note, self._sink.kinds):
            return
        try:
            self._queue.put_nowait(note)
            self._full = False
        except Full:
            if not self._full:  # once for each time
                self._say(f"{self._sink.name} does not take notes as fast as they come: some are lost")
            self._full = True

    def _work(self) -> None:
        while (note := self._queue.get()) is not None:
            try:
                self._sink.send(note)
            except Exception as error:  # whatever it is, alarms go on
                self._say(f"{self._sink.name} did not take {_name_of(note)}: {_words(error)}")
        try:
            self._sink.close(max(0.1, self._end_at - monotonic()))
        except Exception as error:
            self._say(f"{self._sink.name} did not take all: {_words(error)}")

    def end(self, end_at: float) -> None:
        """Nothing more comes, and what waits has until then, on the monotonic clock."""
        self._end_at = end_at
        self._sink.stop()
        Thread(target=self._queue.put, args=(None,), daemon=True).start()  # it may be full

    def join(self) -> bool:
        """Wait until what was sent has arrived, or its time is over; whether it has arrived."""
        self._thread.join(max(0.1, self._end_at - monotonic()))
        if self._thread.is_alive():
            self._say(f"{self._sink.name} did not take all before the end")
        return not self._thread.is_alive()


def close_all(outlets: Sequence[Outlet]) -> bool:
    """End outlets together, within 10 seconds; whether all that was sent has arrived."""
    end_at = monotonic() + FAREWELL_SECONDS
    for outlet in outlets:
        outlet.end(end_at)
    return all([outlet.join() for outlet in outlets])


def _name_of(note: Note) -> str:
    return note.key if isinstance(note, Alarm) else f"what is said of {note.camera}"


def _words(error: Exception) -> str:
    """Of our own errors all; of others the kind only, as their words may hold an address."""
    return str(error) if isinstance(error, TristreamError) else getattr(error, "strerror", None) or type(error).__name__


class JsonLines:
    """Alarms as JSON Lines on standard output: one when an event opens, one when it is over.

    Args:
        stop: is set when nobody reads them any more; then `broken` is true.
    """

    name = "standard output"
    kinds = (Alarm,)

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self.broken = False

    def send(self, note: Note) -> None:
        if not isinstance(note, Alarm) or self.broken:
            return
        try:
            _write_out(json.dumps(note.to_json(), allow_nan=False) + "\n")
        except BrokenPipeError:
            self.broken = True
            self._stop.set()

    def stop(self) -> None: ...

    def close(self, seconds: float) -> None: ...


def _write_out(text: str) -> None:
    """To a terminal by way of whoever draws on it; else past Python's buffer, whose lock a stuck write would keep."""
    try:
        number = sys.stdout.fileno()
    except OSError:  # a test's
        number = -1
    if number < 0 or sys.stdout.isatty():
        print(text, end="", flush=True)
        return
    data = text.encode()
    while data:
        data = data[os.write(number, data) :]


class ScoreLines:
    """Every score as a line of JSON, added to a file."""

    kinds = (Scored,)

    def __init__(self, out: TextIO) -> None:
        self._out, self.name = out, out.name

    def send(self, note: Note) -> None:
        if isinstance(note, Scored):
            score = note.score
            span = {"start_seconds": score.start_seconds, "end_seconds": score.end_seconds}
            data = {"camera": note.camera, "time": note.time} | span | {"score": score.score}
            self._out.write(json.dumps(data | {"streams": dict(score.shares), "box": score.box}) + "\n")
            self._out.flush()

    def stop(self) -> None: ...

    def close(self, seconds: float) -> None: ...
