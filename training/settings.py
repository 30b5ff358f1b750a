"""What a user may choose of a training beside the recipe and the model's architecture; needs no torch."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tristream.streams.errors import UsageError
from tristream.training.cache import DEFAULT_CACHE
from tristream.training.recipes import ClassifierKind, FitConfig, Recipe

DEFAULT_CACHE_GIGABYTES = 50.0


@dataclass(frozen=True)
class TrainSettings:
    """Choices of a training; None keeps what the recipe says.

    Raises:
        UsageError: a number that cannot be.
    """

    seed: int = 0
    validation_share: float = 0.2
    window_seconds: float = 36.0
    epochs: int | None = None  # at most, of the recurrent encoders
    batch_size: int | None = None
    learning_rate: float | None = None
    cnn_epochs: int | None = None  # at most, of CNNs that are trained
    fine_tune: int = 0  # how many of the backbone's last blocks are trained, too
    classifier: Literal["svm", "softmax", "late"] | None = None  # the fusion, in place of the recipe's
    jobs: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    timeout_seconds: float | None = 3600.0
    cache: Path | None = DEFAULT_CACHE  # None: features are kept beside the model until it is done
    cache_gigabytes: float | None = DEFAULT_CACHE_GIGABYTES

    def __post_init__(self) -> None:
        counts = {
            "--epochs": self.epochs,
            "--batch-size": self.batch_size,
            "--cnn-epochs": self.cnn_epochs,
            "--jobs": self.jobs,
        }
        for name, count in counts.items():
            if count is not None and count < 1:
                raise UsageError(f"{name} must be at least 1, got {count}")
        if self.fine_tune < 0:
            raise UsageError(f"--fine-tune must be 0 or more blocks, got {self.fine_tune}")
        if not 0 <= self.seed < 2**32:  # what scikit-learn takes
            raise UsageError(f"--seed must be from 0 to {2**32 - 1}, got {self.seed}")
        numbers = {
            "--learning-rate": self.learning_rate,
            "--cache-size": self.cache_gigabytes,
            "--timeout": self.timeout_seconds,
        }
        for name, number in numbers.items():
            if number is not None and not 0 < number < float("inf"):
                raise UsageError(f"{name} must be a positive number, got {number}")

    def of_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with these choices.

        Raises:
            UsageError: a fusion for a recipe that has a head of its own.
        """
        sequence = replace(recipe.sequence, fit=self._fit(recipe.sequence.fit))
        cnn = {
            stream: replace(each, fit=replace(each.fit, epochs=self.cnn_epochs or each.fit.epochs))
            for stream, each in recipe.cnn.items()
        }
        kind: ClassifierKind = recipe.classifier
        if self.classifier is not None:
            if recipe.classifier not in ("svm", "softmax", "late"):
                raise UsageError(
                    f"--classifier chooses how streams are fused; {recipe.name} has one stream and a head of its own"
                )
            kind = self.classifier
        return replace(recipe, sequence=sequence, cnn=cnn, classifier=kind)

    def _fit(self, fit: FitConfig) -> FitConfig:
        rate = self.learning_rate or fit.optimiser.learning_rate
        return replace(
            fit,
            epochs=self.epochs or fit.epochs,
            batch_size=self.batch_size or fit.batch_size,
            optimiser=replace(fit.optimiser, learning_rate=rate),
        )
