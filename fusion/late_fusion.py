"""An alternative to the SVM: a classifier of each stream's vector (N, D_s), their probabilities (N, K) averaged."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax  # type: ignore[import-untyped]

from tristream.fusion.blocks import Dims, Floats, Standardiser, checked_dims, opposed, presence, sharing
from tristream.fusion.calibration import Labels, cross_validated_temperature
from tristream.fusion.embedding import slices_of
from tristream.fusion.linear import LinearFusion
from tristream.fusion.reading import Arrays, checked_arrays, checked_classes, width_of
from tristream.fusion.softmax_fusion import SoftmaxFusion

LEAST_PROBABILITY = 1e-12  # of which a logarithm is taken


class LateFusion(LinearFusion):
    """The mean over the streams that a clip has of the class probabilities that each gives.

    Softmax scores are averaged as in the two-stream network (Simonyan & Zisserman 2014, 5), and not their
    logarithms: the sum of experts bears their errors better than the product (Kittler et al. 1998). Each stream's
    classifier is a `SoftmaxFusion`, fitted on the clips that have the stream. That a clip has it is no knowledge:
    the classes' shares among those clips give way to their shares among all (Saerens et al. 2002), so that a class
    which never has the stream keeps its share, whatever the stream's vector.

    The score of a class is its mean probability less 1/K. A mean of probabilities is less sure than it may be
    (Gneiting & Ranjan 2013): the temperature, of its logarithm, is fitted and comes out under 1. Arguments are
    those of `FusionSVM`.

    Attributes:
        classes_, dims_: as of `FusionSVM`.
        prior_: (K,) the classes' shares among all clips: what is said of a clip without streams.
        known_: (S, K) the classes that a stream's classifier tells apart.
        coef_, intercept_: (K, D) of the standardised dimensions and (S, K): each stream's logits.
    """

    prior_: Floats
    known_: NDArray[np.bool_]

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit to embeddings (N, D) and their classes (N,); `groups` (N,) says which clips belong together.

        Raises:
            UsageError: one class only, dims that do not add up to D, a parameter out of range.
            ValueError: scikit-learn's, of arrays that are not such, or hold NaN.
        """
        embeddings, labels = self._begin(X, y)
        classes, streams = len(self.classes_), len(self.dims_)
        self.temperature_ = cross_validated_temperature(self, embeddings, labels, groups)
        self.prior_ = np.bincount(labels) / len(labels)
        self.known_ = np.zeros((streams, classes), dtype=bool)
        self.coef_, self.intercept_ = np.zeros((classes, embeddings.shape[1])), np.zeros((streams, classes))
        self.standardiser_ = Standardiser.fit(embeddings, self.dims_)
        having = presence(embeddings, self.dims_)
        for stream, block in enumerate(slices_of(self.dims_).values()):
            rows = having[:, stream]
            if len(np.unique(labels[rows])) > 1:
                self._fit_stream(stream, block, embeddings[rows, block], labels[rows])
        return self

    def _fit_stream(self, stream: int, block: slice, X: Floats, labels: Labels) -> None:
        """Fit the classifier of one stream to the vectors (n, D_s) of the clips that have it."""
        expert = SoftmaxFusion(alpha=self.alpha, calibration_folds=0).fit(X, labels)
        known, coef, intercept = expert.classes_, expert.coef_, expert.intercept_
        if len(known) == 2:
            coef, intercept = np.concatenate([-coef, coef]), np.concatenate([-intercept, intercept])
        shares = np.bincount(labels, minlength=len(self.classes_))[known] / len(labels)
        self.known_[stream, known] = True
        self.coef_[known, block] = coef
        self.intercept_[stream, known] = intercept + np.log(self.prior_[known] / shares)

    def contributions(self, X: ArrayLike) -> Floats:
        """Each stream's share (N, S, K) of each class's score; its sum over the streams is the score, bit for bit.

        The share is (p - 1/K) / n, of a stream's probability p and the n streams that a row has: nothing from a
        stream that cannot tell, or is absent. A row without streams has the prior's score, shared by all.
        """
        embeddings = self._checked(X)
        standardised, present = self.standardiser_.apply(embeddings), presence(embeddings, self.dims_)
        said = np.tile(self.prior_, (*present.shape, 1))  # (N, S, K)
        for stream, block in enumerate(slices_of(self.dims_).values()):
            known, rows = self.known_[stream], present[:, stream]
            if known.any() and rows.any():
                logits = standardised[rows, block] @ self.coef_[known, block].T + self.intercept_[stream, known]
                told = said[:, stream]  # (N, K), of the same memory
                told[np.ix_(rows, known)] = softmax(logits, axis=1) * self.prior_[known].sum()
        shares: Floats = (said - 1 / len(self.classes_)) * sharing(present)[:, :, None]
        return opposed(shares[:, :, 1:]) if len(self.classes_) == 2 else shares

    def logits(self, X: ArrayLike) -> Floats:
        """The logarithm (N, K) of the mean probability of each class."""
        logs: Floats = np.log(np.maximum(super().logits(X) + 1 / len(self.classes_), LEAST_PROBABILITY))
        return logs

    def to_arrays(self) -> dict[str, Any]:
        """What `LinearFusion` gives, but coef (K, D) and intercept (S, K); and prior (K,), known (S, K)."""
        return super().to_arrays() | {"prior": self.prior_, "known": self.known_}

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, dims: Dims, classes: Sequence[Any]) -> Self:
        """The classifier that gave these arrays, of these streams and classes.

        Raises:
            ModelError: arrays of another kind or shape, or that no classifier has.
        """
        names, width = checked_classes(classes), width_of(dims)
        by_stream = (len(dims), len(names))
        shapes = {"mean": (width,), "scale": (width,), "coef": (len(names), width), "intercept": by_stream}
        values = checked_arrays(arrays, shapes | {"temperature": (), "prior": (len(names),), "known": by_stream})
        fusion = cls(dims=dict(dims))
        fusion._restore(values, names, checked_dims(dims, width))
        fusion.prior_, fusion.known_ = values["prior"], values["known"] != 0
        return fusion
