"""A thin network taught to answer as a whole one does: pools of inputs with the teacher's features, and the task.

inputs (N, …) with features (N, F) in files of a pool -> batches -> loss between thin and whole
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tristream.fusion.folder import write_atomically
from tristream.streams.errors import ModelError
from tristream.training.loop import Measured

Inputs = NDArray[Any]
Floats = NDArray[np.floating]
# A feature that hardly ever is anything but zero counts as if it varied so much of what features do: divided by its own
# deviation, one rare value of it would be the whole loss.
LEAST_DEVIATION_SHARE = 0.25


@dataclass(frozen=True)
class Pool:
    """Inputs (N, …) and what the teacher says of them (N, F), in files that are mapped, not read."""

    inputs: tuple[Inputs, ...]
    features: tuple[Floats, ...]

    def __len__(self) -> int:
        return sum(map(len, self.features))

    def take(self, rows: NDArray[np.intp]) -> tuple[Inputs, Floats]:
        """Some rows of it."""
        part, within = np.divmod(rows, len(self.features[0]))
        pairs = [(self.inputs[p][w], self.features[p][w]) for p, w in zip(part, within, strict=True)]
        return np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs]).astype(np.float32)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation (F,) of the teacher's features."""
        features = torch.from_numpy(np.concatenate(self.features).astype(np.float32))
        deviation = features.std(dim=0)
        return features.mean(dim=0), deviation.clamp_min(LEAST_DEVIATION_SHARE * float(deviation.mean()))


def make_pool(folder: Path, parts: int, make: Callable[[int], tuple[Inputs, Floats]]) -> Pool:
    """The pool of so many parts, each made once: what a run that was stopped has made is there for the next.

    Args:
        make: a part's inputs and features, by its number; all parts are of one length.

    Raises:
        ModelError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = []
    for number in range(parts):
        files = folder / f"inputs-{number:03d}.npy", folder / f"features-{number:03d}.npy"
        if not files[1].is_file():  # which is written last
            for file, array in zip(files, make(number), strict=True):
                try:
                    write_atomically(file, _npy(array))
                except OSError as error:
                    raise ModelError(f"{file} cannot be written: {error.strerror or error}") from error
        pairs.append([np.load(file, mmap_mode="r", allow_pickle=False) for file in files])
    return Pool(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))


def _npy(array: NDArray[Any]) -> bytes:
    stream = BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


class Distillation:
    """A task for `loop.fit`: the network's features are to be the teacher's.

    The loss is the mean square of the difference in deviations of each feature, plus one minus the cosine of both
    about the teacher's mean: the first keeps every feature alive, the second is what a search compares. Nothing is
    augmented here: teacher and network see the same (Beyer et al. 2022, "A good teacher is patient and consistent").

    Args:
        prepare: inputs as they are kept (B, …) -> as the network takes them.
        batches: of an epoch.
        bfloat16: whether to compute in it, which is faster for all but the smallest networks.
    """

    def __init__(
        self,
        network: nn.Module,
        pool: Pool,
        prepare: Callable[[Tensor], Tensor],
        *,
        batch_size: int,
        batches: int,
        bfloat16: bool,
    ) -> None:
        self.network = network
        self._pool, self._prepare = pool, prepare
        self._batch_size, self._batches, self._bfloat16 = batch_size, batches, bfloat16
        self._mean, self._deviation = pool.statistics()

    def batches(self, generator: np.random.Generator) -> Generator[tuple[Tensor, Tensor], None, None]:
        """The batches of an epoch, no row twice."""
        rows = generator.choice(len(self._pool), self._batches * self._batch_size, replace=False)
        for batch in rows.reshape(self._batches, self._batch_size):
            inputs, features = self._pool.take(np.sort(batch))
            yield self._prepare(torch.from_numpy(inputs)), torch.from_numpy(features)

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Measured]:
        """The loss, and for how many of the batch the teacher's nearest features are those of the same input."""
        inputs, features = batch
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            found = self.network(inputs)
        ours, theirs = ((each - self._mean) / self._deviation for each in (found.float(), features))
        cosines = functional.normalize(ours) @ functional.normalize(theirs).mT
        loss = functional.mse_loss(ours, theirs) + 1 - cosines.diagonal().mean()
        hits = int((cosines.argmax(dim=1) == torch.arange(len(cosines))).sum())
        return loss, Measured(loss.item() * len(ours), hits, len(ours))

    def validate(self) -> None:
        """The rates are set from the start: there is nothing to decide."""


def cosine_rates(highest: float, epochs: int, warm: int = 1) -> list[float]:
    """Learning rates that rise over `warm` epochs and fall along a cosine (Loshchilov & Hutter 2017)."""
    falling = [highest * (1 + np.cos(np.pi * epoch / (epochs - warm))) / 2 for epoch in range(epochs - warm)]
    return [highest * (epoch + 1) / (warm + 1) for epoch in range(warm)] + [float(rate) for rate in falling]


def in_batches(cnn: Callable[[Tensor], Tensor], inputs: Iterable[Tensor]) -> Floats:
    """The features (N, F) float16 of batches of inputs."""
    with torch.inference_mode():
        return torch.cat([cnn(batch).half() for batch in inputs]).numpy()
