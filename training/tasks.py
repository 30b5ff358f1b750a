"""What the loop trains: sequence networks on the step features of clips, CNNs on single steps."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tristream.streams.placement import DtypeName, select_device, select_dtype
from tristream.streams.prefetch import prefetch
from tristream.training.loop import Measured
from tristream.training.networks import SequenceNetwork, StepNetwork
from tristream.training.sequences import Batch, Clip, SequenceReader, even_batches
from tristream.training.steps import Step, StepReader

BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Precision:
    """Where a network is trained, and in which precision its multiplications are: bfloat16 where it pays."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    @staticmethod
    def choose(device: str, dtype: DtypeName) -> "Precision":
        """The precision for a device, as embedding chooses it.

        Raises:
            UsageError: an unknown device or dtype.
        """
        chosen = select_device(device)
        return Precision(chosen, select_dtype(chosen, dtype))

    def autocast(self) -> AbstractContextManager[object]:
        """Multiplications in the dtype, the rest in float32."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.dtype == torch.bfloat16)


@dataclass
class SequenceTask:
    """A sequence network, the clips it learns from and those it is validated on."""

    network: SequenceNetwork
    reader: SequenceReader
    clips: Sequence[Clip]
    held_out: Sequence[Clip]
    batch_size: int
    precision: Precision

    def batches(self, generator: np.random.Generator) -> Generator[Batch, None, None]:
        """The clips of an epoch, in a random order."""
        yield from prefetch(self.reader.batches(self.clips, self.batch_size, generator), BATCHES_AHEAD)

    def loss(self, batch: Batch) -> tuple[Tensor, Measured]:
        """The loss of a batch."""
        with self.precision.autocast():
            logits = self.network(batch.steps.to(self.precision.device), batch.lengths)
        return self._measured(batch, logits)

    def validate(self) -> Measured | None:
        """Loss and hits on the clips held out, in float32, in which clips are embedded.

        Under autocast it would also take four times as long: without gradients the weights are cast anew at each step.
        """
        batches = self.reader.in_order(self.held_out, self.batch_size)
        return _sum(
            self._measured(batch, self.network(batch.steps.to(self.precision.device), batch.lengths))[1]
            for batch in batches
        )

    def _measured(self, batch: Batch, logits: Tensor) -> tuple[Tensor, Measured]:
        labels = batch.labels.to(self.precision.device)
        loss = self.network.loss(logits, batch.lengths, labels)
        with torch.no_grad():
            hits = int((self.network.classes(logits, batch.lengths) == labels).sum())
        return loss, Measured(float(loss.detach()) * len(labels), hits, len(labels))


@dataclass
class StepTask:
    """A CNN under a softmax, the steps it learns from and those it is validated on."""

    network: StepNetwork
    reader: StepReader
    draw: Callable[[np.random.Generator], list[Step]]  # the steps of an epoch
    held_out: Sequence[Step]
    batch_size: int
    precision: Precision

    def batches(self, generator: np.random.Generator) -> Generator[tuple[Tensor, Tensor], None, None]:
        """The steps of an epoch, in a random order."""
        steps = self.draw(generator)
        order = [steps[index] for index in generator.permutation(len(steps))]
        yield from self._read_ahead(order, generator)

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Measured]:
        """The loss of a batch."""
        steps, labels = (each.to(self.precision.device) for each in batch)
        with self.precision.autocast():
            logits = self.network(steps)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        hits = int((logits.argmax(dim=1) == labels).sum())
        return loss, Measured(float(loss.detach()) * len(labels), hits, len(labels))

    def validate(self) -> Measured | None:
        """Loss and hits on the steps held out."""
        with closing(self._read_ahead(self.held_out, None)) as batches:
            return _sum(self.loss(batch)[1] for batch in batches)

    def _read_ahead(
        self, steps: Sequence[Step], generator: np.random.Generator | None
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        yield from prefetch(self._read(steps, generator), BATCHES_AHEAD)

    def _read(self, steps: Sequence[Step], generator: np.random.Generator | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (B, …) inputs and (B,) labels; with a generator some are mirrored."""
        for part in even_batches(np.arange(len(steps)), self.batch_size):
            if len(part) > 1 or generator is None:  # batch norm cannot learn from one alone
                yield self.reader.batch([steps[index] for index in part], generator)


def _sum(parts: Iterator[Measured]) -> Measured | None:
    """All parts together; None of none."""
    loss, hits, count = 0.0, 0, 0
    for part in parts:
        loss, hits, count = loss + part.loss, hits + part.hits, count + part.count
    return Measured(loss, hits, count) if count else None
