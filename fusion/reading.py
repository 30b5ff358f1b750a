"""What every classifier says of an embedding (N, D), told by its streams' contributions (N, S, K)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax  # type: ignore[import-untyped]

from tristream.fusion.blocks import Dims, Floats, checked_dims
from tristream.streams.errors import ModelError, UsageError

Arrays = Mapping[str, NDArray[Any]]


class Reading:
    """Scores, classes and probabilities of anything with `contributions` and `classes_`."""

    classes_: NDArray[Any]  # (K,)
    temperature_: float = 1.0

    def contributions(self, X: ArrayLike) -> Floats:
        """Each stream's share (N, S, K) of each class's score, which add up exactly to the score."""
        raise NotImplementedError

    def decision_function(self, X: ArrayLike) -> Floats:
        """The scores of the embeddings (N, D), as scikit-learn shapes them: (N, K), or (N,) for two classes.

        They are `contributions(X).sum(axis=1)`; of two classes, the second's.
        """
        scores = self._scores(X)
        return scores[:, 1] if len(self.classes_) == 2 else scores

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class (N,) of each embedding (N, D): the one with the highest score."""
        best = self._scores(X).argmax(axis=1)
        classes: NDArray[Any] = self.classes_[best]
        return classes

    def predict_proba(self, X: ArrayLike) -> Floats:
        """The probability (N, K) of each class: the softmax of its score, divided by the temperature."""
        probabilities: Floats = softmax(self.logits(X) / self.temperature_, axis=1)
        return probabilities

    def logits(self, X: ArrayLike) -> Floats:
        """What the temperature divides (N, K): the scores; of two classes, -f and +f."""
        return self._scores(X)

    def _scores(self, X: ArrayLike) -> Floats:
        scores: Floats = self.contributions(X).sum(axis=1)  # (N, S, K) -> (N, K)
        return scores


def checked_classes(classes: Sequence[Any]) -> NDArray[Any]:
    """The classes (K,) of a classifier that is read.

    Raises:
        ModelError: fewer than two, or one twice.
    """
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise ModelError(f"a classifier has two classes or more, each once; the model names {list(classes)}")
    return np.asarray(classes)


def checked_arrays(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Floats]:
    """The arrays of a classifier that is read, as float64.

    Raises:
        ModelError: another array or shape than `shapes` has, or a value that is not a finite number.
    """
    if arrays.keys() != shapes.keys():
        raise ModelError(f"a classifier of this kind has the arrays {sorted(shapes)}, got {sorted(arrays)}")
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != shape:
            raise ModelError(
                f"array {name!r} of the classifier must be {shape} by its dims and classes, got {array.shape}"
            )
        if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            raise ModelError(
                f"array {name!r} of the classifier must hold finite numbers, got {array.dtype} with others"
            )
        if name in ("scale", "temperature") and not (array > 0).all():
            raise ModelError(f"array {name!r} of the classifier must be positive, got {array.min()}")
    return {name: np.asarray(arrays[name], np.float64) for name in shapes}


def width_of(dims: Dims) -> int:
    """D, of the dims of a model that is read.

    Raises:
        ModelError: no streams, or one of no length.
    """
    width = sum(dims.values())
    try:
        checked_dims(dims, width)
    except UsageError as error:
        raise ModelError(f"the streams of the classifier cannot be: {error}") from error
    return width
