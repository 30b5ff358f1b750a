"""Step features along a video in, one stream vector a clip out, with memory for a few clips only.

features (T, ...) with times -> clips of `window_seconds` every `stride_seconds` -> vectors (...) by clip
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tristream.fusion.windows import Windows
from tristream.streams.steps import Steps

# Matroska rounds times to 1 ms, RTP to 1/90 ms, and floats have their own rounding: a step that is so little before a
# clip's start is in it, so that the same video has the same clips whatever it came in.
ROUNDING_SECONDS = 1e-3


class ClipEncoder:
    """Collects the step features of one stream and encodes each clip as soon as it is complete.

    Args:
        windows: how the video is cut.
        max_steps: the most steps a clip may have; more are thinned evenly.
        encode: the stream's recurrent encoder, N sequences (T_i, ...) -> (N, ...), as (T_i, F) -> (N, D).
        repeat_last: repeat a clip's last step until it has `max_steps`, for encoders that need just so many.
    """

    def __init__(
        self,
        windows: Windows,
        max_steps: int,
        encode: Callable[[Sequence[Tensor]], NDArray[np.float32]],
        repeat_last: bool = False,
    ) -> None:
        self._windows = windows
        self._max_steps = max_steps
        self._encode = encode
        self._repeat_last = repeat_last
        self._features: list[Tensor] = []  # (T_i, ...) each
        self._times: list[NDArray[np.float64]] = []  # (T_i, 3): seconds, start_seconds, end_seconds
        self._vectors: dict[int, NDArray[np.float32]] = {}  # clip -> what `encode` made of it
        self._next = 0  # the first clip not yet encoded

    @property
    def done(self) -> int:
        """Of so many clips from the first it is known what this stream has."""
        return self._next

    def take(self, clips: range) -> dict[int, NDArray[np.float32]]:
        """The vectors of these clips, which are then let go, with those before them."""
        taken = {clip: self._vectors[clip] for clip in clips if clip in self._vectors}
        self._vectors = {clip: vector for clip, vector in self._vectors.items() if clip >= clips.stop}
        return taken

    def add(self, features: Tensor, steps: Steps, part: slice) -> None:
        """Take the features (T, ...) of a slice of steps that follow those before."""
        times = np.stack([steps.seconds, steps.start_seconds, steps.end_seconds], axis=1)[part]
        self._features.append(features)
        self._times.append(times)
        reached_seconds = times[-1, 0]
        # A clip is complete when the video surely goes on after it, so that it is not the last and longer.
        whole = self._windows.count(reached_seconds) - 1
        if whole > self._next:
            self._encode_up_to(whole, float("inf"))

    def finish(self, duration_seconds: float) -> dict[int, NDArray[np.float32]]:
        """What `encode` made of every clip in which this stream is present, but for those taken."""
        if self._features:
            self._encode_up_to(self._windows.count(duration_seconds), duration_seconds)
        return self._vectors

    def _encode_up_to(self, end: int, duration_seconds: float) -> None:
        features, times = torch.cat(self._features), np.concatenate(self._times)
        clips, sequences = [], []
        last_clip = int(times[-1, 2] // self._windows.stride_seconds) + 1  # no step reaches further
        for clip in range(self._next, min(end, last_clip)):
            if len(chosen := self._steps_of(times, *self._windows.span(clip, duration_seconds))):
                clips.append(clip)
                if self._repeat_last:
                    chosen = np.pad(chosen, (0, self._max_steps - len(chosen)), mode="edge")
                sequences.append(features[chosen])
        self._vectors.update(zip(clips, self._encode(sequences), strict=True))
        self._next = end
        needed = times[:, 2] > end * self._windows.stride_seconds
        self._features, self._times = [features[torch.from_numpy(needed)]], [times[needed]]

    def _steps_of(self, times: NDArray[np.float64], start_seconds: float, end_seconds: float) -> NDArray[np.intp]:
        """Indices of the steps that lie in a clip or, where none does, of the one that reaches furthest into it."""
        seconds = times[:, 0] + ROUNDING_SECONDS
        inside = np.flatnonzero((seconds >= start_seconds) & (seconds < end_seconds))
        if len(inside) > self._max_steps:
            return inside[np.linspace(0, len(inside) - 1, self._max_steps).round().astype(np.intp)]
        if len(inside) == 0 and len(times):
            overlap_seconds = np.minimum(times[:, 2], end_seconds) - np.maximum(times[:, 1], start_seconds)
            if overlap_seconds.max() > 0:
                return np.array([overlap_seconds.argmax()])
        return inside
