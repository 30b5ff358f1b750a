"""The network of the autoencoder: (N, D + C) -> tanh (N, H) -> bottleneck (N, Z) -> tanh (N, H) -> (N, D).

It is run in numpy, so that a detector needs no torch to score; it is trained with torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Weights = dict[str, Floats]
# A better loss counts as one from here on: by less, epochs would go on for ever.
BETTER = 0.999


def shapes_of(width: int, context: int, hidden: int, bottleneck: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights, by name; context goes into both halves and is not rebuilt."""
    return {
        "encode.weight": (width + context, hidden),
        "encode.bias": (hidden,),
        "narrow.weight": (hidden, bottleneck),
        "narrow.bias": (bottleneck,),
        "widen.weight": (bottleneck + context, hidden),
        "widen.bias": (hidden,),
        "rebuild.weight": (hidden, width),
        "rebuild.bias": (width,),
    }


def start_weights(shapes: dict[str, tuple[int, ...]], chance: np.random.Generator) -> Weights:
    """Random weights, uniform as Glorot & Bengio 2010 have it for tanh; biases are 0."""
    weights = {}
    for name, shape in shapes.items():
        bound = np.sqrt(6 / sum(shape)) if len(shape) == 2 else 0.0
        weights[name] = chance.uniform(-bound, bound, shape)
    return weights


def rebuild(weights: Weights, X: Floats, context: Floats) -> Floats:
    """What the network makes of standardised `X` (N, D) and its context (N, C): (N, D)."""
    hidden = np.tanh(np.hstack([X, context]) @ weights["encode.weight"] + weights["encode.bias"])
    narrow = hidden @ weights["narrow.weight"] + weights["narrow.bias"]  # (N, Z)
    hidden = np.tanh(np.hstack([narrow, context]) @ weights["widen.weight"] + weights["widen.bias"])
    rebuilt: Floats = hidden @ weights["rebuild.weight"] + weights["rebuild.bias"]
    return rebuilt


@dataclass(frozen=True)
class Schedule:
    """How the network is trained: Adam; the best epoch on the held-out rows counts, and `patience` more are tried."""

    max_epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    noise: float  # deviation of the Gaussian noise on standardised inputs, which are to be rebuilt without it


@dataclass(frozen=True, eq=False)
class Rows:
    """Standardised rows (N, D), their context (N, C), and what each dimension's error counts (N, D) in the loss."""

    X: Floats
    context: Floats
    counts: Floats

    def __len__(self) -> int:
        return len(self.X)


def train(weights: Weights, learn: Rows, held_out: Rows, schedule: Schedule, seed: int) -> tuple[Weights, list[float]]:
    """The weights at their best on the held-out rows, and the loss on these after each epoch."""
    import torch

    tensors = {name: torch.tensor(value, dtype=torch.float32, requires_grad=True) for name, value in weights.items()}
    optimiser = torch.optim.Adam(list(tensors.values()), lr=schedule.learning_rate)
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.tensor(part, dtype=torch.float32) for part in (learn.X, learn.context, learn.counts)]
    best, losses = _arrays(tensors), [_loss(weights, held_out)]
    for _ in range(schedule.max_epochs):
        for rows in _batches(len(learn), schedule.batch_size, generator):
            X, context, counts = (part[rows] for part in parts)
            noise = schedule.noise * torch.randn(X.shape, generator=generator)
            error = (_rebuild(tensors, X + noise, context) - X).square()
            loss = (error * counts).sum(dim=1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        losses.append(_loss(now := _arrays(tensors), held_out))
        if losses[-1] < BETTER * min(losses[:-1]):
            best = now
        elif len(losses) - 1 - int(np.argmin(losses)) > schedule.patience:
            break
    return best, losses


def _batches(count: int, size: int, generator: Any) -> Iterator[Any]:
    import torch

    yield from torch.randperm(count, generator=generator).split(size)  # type: ignore[no-untyped-call]


def _rebuild(tensors: dict[str, Any], X: Any, context: Any) -> Any:
    """As `rebuild`, in torch."""
    import torch

    hidden = torch.tanh(torch.cat([X, context], 1) @ tensors["encode.weight"] + tensors["encode.bias"])
    narrow = hidden @ tensors["narrow.weight"] + tensors["narrow.bias"]
    hidden = torch.tanh(torch.cat([narrow, context], 1) @ tensors["widen.weight"] + tensors["widen.bias"])
    return hidden @ tensors["rebuild.weight"] + tensors["rebuild.bias"]


def _loss(weights: Weights, rows: Rows) -> float:
    error = (rebuild(weights, rows.X, rows.context) - rows.X) ** 2
    return float((error * rows.counts).sum(axis=1).mean())


def _arrays(tensors: dict[str, Any]) -> Weights:
    return {name: tensor.detach().numpy().astype(np.float64) for name, tensor in tensors.items()}
