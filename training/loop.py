"""The loop that trains a network: epochs, validation, the best weights kept, checkpoints it goes on from.

Each epoch is seeded by its number, so a run that was killed and goes on from its checkpoint takes the same path.
"""

import hashlib
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from tristream.streams.errors import ModelError
from tristream.training.checkpoint import Checkpoint
from tristream.training.history import Epoch, StageHistory
from tristream.training.optimisers import Plateau, make_decay, make_optimiser
from tristream.training.recipes import FitConfig


@dataclass(frozen=True)
class Measured:
    """The sum of the loss over some examples, and how many of them were classified rightly."""

    loss: float
    hits: int
    count: int


class Task(Protocol):
    """What the loop trains: a network, its batches, its loss."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""

    def batches(self, generator: np.random.Generator) -> Generator[Any, None, None]:
        """The batches of an epoch; closed where it is broken off."""

    def loss(self, batch: Any) -> tuple[Tensor, Measured]:
        """The loss to be lowered, and what is told of it."""

    def validate(self) -> Measured | None:
        """How the network does on the validation part; None where there is none."""


@dataclass(frozen=True)
class Progress:
    """How far a stage is, for the person who waits."""

    stage: str
    epochs: tuple[Epoch, ...]
    most_epochs: int
    seconds_per_epoch: float


def fit(
    task: Task,
    config: FitConfig,
    *,
    stage: str,
    seed: int,
    checkpoint: Checkpoint,
    rates: Sequence[float] | None = None,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> StageHistory:
    """Train the task's network in place; it ends with the weights of the best epoch.

    Args:
        stage: the name under which it is told of; with the seed it decides the random draws.
        checkpoint: where it goes on from, and is kept.
        rates: the learning rates of so many epochs that are to be run again as they were, on other clips and
            without validation; None where validation is to decide.

    Raises:
        ModelError: the loss is not finite any more, there is nothing to learn from, or a damaged checkpoint or one
            that cannot be written.
    """
    run = _Run(task, config, stage, seed, rates)
    run.restore(checkpoint)
    began = time.monotonic()
    first = len(run.epochs)
    while not run.ended:
        run.epoch()
        checkpoint.save_if_due(run.tensors, run.state, last=run.ended)
        seconds = (time.monotonic() - began) / (len(run.epochs) - first)
        on_epoch(Progress(stage, tuple(run.epochs), run.most_epochs, seconds))
    return run.finish()


class _Run:
    """One training, from its first epoch or from a checkpoint to its last."""

    def __init__(self, task: Task, config: FitConfig, stage: str, seed: int, rates: Sequence[float] | None) -> None:
        self.most_epochs = config.epochs if rates is None else len(rates)
        self.epochs: list[Epoch] = []
        self._task = task
        self._stage = stage
        self._seed = seed
        self._rates = rates
        self._optimiser = make_optimiser(task.network, config.optimiser)
        self._decay: LambdaLR | None = make_decay(self._optimiser, config.optimiser)
        self._plateau = Plateau(config)
        self._best: dict[str, Tensor] = {}

    @property
    def ended(self) -> bool:
        """Whether no epoch is left."""
        return len(self.epochs) >= self.most_epochs or self._plateau.ended

    @property
    def _best_epoch(self) -> int:
        best: int = self._plateau.state["best_epoch"]
        return best

    def epoch(self) -> None:
        """One pass over the training clips, and one over those for validation."""
        number = len(self.epochs)
        draws = seed_of(self._seed, self._stage, number)
        torch.manual_seed(draws)
        if self._rates is not None:
            for group in self._optimiser.param_groups:
                group["lr"] = self._rates[number]
        rate = self._optimiser.param_groups[0]["lr"]
        trained = self._train(np.random.default_rng(draws))
        self._task.network.eval()
        with torch.inference_mode():
            validated = self._task.validate() if self._rates is None else None
        record = _record(trained, validated, rate)
        self.epochs.append(record)
        for loss in (record.train_loss, record.validation_loss):
            if loss is not None and not np.isfinite(loss):
                raise ModelError(f"{self._stage}: the loss became {loss} in epoch {number}: {_LOWER}")
        judged = record.validation_loss if record.validation_loss is not None else -float(number)
        if self._plateau.step(judged, number, self._optimiser):
            self._best = {name: tensor.detach().clone() for name, tensor in self._task.network.state_dict().items()}

    def _train(self, generator: np.random.Generator) -> Measured:
        self._task.network.train()
        loss_sum, hits, count = 0.0, 0, 0
        with closing(self._task.batches(generator)) as batches:
            for batch in batches:
                loss, measured = self._task.loss(batch)
                self._optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                self._optimiser.step()
                if self._decay is not None and self._rates is None:
                    self._decay.step()
                loss_sum, hits, count = loss_sum + measured.loss, hits + measured.hits, count + measured.count
        if not count:
            raise ModelError(f"{self._stage}: there is nothing to learn from, as one step alone makes no batch")
        return Measured(loss_sum, hits, count)

    def finish(self) -> StageHistory:
        """Take the best weights; what the stage went through."""
        self._task.network.load_state_dict(self._best)
        self._task.network.eval()
        return StageHistory(self._stage, tuple(self.epochs), self._best_epoch)

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint holds of weights."""
        tensors = {f"network.{name}": tensor for name, tensor in self._task.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        for index, state in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in state.items() if value is not None}
        return tensors

    def state(self) -> dict[str, Any]:
        """All that a checkpoint holds besides."""
        return {
            "stage": self._stage,
            "seed": self._seed,
            "epochs": StageHistory(self._stage, tuple(self.epochs)).to_json()["epochs"],
            "plateau": self._plateau.state,
            "rates": [group["lr"] for group in self._optimiser.param_groups],
            "updates": self._decay.last_epoch if self._decay else 0,
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint, where there is one."""
        kept = checkpoint.load()
        if kept is None:
            return
        tensors, state = kept
        self._task.network.load_state_dict(_below(tensors, "network."))
        self._best = _below(tensors, "best.")
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self._plateau.state = state["plateau"]
        of_optimiser = self._optimiser.state_dict()
        of_optimiser["state"] = _by_index(_below(tensors, "optimiser."))
        self._optimiser.load_state_dict(of_optimiser)
        if self._decay is not None:
            self._decay.last_epoch = state["updates"]
        for group, rate in zip(self._optimiser.param_groups, state["rates"], strict=True):
            group["lr"] = rate


_LOWER = "a lower --learning-rate may help"


def seed_of(*facts: object) -> int:
    """A seed that follows from the facts, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(facts).encode()).digest()[:7], "big")


def _record(trained: Measured, validated: Measured | None, rate: float) -> Epoch:
    return Epoch(
        train_loss=trained.loss / trained.count,
        learning_rate=rate,
        validation_loss=validated.loss / validated.count if validated else None,
        train_accuracy=trained.hits / trained.count,
        validation_accuracy=validated.hits / validated.count if validated else None,
    )


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _by_index(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """An optimiser's state, as PyTorch has it: by the parameter's number, then by name."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, piece = name.partition(".")
        state.setdefault(int(index), {})[piece] = tensor
    return state
