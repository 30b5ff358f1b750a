"""A span of a file, as if the file were cut there: frames and sound of [begin, end), their times counted from begin."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tristream.streams.errors import MediaError
from tristream.streams.frame_folder import FrameFolder
from tristream.streams.log_mel import SAMPLE_RATE_HZ
from tristream.streams.media import AudioBlock, Frame, MediaInfo, MediaReader

INTERLEAVED_SECONDS = 5.0  # sound and picture of one time stand no further apart in a file


class Excerpt:
    """What a reader gives of [begin_seconds, end_seconds): iterate for it, once.

    Raises:
        MediaError: while it is iterated: the file cannot be decoded, or nothing of it lies there.
    """

    def __init__(self, reader: MediaReader | FrameFolder, begin_seconds: float, end_seconds: float) -> None:
        self._reader = reader
        self._begin_seconds, self._end_seconds = begin_seconds, end_seconds
        self._reached_seconds = 0.0  # from the begin

    @property
    def path(self) -> Path:
        """Of the file."""
        return self._reader.path

    @property
    def info(self) -> MediaInfo:
        """What the file says of itself."""
        return self._reader.info

    @property
    def warnings(self) -> list[str]:
        """What was found in what was read."""
        return self._reader.warnings

    @property
    def duration_seconds(self) -> float:
        """Where what was given so far ends."""
        return self._reached_seconds

    def __iter__(self) -> Iterator[Frame | AudioBlock]:
        for item in self._reader:
            if item.start_seconds > self._end_seconds + INTERLEAVED_SECONDS:
                break
            cut = self._frame(item) if isinstance(item, Frame) else self._block(item)
            if cut is not None:
                yield cut
        if not self._reached_seconds:
            raise MediaError(
                f"nothing of {self.path} lies in {self._begin_seconds:g}-{self._end_seconds:g} s: it ends at "
                f"{self._reader.duration_seconds:.2f} s"
            )

    def _frame(self, frame: Frame) -> Frame | None:
        if not self._begin_seconds <= frame.start_seconds < self._end_seconds:
            return None
        end_seconds = min(frame.start_seconds + frame.duration_seconds, self._end_seconds)
        self._reached_seconds = max(self._reached_seconds, end_seconds - self._begin_seconds)
        return replace(frame, start_seconds=frame.start_seconds - self._begin_seconds)

    def _block(self, block: AudioBlock) -> AudioBlock | None:
        """The samples of a block that lie in the span."""
        begin, end = (
            round((seconds - block.start_seconds) * SAMPLE_RATE_HZ) if seconds < float("inf") else len(block.samples)
            for seconds in (self._begin_seconds, self._end_seconds)
        )
        begin = max(begin, 0)
        samples = block.samples[begin : max(end, 0)]
        if not len(samples):
            return None
        start_seconds = block.start_seconds + begin / SAMPLE_RATE_HZ - self._begin_seconds
        self._reached_seconds = max(self._reached_seconds, start_seconds + len(samples) / SAMPLE_RATE_HZ)
        return AudioBlock(start_seconds, samples)
