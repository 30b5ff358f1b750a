"""What comes of a camera, from a process of its own, which is begun anew whenever it ends: after 1, 2, 4 ... seconds.

A process is one connection: whatever ends it, a lost camera, a decoder that crashes, one that hangs and is killed, the
way back is the same. One thread here for each of them waits for what it sends.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from multiprocessing.connection import Connection, Pipe
from queue import Empty, Queue
from random import uniform
from threading import Event, Semaphore, Thread
from time import monotonic
from typing import Any

from tristream.streams.live_steps import Closed, Opened, Piece, Watched

SLOTS = 4  # messages of a camera that may wait; more wait as frames in its process, where old ones give way
FIRST_PAUSE_SECONDS, JITTER = 1.0, 0.25
STEADY_SECONDS = 10.0  # a connection that held so long was a good one: the next pause is the shortest again
START_SECONDS = 30.0  # that a process may take to begin, on a machine that is busy
HANG_SECONDS = 10.0  # beyond the time in which it notices a stall itself
LOOK_SECONDS = 0.2
FAREWELL_SECONDS = 2.0
FRAMES_UNHEARD = 3  # frames that may be taken before a sign of them is sent


@dataclass(frozen=True)
class Lost:
    """The connection is at its end; after a pause comes the next one, or none."""

    error: str | None
    pause_seconds: float | None


Message = Opened | Piece | Lost


class Inbox:
    """What all cameras send, in turn: none can have more than a few messages in it."""

    def __init__(self) -> None:
        self._messages: Queue[tuple[int, Message, Semaphore]] = Queue()

    def take(self, wait_seconds: float) -> list[tuple[int, Message]]:
        """All that is there, waiting for the first so long."""
        taken: list[tuple[int, Message]] = []
        try:
            while True:
                number, message, slots = self._messages.get(timeout=0 if taken else wait_seconds)
                slots.release()
                taken.append((number, message))
        except Empty:
            return taken

    def put(self, number: int, message: Message, slots: Semaphore) -> None:
        """Add what a camera sent, one of whose slots is taken."""
        self._messages.put((number, message, slots))


READER = (sys.executable, "-P", "-c", "from tristream.streams.live_steps import main; main()")


class Feed:
    """Keeps one camera connected, and puts what it sends into the inbox under its number.

    Args:
        retry_seconds: the longest pause before it is tried again; 0 for once only.
        reader: the words of the program that reads, but for the last, the number of a file descriptor.
    """

    def __init__(
        self,
        number: int,
        watched: Watched,
        retry_seconds: float,
        inbox: Inbox,
        reader: Sequence[str] = READER,
    ) -> None:
        self._number, self._watched, self._inbox = number, watched, inbox
        self._retry_seconds, self._reader = retry_seconds, reader
        self._slots = Semaphore(SLOTS)
        self._stop = Event()
        self._newest_seconds = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._give_up_at: float | None = None  # on the monotonic clock, while something is awaited of the process
        self._hung = False
        self._thread = Thread(target=self._run, name=f"tristream-feed-{number}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def check(self) -> None:
        """End its process if that hangs; to be called now and then."""
        process, give_up_at = self._process, self._give_up_at
        if process is not None and give_up_at is not None and monotonic() > give_up_at:
            self._hung = True
            process.kill()

    def stop(self) -> None:
        """Tell the camera farewell; `join` waits until that is done."""
        self._stop.set()
        if (process := self._process) is not None:
            process.terminate()

    def join(self) -> None:
        """Wait until its process is gone."""
        self._thread.join(FAREWELL_SECONDS)
        if (process := self._process) is not None:
            process.kill()
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            self._newest_seconds = 0.0
            try:
                closed = self._connect()
            except Exception as error:  # no more processes, descriptors or memory: for now
                why = getattr(error, "strerror", None) or type(error).__name__
                closed = Closed(f"{self._watched.address}: its reader cannot be started: {why}", final=False)
            if self._stop.is_set():
                return
            if closed.final or self._retry_seconds <= 0:
                self._deliver(Lost(closed.error, None))
                return
            failures = 1 if self._newest_seconds >= STEADY_SECONDS else failures + 1
            pause_seconds = pause_of(failures, self._retry_seconds)
            self._deliver(Lost(closed.error, pause_seconds))
            self._stop.wait(pause_seconds)

    def _connect(self) -> Closed:
        """One process from its start to its end; why it ended."""
        here, there = Pipe()
        with here:
            with there:
                # Not a multiprocessing.Process, which would import the caller's program anew, torch and all.
                process = subprocess.Popen(  # noqa: S603 our own words
                    [*self._reader, str(there.fileno())],
                    pass_fds=[there.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},  # the other cores have other cameras
                    start_new_session=True,  # Ctrl-C is for this process
                )
            self._process, self._hung = process, False
            try:
                return self._follow(here, process)
            finally:
                self._process = self._give_up_at = None
                process.kill()  # after its last word; closing a camera that stalls may take long
                process.wait()

    def _follow(self, connection: "Connection[Any, Any]", process: "subprocess.Popen[bytes]") -> Closed:
        address = self._watched.address
        patience_seconds = START_SECONDS + address.open_seconds
        try:
            self._give_up_at = monotonic() + patience_seconds
            connection.send(self._watched)
            while True:
                message = connection.recv()
                self._give_up_at = None
                if isinstance(message, Closed):
                    return message
                if isinstance(message, Piece):
                    self._newest_seconds = message.newest_seconds
                self._deliver(message)
                patience_seconds = address.stall_seconds + HANG_SECONDS + FRAMES_UNHEARD / (self._watched.fps or inf)
                self._give_up_at = monotonic() + patience_seconds
        except (EOFError, OSError):
            if self._hung:
                return Closed(f"{address}: its reader hung and was ended", final=False)
            with suppress(subprocess.TimeoutExpired):
                process.wait(FAREWELL_SECONDS)
            return Closed(f"{address}: its reader died with exit code {process.returncode}", final=False)

    def _deliver(self, message: Message) -> None:
        """Put a message into the inbox, once there is a slot for it; dropped when all is to stop."""
        while not self._stop.is_set() and not self._slots.acquire(timeout=LOOK_SECONDS):
            pass
        if self._stop.is_set():
            return
        self._inbox.put(self._number, message, self._slots)


def pause_of(failures: int, longest_seconds: float) -> float:
    """How long to wait after so many failures in a row: 1, 2, 4 ... s, up to a quarter less by chance.

    By chance, so that many cameras of a network that was lost do not come back all at once.
    """
    seconds = min(longest_seconds, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 16))
    return seconds * uniform(1 - JITTER, 1)  # noqa: S311 not for secrets
