"""Steps in, features of each tile of a grid out: inputs (T, ...) of a stream's CNN -> (T, P, ...) -> (T, P, F)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tristream.streams.config import StreamName
from tristream.streams.grid import Grid
from tristream.streams.steps import Steps
from tristream.streams.stream import Stream


def tile_features(stream: Stream, inputs: NDArray[Any], grid: Grid) -> Tensor:
    """Step features (T, P, F) of the inputs (T, ...) of a stream's CNN: of each tile, or one of all, as of sound."""
    tiles = tile_inputs(stream.name, inputs, grid)
    return stream.features(tiles.reshape(-1, *tiles.shape[2:])).view(*tiles.shape[:2], -1)


def tile_inputs(stream: StreamName, inputs: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """The inputs (T, P, ...) of each tile."""
    if stream == "audio" or grid.is_whole:
        return inputs[:, None]
    return grid.cut(inputs, axis=1 if stream == "spatial" else 2)  # (T, P, h, w, 3) or (T, P, 2L, h, w)


def features_together(
    streams: Mapping[StreamName, Stream], asked: Sequence[tuple[Steps, Grid]], batch_size: int
) -> list[Tensor]:
    """The features (T, P, F) of steps of several videos, which go through the CNNs together, `batch_size` at a time."""
    tiles = [tile_inputs(steps.stream, steps.take(slice(None)), grid) for steps, grid in asked]
    alike: defaultdict[tuple[StreamName, tuple[int, ...]], list[int]] = defaultdict(list)
    for number, (steps, _) in enumerate(asked):
        alike[steps.stream, tiles[number].shape[2:]].append(number)
    found: dict[int, Tensor] = {}
    for (name, shape), numbers in alike.items():
        inputs = np.concatenate([tiles[number].reshape(-1, *shape) for number in numbers])
        features = torch.cat(
            [streams[name].features(inputs[first : first + batch_size]) for first in range(0, len(inputs), batch_size)]
        )
        sizes = [tiles[number].shape[0] * tiles[number].shape[1] for number in numbers]
        parts: tuple[Tensor, ...] = torch.split(features, sizes)
        for number, part in zip(numbers, parts, strict=True):
            found[number] = part.view(*tiles[number].shape[:2], -1)
    return [found[number] for number in range(len(asked))]
