"""Sound in, log-mel examples on the file's clock out: samples (S,) at 16 kHz -> Steps (T, 96, 64)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tristream.streams.log_mel import EXAMPLE_SECONDS, LOG_OFFSET, SAMPLE_RATE_HZ, LogMelStream
from tristream.streams.media import AudioBlock
from tristream.streams.steps import Steps

GAP_SECONDS = 0.25  # a jump in the sound's time stamps from which it is begun anew


class SoundSteps:
    """Sound in, log-mel examples out, with their times; `log_offset` is the one that the audio CNN wants."""

    def __init__(self, log_offset: float = LOG_OFFSET) -> None:
        self.log_offset = log_offset
        self.padded = 0  # examples that were filled up with silence
        self._examples = LogMelStream(log_offset=log_offset)
        self._expected_seconds: float | None = None  # of the next block

    def add(self, block: AudioBlock) -> Iterator[Steps]:
        """The examples that a block completes."""
        if self._expected_seconds is None or abs(block.start_seconds - self._expected_seconds) > GAP_SECONDS:
            yield from self.finish()
            self._examples = LogMelStream(block.start_seconds, self.log_offset)
            self._expected_seconds = block.start_seconds
        self._expected_seconds += len(block.samples) / SAMPLE_RATE_HZ
        yield from self._steps(self._examples.push(block.samples))

    def finish(self) -> Iterator[Steps]:
        """The last example."""
        yield from self._steps(self._examples.finish())
        self.padded += self._examples.padded

    def _steps(self, examples: NDArray[np.float32]) -> Iterator[Steps]:
        """The examples (T, 96, 64) just made, with their times."""
        made = len(examples)
        if made:
            first = self._examples.count - made
            start_seconds = np.array([self._examples.start_seconds(first + i) for i in range(made)])
            end_seconds = start_seconds + EXAMPLE_SECONDS
            yield Steps("audio", start_seconds + EXAMPLE_SECONDS / 2, start_seconds, end_seconds, examples.__getitem__)
