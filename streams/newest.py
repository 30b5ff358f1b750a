"""Frames and sound of a live source on their way from the thread that reads to the one that works: the newest only."""

from collections import deque
from collections.abc import Iterator
from threading import Condition
from time import time

from tristream.streams.frame import Frame
from tristream.streams.media_info import AudioBlock

WAITING_SECONDS = 0.75  # of picture that may wait
DRIFT = 1e-3  # by how much a camera's clock may be slower than ours
MOST_BLOCKS = 1000  # of sound: some 20 s


class Newest:
    """Holds what has come until it is taken; where that falls behind, what waits is dropped, and counted.

    All the frames that wait are dropped together: flow needs frames that follow each other, so one long gap costs less
    than many short ones.
    """

    def __init__(self, waiting_seconds: float = WAITING_SECONDS) -> None:
        self.came = 0  # frames so far
        self.dropped = 0
        self.began_seconds = 0.0  # when the source's time 0 was, in seconds since 1970
        self._waiting_seconds = waiting_seconds
        self._items: deque[Frame | AudioBlock | None] = deque()  # None: here frames are missing
        self._change = Condition()
        self._last_seconds = 0.0  # of the newest frame
        self._next: Frame | AudioBlock | None = None  # the first frame of another size
        self._ended = False
        self._error: BaseException | None = None

    def put(self, item: Frame | AudioBlock) -> None:
        """Add what has just come."""
        with self._change:
            if isinstance(item, Frame):
                self._meet(item.start_seconds)
                oldest = next((each for each in self._items if isinstance(each, Frame)), item)
                if item.start_seconds - oldest.start_seconds > self._waiting_seconds:
                    self._drop()
            elif len(self._items) > MOST_BLOCKS:
                self._items.clear()
            self._items.append(item)
            self._change.notify()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more comes; `error` is raised to who takes, once what waits is taken."""
        with self._change:
            self._ended, self._error = True, error
            self._change.notify()

    def runs(self) -> Iterator[Iterator[Frame | AudioBlock]]:
        """What comes, in runs of frames that follow each other and are of one size; each is to be used up."""
        while not self._over():
            yield self._run()
        if self._error is not None:
            raise self._error

    def _meet(self, seconds: float) -> None:
        """Count a frame; the one that was under way for the shortest time tells when its source began."""
        began_seconds = time() - seconds
        if self.came:
            drifted = self.began_seconds + DRIFT * max(0.0, seconds - self._last_seconds)
            began_seconds = min(began_seconds, drifted)
        self.came, self.began_seconds, self._last_seconds = self.came + 1, began_seconds, seconds

    def _run(self) -> Iterator[Frame | AudioBlock]:
        size = None
        while True:
            item = self._take() if self._next is None else self._next
            self._next = None
            if item is None:
                return
            if isinstance(item, Frame):
                if size not in (None, item.size):
                    self._next = item
                    return
                size = item.size
            yield item

    def _take(self) -> Frame | AudioBlock | None:
        with self._change:
            self._change.wait_for(lambda: self._items or self._ended)
            return self._items.popleft() if self._items else None

    def _over(self) -> bool:
        with self._change:
            return self._ended and not self._items and self._next is None

    def _drop(self) -> None:
        kept: list[Frame | AudioBlock | None] = [item for item in self._items if isinstance(item, AudioBlock)]
        self.dropped += sum(isinstance(item, Frame) for item in self._items)
        self._items = deque([*kept, None])
