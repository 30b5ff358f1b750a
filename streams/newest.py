"""Frames and sound of a live source on their way from the thread that reads to the one that works: the newest only."""

from collections import deque
from collections.abc import Iterator
from statistics import median
from threading import Condition
from time import monotonic

from tristream.streams.frame import Frame
from tristream.streams.log_mel import SAMPLE_RATE_HZ
from tristream.streams.media_info import AudioBlock

WAITING_SECONDS = 0.75  # that a frame may wait; those held back while a camera was opened come all at once
MOST_PIXELS = 64 << 20  # of frames that wait: 1.5 bytes each, so about 100 MB
MOST_SOUND_SECONDS = 20.0
PAUSE_INTERVALS, PAUSE_SECONDS = 3.0, 0.3  # after which frames do not follow each other any more
USUAL_FRAMES, LEAST_FRAMES = 15, 5  # of which the usual interval is the median
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
        self.began_seconds = 0.0  # when the source's time 0 was, on the monotonic clock
        self._waiting_seconds = waiting_seconds
        self._items: deque[tuple[float, Frame | AudioBlock | Gap]] = deque()  # with when they came
        self._change = Condition()
        self._last_seconds = 0.0  # of the newest frame
        self._intervals: deque[float] = deque(maxlen=USUAL_FRAMES)  # between frames
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
                self._note_pause(item)
                self._last_seconds = item.start_seconds
            else:
                self._bound_sound()
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

    def _note_pause(self, frame: Frame) -> None:
        """Where pictures failed to come for a while, no flow is computed, nor a window scored."""
        interval_seconds = frame.start_seconds - self._last_seconds
        usual = self._intervals
        if len(usual) >= LEAST_FRAMES and interval_seconds > max(PAUSE_INTERVALS * median(usual), PAUSE_SECONDS):
            self._items.append((0.0, (self._last_seconds + median(usual), frame.start_seconds)))
        if self.came > 1:
            usual.append(interval_seconds)

    def _bound_sound(self) -> None:
        """Let go of the oldest blocks, where more waits than is worth keeping."""
        blocks = [each for _, each in self._items if isinstance(each, AudioBlock)]
        samples = sum(len(block.samples) for block in blocks)
        while samples > MOST_SOUND_SECONDS * SAMPLE_RATE_HZ:
            samples -= len(blocks[0].samples)
            oldest = blocks.pop(0)
            self._items = deque(each for each in self._items if each[1] is not oldest)

    def _meet(self, seconds: float) -> None:
        """Count a frame; the one that was under way for the shortest time tells when its source began."""
        began_seconds = monotonic() - seconds
        if self.came:
            drifted = self.began_seconds + DRIFT * max(0.0, seconds - self._last_seconds)
            began_seconds = min(began_seconds, drifted)
        self.came, self.began_seconds = self.came + 1, began_seconds

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
