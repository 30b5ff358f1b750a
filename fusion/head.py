"""A recipe's own dense head, as training made it: embeddings (N, D) -> weight (K, D), bias (K,) -> classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_expit  # type: ignore[import-untyped]
from sklearn.utils.validation import check_array

from tristream.fusion.blocks import Dims, Floats, checked_dims, linear_shares, presence
from tristream.fusion.reading import Arrays, Reading, checked_arrays, checked_classes, width_of
from tristream.streams.errors import ModelError, UsageError

Activation = Literal["softmax", "sigmoid"]


@dataclass(frozen=True, eq=False)
class HeadClassifier(Reading):
    """A dense layer with a softmax, or with sigmoids, on embeddings as they are; it is not fitted here.

    Sigmoids are divided by their sum, which is what Keras's categorical cross entropy makes of them (Orozco et al.
    2021 train a sigmoid layer with it). Scores are the layer's outputs before either; of two classes, minus and
    plus half their difference.

    Raises:
        ModelError: a weight that is not (K, D), a bias that is not (K,), by the classes and dims; values that are
            not finite; another activation.
    """

    weight: Floats
    bias: Floats
    classes: Sequence[Any]
    dims: Dims
    activation: Activation = "softmax"

    def __post_init__(self) -> None:
        if self.activation not in get_args(Activation):
            raise ModelError(
                f"a head's activation is one of {', '.join(get_args(Activation))}; got {self.activation!r}"
            )
        count = len(checked_classes(self.classes))
        arrays = {"weight": np.asarray(self.weight), "bias": np.asarray(self.bias)}
        values = checked_arrays(arrays, {"weight": (count, width_of(self.dims)), "bias": (count,)})
        object.__setattr__(self, "weight", values["weight"])
        object.__setattr__(self, "bias", values["bias"])
        object.__setattr__(self, "classes_", checked_classes(self.classes))

    @property
    def dims_(self) -> dict[str, int]:
        """The streams and their lengths."""
        return checked_dims(self.dims, self.weight.shape[1])

    def contributions(self, X: ArrayLike) -> Floats:
        """Each stream's share (N, S, K) of each class's score; its sum over the streams is the score, bit for bit.

        The bias is shared equally by the streams that a row has (by all, if it has none).

        Raises:
            UsageError: embeddings that are not (N, D).
        """
        X, weight, bias = self._checked(X), self.weight, self.bias
        if len(bias) == 2:
            weight, bias = np.diff(weight, axis=0) / 2, np.diff(bias) / 2
        return linear_shares(X, presence(X, self.dims_), weight, bias, self.dims_)

    def logits(self, X: ArrayLike) -> Floats:
        """What the softmax is taken of (N, K): the layer's outputs, or the logarithms of their sigmoids."""
        outputs: Floats = self._checked(X) @ self.weight.T + self.bias
        return outputs if self.activation == "softmax" else log_expit(outputs)

    def to_arrays(self) -> dict[str, Any]:
        """weight (K, D), bias (K,) and sigmoid (), which is 1 for sigmoids."""
        return {"weight": self.weight, "bias": self.bias, "sigmoid": np.array(float(self.activation == "sigmoid"))}

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, dims: Dims, classes: Sequence[Any]) -> Self:
        """The head that gave these arrays, of these streams and classes.

        Raises:
            ModelError: arrays of another kind or shape, or that no head has.
        """
        count = len(checked_classes(classes))
        shapes = {"weight": (count, width_of(dims)), "bias": (count,), "sigmoid": ()}
        values = checked_arrays(arrays, shapes)
        activation: Activation = "sigmoid" if values["sigmoid"] else "softmax"
        return cls(values["weight"], values["bias"], list(classes), dims, activation)

    def _checked(self, X: ArrayLike) -> Floats:
        embeddings: NDArray[np.float64] = check_array(X, dtype=np.float64)
        if embeddings.shape[1] != self.weight.shape[1]:
            raise UsageError(f"the head needs embeddings (N, {self.weight.shape[1]}), got {embeddings.shape}")
        return embeddings
