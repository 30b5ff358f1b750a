"""Clips of a data set as sequences of step features: cache -> (T, …) tensors -> padded batches (B, T, …)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tristream.fusion.clips import ClipEncoder
from tristream.fusion.windows import Windows
from tristream.streams.config import SamplingConfig, StreamName
from tristream.streams.steps import Steps
from tristream.training.cache import FeatureCache

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Clip:
    """One clip of a file that has the stream: which of the cached steps it holds, (T,), and its class."""

    key: str
    steps: Indices
    label: int
    version: int = 0  # of its features; beyond 0 are augmented copies


@dataclass(frozen=True)
class Batch:
    """Steps (B, T, …) float32 or uint8, padded; lengths (B,) and labels (B,), both int64."""

    steps: Tensor
    lengths: Tensor
    labels: Tensor


def clip_steps(
    times: NDArray[np.float64],
    duration_seconds: float,
    stream: StreamName,
    windows: Windows,
    sampling: SamplingConfig,
) -> dict[int, Indices]:
    """Which of a file's steps, of these times (T, 3), each of its clips holds, by the clip's number.

    They are those that embedding the file takes.
    """
    count = len(times)
    if not count:
        return {}
    held: list[Indices] = []

    def keep(sequences: Sequence[Tensor]) -> NDArray[np.float32]:
        held.extend(sequence[:, 0].numpy().astype(np.intp) for sequence in sequences)
        return np.zeros((len(sequences), 1), np.float32)

    seconds, start_seconds, end_seconds = times.T
    steps = Steps(stream, seconds, start_seconds, end_seconds, lambda part: np.zeros(0))
    encoder = ClipEncoder(windows, sampling.max_steps, keep, sampling.repeat_last)
    encoder.add(torch.arange(count)[:, None], steps, slice(0, count))
    clips = encoder.finish(duration_seconds)
    return dict(zip(sorted(clips), held, strict=True))


class SequenceReader:
    """Reads clips from the cache into batches.

    Args:
        most_steps: clips of more steps are thinned at random to so many, one of each equal part; None for all.
            Only where they come in a random order, to be learnt from.
    """

    def __init__(self, cache: FeatureCache, most_steps: int | None = None) -> None:
        self._cache = cache
        self._most_steps = most_steps

    def batches(self, clips: Sequence[Clip], size: int, generator: np.random.Generator) -> Iterator[Batch]:
        """The clips in a random order, at most `size` at a time."""
        for part in even_batches(generator.permutation(len(clips)), size):
            chosen = [clips[index] for index in part]
            yield self._batch(chosen, [thinned(clip.steps, self._most_steps, generator) for clip in chosen])

    def in_order(self, clips: Sequence[Clip], size: int) -> Iterator[Batch]:
        """The clips as they come, with all their steps."""
        for first in range(0, len(clips), size):
            chosen = clips[first : first + size]
            yield self._batch(chosen, [clip.steps for clip in chosen])

    def sequence(self, clip: Clip, steps: Indices | None = None) -> Tensor:
        """The steps (T, …) of a clip: float32, or uint8 for pictures."""
        chosen = clip.steps if steps is None else steps
        first, last = int(chosen.min()), int(chosen.max())  # a long file holds many clips' steps
        values, _ = self._cache.read_steps(clip.key, first, last + 1, clip.version)
        values = values[chosen - first]
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        return tensor if tensor.dtype == torch.uint8 else tensor.float()

    def _batch(self, clips: Sequence[Clip], steps: Sequence[Indices]) -> Batch:
        sequences = [self.sequence(clip, chosen) for clip, chosen in zip(clips, steps, strict=True)]
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        labels = torch.tensor([clip.label for clip in clips])
        return Batch(pad_sequence(sequences, batch_first=True), lengths, labels)


def even_batches(order: Indices, size: int) -> list[Indices]:
    """As few batches of at most `size` as there can be, of sizes that differ by one at most.

    A last batch of a few clips would move the weights as far as a full one: on sets of a hundred clips, encoders were
    thrown off by it.
    """
    return [part for part in np.array_split(order, max(1, -(-len(order) // size))) if len(part)]


def thinned(steps: Indices, most: int | None, generator: np.random.Generator) -> Indices:
    """At most `most` of the steps, one at random from each of so many equal parts (Wang et al. 2016, TSN)."""
    count = len(steps)
    if most is None or count <= most:
        return steps
    edges = np.arange(most + 1) * count / most
    places = edges[:-1] + generator.random(most) * (edges[1:] - edges[:-1])
    places = np.minimum(places.astype(np.intp), count - 1)  # rounding may reach the end
    return steps[np.unique(places)]  # two places may fall into one step, at the edge of two parts
