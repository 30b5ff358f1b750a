"""What the fusions share: embeddings (N, D) standardised by blocks, one weight a dimension and class."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from tristream.fusion.blocks import Dims, Floats, Standardiser, checked_dims, linear_shares, presence
from tristream.fusion.calibration import Labels, cross_validated_temperature, fit_temperature
from tristream.fusion.reading import Arrays, Reading, checked_arrays, checked_classes, width_of
from tristream.streams.errors import UsageError

# Weights of standardised dimensions, against margins of 1: less than this is a solver's rounding. It would decide
# alone where a stream knows nothing and the true weights are 0.
ROUNDING = 1e-10


class LinearFusion(ClassifierMixin, Reading, BaseEstimator):  # type: ignore[misc]
    """A classifier by one weight a standardised dimension and class; which weights is `_solve`'s, each fusion's own."""

    weights_: Floats

    def __init__(
        self, *, dims: Dims | None = None, alpha: float = 1e-2, calibration_folds: int = 5, random_state: Any = 0
    ) -> None:
        self.dims = dims
        self.alpha = alpha
        self.calibration_folds = calibration_folds
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit to embeddings (N, D) and their classes (N,).

        `groups` (N,) says which clips belong together; only the temperature's folds ask.

        Raises:
            UsageError: one class only, dims that do not add up to D, a parameter out of range.
            ValueError: scikit-learn's, of arrays that are not such, or hold NaN.
        """
        embeddings, labels = self._begin(X, y)
        self.temperature_ = cross_validated_temperature(self, embeddings, labels, groups)
        self.standardiser_ = Standardiser.fit(embeddings, self.dims_)
        coef, intercept = self._solve(self.standardiser_.apply(embeddings), labels)
        self.coef_ = np.where(np.abs(coef) < ROUNDING, 0.0, coef)
        self.intercept_ = np.where(np.abs(intercept) < ROUNDING, 0.0, intercept)
        return self

    def contributions(self, X: ArrayLike) -> Floats:
        """Each stream's share (N, S, K) of each class's score; its sum over the streams is the score, bit for bit.

        Of two classes the scores are -f and +f. The intercept is shared equally by the streams that a row has
        (by all, if it has none): the contribution of an absent stream is exactly 0.
        """
        embeddings = self._checked(X)
        standardised, present = self.standardiser_.apply(embeddings), presence(embeddings, self.dims_)
        return linear_shares(standardised, present, self.coef_, self.intercept_, self.dims_)

    def calibrate(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the temperature anew on embeddings (N, D) and classes (N,) that were not fitted on; no class changes.

        Raises:
            UsageError: not one class for each, or a class that is not the classifier's.
        """
        logits, truth = self.logits(X), np.asarray(y)
        if truth.shape != logits.shape[:1]:
            raise UsageError(f"calibrate needs a class for each of {len(logits)} clips, got y of {truth.shape}")
        labels = {name: label for label, name in enumerate(self.classes_.tolist())}
        if strange := [name for name in truth.tolist() if name not in labels]:
            raise UsageError(f"calibrate got the class {strange[0]!r}, which is none of those fitted on")
        self.temperature_ = fit_temperature(logits, np.array([labels[name] for name in truth.tolist()]))
        return self

    def to_arrays(self) -> dict[str, Any]:
        """What was fitted, but the classes: mean, scale (D,), coef (K | 1, D), intercept (K | 1,), temperature ()."""
        check_is_fitted(self)
        return {
            "mean": self.standardiser_.mean,
            "scale": self.standardiser_.scale,
            "coef": self.coef_,
            "intercept": self.intercept_,
            "temperature": np.array(self.temperature_),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, dims: Dims, classes: Sequence[Any]) -> Self:
        """The classifier that gave these arrays, of these streams and classes.

        Raises:
            ModelError: arrays of another kind or shape, or that no classifier has.
        """
        names, width = checked_classes(classes), width_of(dims)
        rows = 1 if len(names) == 2 else len(names)
        shapes = {"mean": (width,), "scale": (width,), "coef": (rows, width), "intercept": (rows,), "temperature": ()}
        fusion = cls(dims=dict(dims))
        fusion._restore(checked_arrays(arrays, shapes), names, checked_dims(dims, width))
        return fusion

    def _restore(self, values: Mapping[str, Floats], classes: NDArray[Any], dims: dict[str, int]) -> None:
        """Set what `fit` sets, of checked arrays."""
        self.classes_, self.dims_, self.n_features_in_ = classes, dims, len(values["mean"])
        self.standardiser_ = Standardiser(values["mean"], values["scale"], dims)
        self.coef_, self.intercept_ = values["coef"], values["intercept"]
        self.temperature_ = float(values["temperature"])

    def _solve(self, X: Floats, labels: Labels) -> tuple[Floats, Floats]:
        """Weights (K, D) and intercepts (K,), or of two classes (1, D) and (1,), of standardised `X` (N, D)."""
        raise NotImplementedError

    def _begin(self, X: ArrayLike, y: ArrayLike) -> tuple[Floats, Labels]:
        """Check what `fit` got, and set `classes_` and `dims_`."""
        embeddings: Floats
        embeddings, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        if not 0 < self.alpha < np.inf:
            raise UsageError(f"alpha must be a positive number, got {self.alpha}")
        if self.calibration_folds < 0:
            raise UsageError(f"calibration_folds must be at least 0 (no calibration), got {self.calibration_folds}")
        self.dims_ = checked_dims(self.dims, embeddings.shape[1])
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise UsageError(
                f"a classifier needs clips of two classes or more, got one class: {self.classes_.tolist()[0]!r}"
            )
        return embeddings, labels

    def _checked(self, X: ArrayLike) -> Floats:
        """Embeddings (N, D) to read, of as many columns as those fitted on."""
        check_is_fitted(self)
        embeddings: Floats = validate_data(self, X, dtype=np.float64, reset=False)
        return embeddings


def solved(solver: Any, X: Floats, labels: Labels, alpha: float) -> tuple[Floats, Floats]:
    """Weights and intercepts of a scikit-learn solver, fitted.

    Warns:
        ConvergenceWarning: it stopped before its optimum.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it tells to raise max_iter, which no caller has
        solver.fit(X, labels)
    if np.max(solver.n_iter_) >= solver.max_iter:
        warnings.warn(
            f"the classifier stopped after {solver.max_iter} iterations, short of its optimum. It can be used; with a "
            f"larger weight of L2 than alpha={alpha} it would get there",
            ConvergenceWarning,
            stacklevel=4,  # the caller of fit
        )
    return solver.coef_, solver.intercept_
