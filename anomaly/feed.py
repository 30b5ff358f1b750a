"""What comes of a camera, from a process of its own, which is begun anew whenever it ends: after 1, 2, 4 ... seconds.

A process is one connection: whatever ends it, a lost camera, a decoder that crashes, one that hangs and is killed, the
way back is the same. One thread here for each of them waits for what it sends.
"""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
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


class Feed:
    """Keeps one camera connected, and puts what it sends into the inbox under its number.

    Args:
        retry_seconds: the longest pause before it is tried again; 0 for once only.
    """

    def __init__(self, number: int, watched: Watched, retry_seconds: float, inbox: Inbox) -> None:
        self._number, self._watched, self._inbox = number, watched, inbox
        self._retry_seconds = retry_seconds
        self._slots = Semaphore(SLOTS)
        self._stop = Event()
        self._thread = Thread(target=self._run, name=f"tristream-feed-{number}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Say farewell to the camera; `join` waits until that is done."""
        self._stop.set()

    def join(self) -> None:
        """Wait until its process is gone."""
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            self._newest_seconds = 0.0
            closed = self._connect()
            if self._stop.is_set():
                return
            if closed.final or self._retry_seconds <= 0:
                self._deliver(Lost(closed.error, None))
                return
            failures = 1 if self._newest_seconds >= STEADY_SECONDS else failures + 1
            pause_seconds = min(self._retry_seconds, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 16))
            pause_seconds *= uniform(1 - JITTER, 1)  # noqa: S311 so that many cameras do not come back as one
            self._deliver(Lost(closed.error, pause_seconds))
            self._stop.wait(pause_seconds)

    def _connect(self) -> Closed:
        """One process from its start to its end; why it ended."""
        here, there = Pipe()
        with there:
            # Not a multiprocessing.Process, which would import the caller's program anew, torch and all.
            process = subprocess.Popen(  # noqa: S603 our own words
                [sys.executable, "-c", "from tristream.streams.live_steps import main; main()", str(there.fileno())],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"OMP_NUM_THREADS": "1"},  # the other cores have other cameras
                start_new_session=True,  # Ctrl-C is for this process
            )
        try:
            with suppress(OSError):
                here.send(self._watched)
            return self._follow(here, process)
        finally:
            process.kill()  # after its last word; closing a camera that stalls may take long
            process.wait()
            here.close()

    def _follow(self, connection: "Connection[Any, Any]", process: "subprocess.Popen[bytes]") -> Closed:
        patience_seconds = START_SECONDS + self._watched.address.open_seconds
        heard = monotonic()
        while not self._stop.is_set():
            if not connection.poll(LOOK_SECONDS):
                if monotonic() - heard > patience_seconds:
                    return Closed(f"{self._watched.address}: its reader hung and was ended", final=False)
                continue
            try:
                message = connection.recv()
            except (EOFError, OSError):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(FAREWELL_SECONDS)
                error = f"{self._watched.address}: its reader died with exit code {process.returncode}"
                return Closed(error, final=False)
            if isinstance(message, Closed):
                return message
            if isinstance(message, Piece):
                self._newest_seconds = message.newest_seconds
            self._deliver(message)
            patience_seconds = self._watched.address.stall_seconds + HANG_SECONDS
            heard = monotonic()
        process.terminate()  # it says farewell to the camera
        with suppress(subprocess.TimeoutExpired):
            process.wait(FAREWELL_SECONDS)
        return Closed(None, final=True)

    def _deliver(self, message: Message) -> None:
        """Put a message into the inbox, once there is a slot for it; dropped when all is to stop."""
        while not self._slots.acquire(timeout=LOOK_SECONDS):
            if self._stop.is_set():
                return
        self._inbox.put(self._number, message, self._slots)
