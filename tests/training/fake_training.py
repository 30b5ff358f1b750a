"""A training that takes a moment, for tests of the loop; imported by the processes of the tests too."""

import json
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tristream.training.checkpoint import Checkpoint
from tristream.training.history import StageHistory
from tristream.training.loop import Measured, fit
from tristream.training.recipes import FitConfig, OptimiserConfig

Points = tuple[Tensor, Tensor]

OPTIMISERS = {
    "sgd": OptimiserConfig("sgd", 1e-2),
    "adam": OptimiserConfig("adam", 3e-3),
    "rmsprop": OptimiserConfig("rmsprop", 1e-3),
    "adam with decay": OptimiserConfig("adam", 3e-3, decay=0.05),
}


def network_of(seed: int = 0) -> nn.Sequential:
    """A small network with all that a training has to keep: batch norm, dropout, weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))


def points_of(count: int, seed: int, noise: float = 0.1) -> Points:
    """Points (N, 2) on two sides of a line, and their sides; some are told wrongly."""
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(count, 2)).astype(np.float32)
    sides = (points @ [1.0, -0.5] > 0) ^ (generator.random(count) < noise)
    return torch.from_numpy(points), torch.from_numpy(sides.astype(np.int64))


@dataclass
class PointTask:
    """Learns on which side of a line points lie."""

    network: nn.Module = field(default_factory=network_of)
    learn: Points = field(default_factory=lambda: points_of(48, 1))
    held_out: Points | None = field(default_factory=lambda: points_of(40, 2))
    validated: list[float] = field(default_factory=list)

    def batches(self, generator: np.random.Generator) -> Generator[Points, None, None]:
        """The points in a random order, 16 at a time."""
        points, sides = self.learn
        for chosen in torch.from_numpy(generator.permutation(len(sides))).split(16):
            yield points[chosen], sides[chosen]

    def loss(self, batch: Points) -> tuple[Tensor, Measured]:
        """The cross entropy."""
        points, sides = batch
        logits = self.network(points)
        loss = nn.functional.cross_entropy(logits, sides)
        hits = int((logits.argmax(dim=1) == sides).sum())
        return loss, Measured(float(loss.detach()) * len(sides), hits, len(sides))

    def validate(self) -> Measured | None:
        """Loss and hits on the points held out."""
        if self.held_out is None:
            return None
        measured = self.loss(self.held_out)[1]
        self.validated.append(measured.loss / measured.count)
        return measured


def train(
    task: PointTask, optimiser: str, path: Path, *, epochs: int = 12, due_seconds: float = 0.0, seed: int = 3
) -> StageHistory:
    """Train with a checkpoint after every epoch."""
    config = FitConfig(OPTIMISERS[optimiser], epochs=epochs, reduce_after=2, stop_after=None)
    if optimiser == "adam with decay":
        config = replace(config, reduce_after=None)
    return fit(
        task, config, stage="points", seed=seed, checkpoint=Checkpoint(path, {"of": optimiser}, due_seconds=due_seconds)
    )


def train_in_a_process(folder: str, optimiser: str) -> None:
    """Train to the end, then write down how it went."""
    torch.set_num_threads(1)
    task = PointTask()
    history = train(task, optimiser, Path(folder) / "points.checkpoint", epochs=30)
    weights = {name: tensor.tolist() for name, tensor in task.network.state_dict().items()}
    told = {"history": history.to_json(), "weights": weights}
    (Path(folder) / "told.json").write_text(json.dumps(told))
