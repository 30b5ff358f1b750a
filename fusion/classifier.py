"""What a model has to tell classes: the kinds of classifiers, and each as bytes of a safetensors file and back."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tristream.fusion.blocks import Dims, Floats
from tristream.fusion.head import HeadClassifier
from tristream.fusion.late_fusion import LateFusion
from tristream.fusion.softmax_fusion import SoftmaxFusion
from tristream.fusion.svm import FusionSVM
from tristream.streams.errors import ModelError, UsageError


class Classifier(Protocol):
    """Embeddings (N, D) in, classes out; every kind in `CLASSIFIERS` is one, once fitted."""

    @property
    def classes_(self) -> NDArray[Any]:
        """The classes (K,)."""

    @property
    def dims_(self) -> dict[str, int]:
        """Stream -> length, in the order the vectors are joined."""

    def contributions(self, X: ArrayLike) -> Floats:
        """Each stream's share (N, S, K) of each class's score."""

    def decision_function(self, X: ArrayLike) -> Floats:
        """The scores (N, K), or (N,) for two classes."""

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class (N,) of each."""

    def predict_proba(self, X: ArrayLike) -> Floats:
        """The probability (N, K) of each class."""

    def to_arrays(self) -> dict[str, Any]:
        """All but the dims and classes, which the manifest keeps."""


CLASSIFIERS: dict[str, type[FusionSVM] | type[SoftmaxFusion] | type[LateFusion] | type[HeadClassifier]] = {
    "svm": FusionSVM,
    "softmax": SoftmaxFusion,
    "late": LateFusion,
    "head": HeadClassifier,
}


def write_classifier(classifier: Classifier) -> tuple[str, bytes]:
    """The kind of a classifier, and its arrays as the bytes of a safetensors file.

    Raises:
        UsageError: a classifier of no kind in `CLASSIFIERS`.
    """
    for kind, home in CLASSIFIERS.items():
        if type(classifier) is home:
            arrays = {name: np.asarray(array, order="C") for name, array in classifier.to_arrays().items()}
            return kind, save(arrays)  # whose arrays must be contiguous
    raise UsageError(f"a model keeps a {', '.join(CLASSIFIERS)} classifier, got a {type(classifier).__name__}")


def read_classifier(kind: str, data: bytes, dims: Dims, classes: Sequence[Any]) -> Classifier:
    """The classifier that `write_classifier` made these bytes of; it predicts the same, bit for bit.

    Raises:
        ModelError: another kind, damaged bytes, or arrays that do not fit the dims and classes.
    """
    if kind not in CLASSIFIERS:
        raise ModelError(f"a model's classifier is one of {', '.join(CLASSIFIERS)}; this one says {kind!r}")
    try:
        arrays = load(data)
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a type of number that numpy has not
        raise ModelError(f"the model's {kind} classifier is damaged ({error}); copy the model folder again") from error
    return CLASSIFIERS[kind].from_arrays(arrays, dims=dims, classes=classes)
