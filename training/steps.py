"""Single steps of clips, drawn from the cache, for a CNN to learn from: -> inputs (B, …), labels (B,)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tristream.streams.config import StreamName
from tristream.training.cache import FeatureCache


@dataclass(frozen=True)
class Footage:
    """The cached inputs of one file: how many steps there are, and their class."""

    key: str
    count: int
    label: int


@dataclass(frozen=True)
class Step:
    """One step of a file."""

    footage: Footage
    index: int


def draw(footage: Sequence[Footage], per_clip: int, generator: np.random.Generator) -> list[Step]:
    """`per_clip` steps of each file, one at random from each of so many equal parts; fewer where it is shorter."""
    steps = []
    for each in footage:
        count = min(per_clip, each.count)
        places = (np.arange(count) + generator.random(count)) * each.count / count
        steps += [Step(each, min(int(place), each.count - 1)) for place in places]
    return steps


def spread(footage: Sequence[Footage], per_clip: int) -> list[Step]:
    """The middle of each of `per_clip` equal parts of each file: the same every time."""
    steps = []
    for each in footage:
        count = min(per_clip, each.count)
        steps += [Step(each, int(place)) for place in (np.arange(count) + 0.5) * each.count / count]
    return steps


class StepReader:
    """Reads the inputs of steps, as the stream's CNN takes them.

    Args:
        pairs: L, of the flow stacks; 0 for another stream.
        mirror: whether half of the steps drawn are mirrored, left for right.
    """

    def __init__(self, cache: FeatureCache, stream: StreamName, pairs: int, mirror: bool) -> None:
        self._cache = cache
        self._stream = stream
        self._pairs = pairs
        self._mirror = mirror

    def batch(self, steps: Sequence[Step], generator: np.random.Generator | None) -> tuple[Tensor, Tensor]:
        """Inputs (B, …) and labels (B,) int64; nothing is mirrored without a generator."""
        inputs = [self._input(step) for step in steps]
        if self._mirror and generator is not None:
            turn = generator.random(len(steps)) < 0.5
            inputs = [self._mirrored(each) if turned else each for each, turned in zip(inputs, turn, strict=True)]
        labels = torch.tensor([step.footage.label for step in steps])
        return torch.from_numpy(np.stack(inputs)), labels

    def _input(self, step: Step) -> NDArray[np.float32] | NDArray[np.uint8]:
        if self._stream == "temporal":
            return self._stack(step)
        values, _ = self._cache.read_steps(step.footage.key, step.index, step.index + 1)
        one: NDArray[np.uint8] | NDArray[np.float32] = (
            values[0] if values.dtype == np.uint8 else values[0].astype(np.float32)
        )
        return one

    def _stack(self, step: Step) -> NDArray[np.float32]:
        """The stack (2L, H, W) that is centred on a frame, as `flow_stacks` makes it."""
        # The last frame has no flow to a next one; what is cached there repeats the one before.
        last = max(0, step.footage.count - 2)
        index = np.clip(step.index + np.arange(self._pairs) - self._pairs // 2, 0, last)  # (L,)
        first = int(index[0])
        fields, scale = self._cache.read_steps(step.footage.key, first, int(index[-1]) + 1)
        stack = fields[index - first].astype(np.float32)  # (L, 2, H, W)
        if scale is not None:
            stack *= scale[index - first, None, None, None]
        return stack.reshape(2 * self._pairs, *stack.shape[2:])

    def _mirrored(self, inputs: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32] | NDArray[np.uint8]:
        """The same, left for right: a flow's x points the other way then."""
        if self._stream == "temporal":
            mirrored = inputs[:, :, ::-1].copy()  # (2L, H, W)
            mirrored[::2] *= -1  # x and y are interleaved
            return mirrored
        return inputs[:, ::-1].copy()  # (H, W, 3)
