"""A training and its evaluation with the time they take, and figures kept as they come; for the other benchmarks."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tristream.training.process import prepare_to_train

prepare_to_train()  # as the commands do

from clips import SHARED

from tristream.fusion.folder import write_atomically
from tristream.fusion.overrides import Overrides
from tristream.fusion.source import find_model
from tristream.tools.training_report import TerminalReport
from tristream.training.bootstrap import Interval
from tristream.training.datasets import Example
from tristream.training.evaluate import Evaluation, Evaluator
from tristream.training.loop import Progress
from tristream.training.settings import TrainSettings
from tristream.training.setup import set_up
from tristream.training.train import Trained, parts_to_train

WEIGHTS = SHARED / "weights"


class Clock(TerminalReport):
    """Takes, beside telling what a training does, the time of what a filled cache would have spared it."""

    def __init__(self) -> None:
        super().__init__(None)
        self.cached_seconds = 0.0  # features, and CNNs trained on single steps

    @contextmanager
    def files(self, what: str, total: int) -> Iterator[Callable[[int, int], None]]:
        """While features are computed."""
        began = time.perf_counter()
        with super().files(what, total) as on_file:
            yield on_file
        self.cached_seconds += time.perf_counter() - began

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[Progress], None]]:
        """While a network is trained."""
        began = time.perf_counter()
        with super().stage(name) as on_epoch:
            yield on_epoch
        if name.endswith("CNN"):
            self.cached_seconds += time.perf_counter() - began


@dataclass(frozen=True)
class Run:
    """One training and its evaluation."""

    parts: tuple[str, ...]  # of the model that were trained
    trained: Trained
    evaluation: Evaluation
    train_seconds: float
    cached_seconds: float  # of them, what a filled cache would have spared


def train_and_evaluate(
    train: Sequence[Example],
    test: Sequence[Example],
    recipe: str,
    overrides: Overrides,
    settings: TrainSettings,
    folder: Path,
    *,
    ablation: bool = False,
) -> Run:
    """Train a recipe into a folder that is not there yet, and measure it on the test files."""
    clock = Clock()
    began = time.perf_counter()
    trainer = set_up(train, recipe, overrides, settings, folder, report=clock)
    parts = parts_to_train(trainer.source, trainer.recipe)
    trained = trainer.run()
    train_seconds, cached_seconds = time.perf_counter() - began, clock.cached_seconds
    evaluator = Evaluator(find_model(folder), settings, trainer.cache, clock)
    evaluation = evaluator.evaluate(test, train if ablation else None)
    return Run(parts, trained, evaluation, train_seconds, cached_seconds)


def spatial_overrides(backbone: str, weights: Path, **others: Any) -> Overrides:
    """The backbone that weights are at hand of, which were converted from TensorFlow."""
    return Overrides(backbone=backbone, same_padding=True, spatial_weights=weights, **others)


def shown(interval: Interval) -> str:
    """An accuracy with its interval."""
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


class Kept:
    """Figures that are done already, by name, in a JSON file; without a file nothing is kept.

    `asked` is what they depend on; a file of figures that something else was asked for ends the run.
    """

    def __init__(self, path: Path | None, asked: dict[str, Any]) -> None:
        self._path = path
        self._asked = {name: str(value) for name, value in asked.items()}
        self.done: dict[str, Any] = {}
        if path is not None and path.is_file():
            data = json.loads(path.read_text())
            if data["asked"] != self._asked:
                sys.exit(f"{path} holds figures of other options, {data['asked']}: give those, or another --out")
            self.done = data["done"]

    def add(self, name: str, figures: dict[str, Any]) -> None:
        """Keep what has become known."""
        self.done[name] = figures
        if self._path is not None:
            data = {"asked": self._asked, "done": self.done}
            write_atomically(self._path, (json.dumps(data, indent=1) + "\n").encode())


def in_a_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What a function returns that runs in a new process, whose memory and threads end with it."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
