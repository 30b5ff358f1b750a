"""Frames and sound of a live source on their way from the thread that reads to the one that works: the newest only."""

from collections import deque
from collections.abc import Iterator
from threading import Condition
from time import monotonic, time

from tristream.streams.frame import Frame
from tristream.streams.media_info import AudioBlock

WAITING_SECONDS = 0.75  # that a frame may wait; those held back while a camera was opened come all at once
MOST_PIXELS = 64 << 20  # of frames that wait: 1.5 bytes each, so about 100 MB
MOST_BLOCKS = 1000  # of sound: some 20 s
DRIFT = 1e-3  # by how much a camera's clock may be slower than ours

Gap = tuple[float, float]  # from when to when frames are missing, on the source's clock


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
        self._items: deque[tuple[float, Frame | AudioBlock | Gap]] = deque()  # with when they came
        self._change = Condition()
        self._last_seconds = 0.0  # of the newest frame
        self._next: Frame | Gap | None = None  # with which the next run begins
        self._gaps: list[Gap] = []
        self._ended = False
        self._error: BaseException | None = None

    def put(self, item: Frame | AudioBlock) -> None:
        """Add what has just come."""
        now = monotonic()
        with self._change:
            if isinstance(item, Frame):
                self._meet(item.start_seconds)
                waiting = [(came, each) for came, each in self._items if isinstance(each, Frame)]
                height, width = item.size
                late = waiting and now - waiting[0][0] > self._waiting_seconds
                if late or len(waiting) * height * width > MOST_PIXELS:
                    self._drop([each for _, each in waiting], item.start_seconds)
            elif len(self._items) > MOST_BLOCKS:
                self._items.clear()
            self._items.append((now, item))
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

    def take_gaps(self) -> tuple[Gap, ...]:
        """The gaps that were passed since the last time."""
        gaps, self._gaps = tuple(self._gaps), []
        return gaps

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
            if isinstance(item, tuple):
                self._gaps.append(item)
                return
            if item is None:
                return
            if isinstance(item, Frame):
                if size not in (None, item.size):
                    self._next = item
                    return
                size = item.size
            yield item

    def _take(self) -> Frame | AudioBlock | Gap | None:
        with self._change:
            self._change.wait_for(lambda: self._items or self._ended)
            return self._items.popleft()[1] if self._items else None

    def _over(self) -> bool:
        with self._change:
            return self._ended and not self._items and self._next is None

    def _drop(self, frames: list[Frame], until_seconds: float) -> None:
        self.dropped += len(frames)
        kept = [(came, item) for came, item in self._items if not isinstance(item, Frame)]
        self._items = deque([*kept, (monotonic(), (frames[0].start_seconds, until_seconds))])
