"""A long training in stages, each of which leaves a file that a later run goes on from."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from tristream.fusion.folder import write_atomically
from tristream.streams.errors import ModelError
from tristream.training.checkpoint import Checkpoint
from tristream.training.distilling import cosine_rates
from tristream.training.loop import Progress, Task, fit
from tristream.training.recipes import FitConfig, OptimiserConfig


class Stages:
    """The files that the stages leave in a folder.

    Args:
        facts: all that what is made depends on; it is kept in the folder.

    Raises:
        ModelError: the folder is none, or was begun with other facts.
    """

    def __init__(self, work: Path, seed: int, facts: Mapping[str, object]) -> None:
        self.work, self._seed = work, seed
        if work.exists() and not work.is_dir():
            raise ModelError(f"{work} is no folder: name one for what the stages leave")
        work.mkdir(parents=True, exist_ok=True)
        path = work / "facts.json"
        try:
            before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else facts
        except ValueError as error:
            raise ModelError(f"{path} is damaged ({error}): use another folder") from error
        if other := sorted(name for name in facts.keys() | before.keys() if facts.get(name) != before.get(name)):
            raise ModelError(f"{work} was begun with other {', '.join(other)}: use another folder")
        write_atomically(path, (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode())

    def kept(self, name: str, make: Callable[[], Mapping[str, Tensor]]) -> Path:
        """The file of these tensors, which are made where it is not there."""
        path = self.work / f"{name}.safetensors"
        if not path.is_file():
            tell(f"{name} ...")
            tensors = {key: tensor.contiguous() for key, tensor in make().items()}
            write_atomically(path, save(tensors))
        return path

    def fit(self, task: Task, name: str, rate: float, epochs: int) -> None:
        """Fit a network by Adam, its rate falling along a cosine, from the last epoch that is done."""
        began = time.monotonic()

        def report(progress: Progress) -> None:
            last = progress.epochs[-1]
            seconds = time.monotonic() - began
            tell(f"  {name} {len(progress.epochs)}/{epochs}: loss {last.train_loss:.4f}, {seconds:.0f} s")

        checkpoint = Checkpoint(self.work / f"{name}-checkpoint.safetensors")
        config = FitConfig(OptimiserConfig("adam", rate), epochs=epochs)
        rates = cosine_rates(rate, epochs)
        fit(task, config, stage=name, seed=self._seed, checkpoint=checkpoint, rates=rates, on_epoch=report)


def tell(text: str) -> None:
    """Say how far it is."""
    print(text, file=sys.stderr, flush=True)
