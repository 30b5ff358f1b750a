"""A live source in, the steps of its streams out, piece by piece, soon after they happen.

address -> frames, sound (a thread) -> the newest -> flow -> Piece of Steps, every few frames
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from multiprocessing.connection import Connection
from threading import Event, Thread
from time import monotonic
from typing import Any

import cv2
import numpy as np

from tristream.streams.chunks import ChunkBuilder, Sighting, every_frame_is_a_step
from tristream.streams.errors import MediaError, SourceError, TristreamError
from tristream.streams.flow import FlowEngine
from tristream.streams.frame import Frame
from tristream.streams.live_source import Address, LiveSource
from tristream.streams.media_info import AudioBlock, MediaInfo
from tristream.streams.newest import Gap, Newest
from tristream.streams.picture import PictureFormat
from tristream.streams.pipeline import sightings, without_idle_flow
from tristream.streams.scaling import scale
from tristream.streams.sound import SoundSteps
from tristream.streams.steps import StepPlan, Steps, Timings

PIECE_STEPS = 16  # sent at once: of a long window they would be half a gigabyte
PIECE_FRAMES = 4  # after which steps go on to the CNNs: each piece costs some time, and each frame of it a delay
PICTURE_FPS, PICTURE_SIDE, JPEG_QUALITY = 10.0, 640, 80  # of what is kept to show of an event
SIGN_SECONDS = 1.0  # after which a piece is sent though there are no steps: of long windows they come late
FAREWELL_SECONDS = 1.5  # that telling a camera the end may take


@dataclass(frozen=True)
class Opened:
    """The source answers."""

    info: MediaInfo


@dataclass(frozen=True)
class Piece:
    """What a source gave since the piece before; without steps, a sign that frames come."""

    steps: Steps | None
    newest_seconds: float  # where the newest frame stands, on the source's clock
    began_seconds: float  # when that clock was 0, on the monotonic clock of this machine
    frames: int  # that were worked on since the piece before
    came: int  # frames since the source was opened
    dropped: int  # of those, as nobody had time for them
    gaps: tuple[Gap, ...]  # from when to when dropped frames are missing, since the piece before
    pictures: tuple[tuple[float, bytes], ...]  # times on the source's clock, and JPEG files


@dataclass(frozen=True)
class Closed:
    """The source is at its end (no error), was lost, or cannot be read (then `final`: it is no use to try again)."""

    error: str | None
    final: bool


@dataclass(frozen=True)
class Watched:
    """What is wanted of a source."""

    address: Address
    plan: StepPlan
    engine: Callable[[], FlowEngine | None]  # makes one; is sent to another process
    fps: float | None = None  # the most frames a second that are taken
    pictures: bool = False  # whether to keep some to show


def live_steps(watched: Watched, stop: Event | None = None) -> Iterator[Opened | Piece | Closed]:
    """What there is to say of a source, from its opening to its end, or until it shall stop."""
    stop = stop or Event()
    try:
        engine = watched.engine()
        if watched.plan.spatial is not None:  # brings torch, for which the first frames would have to wait
            scale(np.zeros((4, 4, 3), np.uint8), 2, 2, watched.plan.spatial.interpolation)
        vectors = engine is not None and engine.needs_motion_vectors
        source = watched.address.open(audio=watched.plan.audio, motion_vectors=vectors)
        newest = Newest()
        thread = Thread(target=_read, args=(source, newest, stop), daemon=True)
        yield Opened(source.info)
        thread.start()
        for piece in _pieces(watched, source.info, engine, newest):
            yield piece
            if stop.is_set():
                break
        thread.join(FAREWELL_SECONDS)
        yield Closed(f"{watched.address}: its reader was stopped" if stop.is_set() else None, final=not stop.is_set())
    except TristreamError as error:
        # A camera may come back. A file will be no better, and neither will a setting that cannot be.
        again = isinstance(error, SourceError) or (type(error) is MediaError and not watched.address.is_file)
        yield Closed(str(error), final=not again)
    except Exception as error:  # foreign code on what a camera sends; its words may have the address
        yield Closed(f"{watched.address} cannot be read: {type(error).__name__}", final=watched.address.is_file)


def _read(source: LiveSource, newest: Newest, stop: Event) -> None:
    """Take all that a source gives; what is said of it comes before it is closed, which one that is lost lets wait."""
    with source:
        try:
            for item in source:
                newest.put(item)
                if stop.is_set():
                    break
            newest.end()
        except BaseException as error:
            newest.end(error)


def _pieces(watched: Watched, info: MediaInfo, engine: FlowEngine | None, newest: Newest) -> Iterator[Piece]:
    plan = watched.plan
    if watched.fps is not None:
        plan = replace(plan, sampling=replace(plan.sampling, max_fps=min(watched.fps, plan.sampling.max_fps)))
    eager = every_frame_is_a_step(plan, info.video)
    plan, engine = without_idle_flow(plan, engine, eager)
    sound, timings, album = SoundSteps(plan.log_offset), Timings(), Album(watched.pictures)
    frames, seconds, sent = 0, 0.0, monotonic()

    def seen(run: Iterator[Frame | AudioBlock]) -> Iterator[Frame | AudioBlock]:
        nonlocal seconds
        for item in run:
            if isinstance(item, Frame):
                seconds = item.start_seconds + item.duration_seconds
                album.add(item)
            yield item

    def piece(steps: Steps | None) -> Piece:
        nonlocal frames, sent
        worked, frames, sent = frames, 0, monotonic()
        counts = worked, newest.came, newest.dropped
        return Piece(steps, seconds, newest.began_seconds, *counts, newest.take_gaps(), album.take())

    def pieces(steps: Iterator[Steps]) -> Iterator[Piece]:
        yield from map(piece, _made(steps))
        if monotonic() - sent > SIGN_SECONDS:
            yield piece(None)

    for run in newest.runs():
        builder = ChunkBuilder(plan, engine, eager, timings, PIECE_FRAMES)
        for item in sightings(seen(run), plan, engine, timings):
            frames += isinstance(item, Sighting) and item.keep
            yield from pieces(sound.add(item) if isinstance(item, AudioBlock) else builder.add(item))
        yield from pieces(builder.finish())
    yield from pieces(sound.finish())


def _made(pending: Iterator[Steps]) -> Iterator[Steps]:
    """Steps whose inputs are there, a few at a time."""
    for steps in pending:
        for first in range(0, len(steps), PIECE_STEPS):
            part = slice(first, first + PIECE_STEPS)
            times = steps.seconds[part], steps.start_seconds[part], steps.end_seconds[part]
            yield Steps(steps.stream, *times, steps.take(part).__getitem__)


class Album:
    """A few pictures a second, as JPEG files."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._last_seconds = -inf
        self._made: list[tuple[float, bytes]] = []

    def add(self, frame: Frame) -> None:
        """Keep a frame, if it is time for one."""
        if not self._wanted or frame.start_seconds - self._last_seconds < 1 / PICTURE_FPS - 1e-6:
            return
        self._last_seconds = frame.start_seconds
        height, width = frame.size
        scale = min(1.0, PICTURE_SIDE / max(height, width))
        even = [max(2, round(side * scale / 2) * 2) for side in (height, width)]  # as video has to be
        picture = frame.picture(PictureFormat(even[0], even[1], "rgb24", None, "area"))
        done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if done:
            self._made.append((frame.start_seconds, data.tobytes()))

    def take(self) -> tuple[tuple[float, bytes], ...]:
        """Those made since the last time."""
        made, self._made = self._made, []
        return tuple(made)


def main() -> None:
    """The whole life of a process that reads a source: Watched in, Opened, Pieces and Closed out, at a file descriptor.

    Both ends are ours; nothing that a camera sends is unpickled. It ends when the other end is gone.
    """
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    cv2.setNumThreads(1)
    with suppress(OSError, EOFError):
        watched = connection.recv()
        Thread(target=_end_with, args=(connection,), daemon=True).start()
        for each in live_steps(watched, stop):
            connection.send(each)
    os._exit(0)  # the thread that reads may wait for a camera for long


def _end_with(connection: "Connection[Any, Any]") -> None:
    """End this process when the other end is gone, whatever it is busy with."""
    with suppress(OSError, EOFError):
        connection.recv()
    os._exit(1)


if __name__ == "__main__":
    main()
