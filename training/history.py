"""What a training went through, epoch by epoch and stage by stage; needs no torch."""

from dataclasses import dataclass
from typing import Any

from tristream.streams.config import to_json


@dataclass(frozen=True)
class Epoch:
    """One pass over the training part. A loss is the mean over its clips, an accuracy a share from 0 to 1."""

    train_loss: float
    learning_rate: float
    validation_loss: float | None = None  # None where there is no validation part
    train_accuracy: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class StageHistory:
    """The epochs of one stage of a training, as of one stream's recurrent encoder."""

    stage: str
    epochs: tuple[Epoch, ...]
    best: int | None = None  # index of the epoch whose weights were kept

    def to_json(self) -> dict[str, Any]:
        """As plain JSON data."""
        return to_json(self)
