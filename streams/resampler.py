"""Decoded sound of any rate and layout in, 16 kHz mono float out, by a resampler that may have to be begun anew."""

from collections.abc import Callable
from typing import Any

from tristream.streams.media_streams import excess_of

MAX_SOUND_FRAME_SECONDS = 600.0


class Resampler:
    """Decoded sound of any rate, layout and sample format to mono float; `make` gives a new resampler to one rate."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._resampler: Any = None
        self._kind: Any = None

    def resample(self, frame: Any) -> list[Any]:
        """The resampled frames that are ready; None at the end brings the last ones.

        Raises:
            ValueError: sound beyond the limits.
        """
        if frame is None:
            return self._flush()
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        flushed = [] if kind == self._kind else self._flush()  # the sound may change within a file
        if self._resampler is None:
            if excess := excess_of(frame.sample_rate, frame.layout.nb_channels):
                raise ValueError(excess)
            self._resampler = self._make()
            self._kind = kind
        if frame.samples > MAX_SOUND_FRAME_SECONDS * frame.sample_rate:
            raise ValueError(f"{frame.samples} samples in one packet")
        return [*flushed, *self._resampler.resample(frame)]

    def _flush(self) -> list[Any]:
        last = self._resampler.resample(None) if self._resampler is not None else []
        self._resampler = None
        return [frame for frame in last if frame is not None]
