"""Other detectors in the autoencoder's place, for comparison: scikit-learn's and PyOD's, on the same rows."""

from importlib import import_module
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted, validate_data

from tristream.fusion.blocks import Dims, Floats, Standardiser, checked_dims
from tristream.fusion.reading import Arrays, checked_arrays
from tristream.streams.errors import UsageError

MOST_ROWS = 20_000  # that are fitted on, and kept: evenly spread over those given
NEIGHBOURS = 5
PACKAGES = ("sklearn.", "pyod.models.")  # nothing else is imported for a name
AUTOENCODER = "autoencoder"


class PCADetector:
    """The squared error of what is left of a row by the components that hold 90 % of the variance."""

    def fit(self, X: Floats) -> Self:
        self._pca = PCA(0.9, svd_solver="full").fit(X)
        return self

    def decision_function(self, X: Floats) -> Floats:
        rebuilt = self._pca.inverse_transform(self._pca.transform(X))
        error: Floats = ((X - rebuilt) ** 2).mean(axis=1)
        return error


class NeighboursDetector:
    """The mean distance to the 5 nearest rows fitted on."""

    def fit(self, X: Floats) -> Self:
        self._neighbours = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(X))).fit(X)
        return self

    def decision_function(self, X: Floats) -> Floats:
        distances: Floats = self._neighbours.kneighbors(X)[0].mean(axis=1)
        return distances


class MahalanobisDetector:
    """The squared Mahalanobis distance to the mean, of a covariance shrunk after Ledoit & Wolf 2004."""

    def fit(self, X: Floats) -> Self:
        self._covariance = LedoitWolf().fit(X)
        return self

    def decision_function(self, X: Floats) -> Floats:
        distances: Floats = self._covariance.mahalanobis(X)
        return distances


NAMED: dict[str, Any] = {
    "pca": PCADetector,
    "knn": NeighboursDetector,
    "isolation-forest": lambda: IsolationForest(random_state=0),
    "mahalanobis": MahalanobisDetector,
}


class BaselineDetector(BaseEstimator):  # type: ignore[misc]
    """Another detector with the autoencoder's methods: standardised rows, their place among them, go into it.

    Args:
        name: `pca`, `knn`, `isolation-forest`, `mahalanobis`, or a class of scikit-learn or PyOD by its whole name,
            as in `sklearn.svm.OneClassSVM` or `pyod.models.ecod.ECOD`.
        dims, context: as of AutoencoderDetector.

    Attributes:
        rows_: what was fitted on. A detector of any kind is kept as these and its name, and fitted on them again.
    """

    def __init__(self, name: str = "pca", *, dims: Dims | None = None, context: int = 0) -> None:
        self.name = name
        self.dims = dims
        self.context = context

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Fit to rows (N, D + context) of normal footage.

        Raises:
            UsageError: no such detector, or dims that do not add up to D.
        """
        rows: Floats = validate_data(self, X, dtype=np.float64)
        chosen = np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).round().astype(np.intp)
        self.rows_ = rows[chosen]
        width = rows.shape[1] - self.context
        self.dims_ = checked_dims(self.dims, width)
        self._standardiser = Standardiser.fit(self.rows_[:, :width], self.dims_)
        self._detector = detector_of(self.name).fit(self._prepared(self.rows_))
        return self

    def decision_function(self, X: ArrayLike) -> Floats:
        """How strange each row of `X` (N, D + context) is (N,)."""
        check_is_fitted(self)
        rows = self._prepared(validate_data(self, X, dtype=np.float64, reset=False))
        if isinstance(self._detector, OutlierMixin):  # scikit-learn's own are high for what is normal
            return -np.asarray(self._detector.score_samples(rows), np.float64)
        return np.asarray(self._detector.decision_function(rows), np.float64)

    def explain(self, X: ArrayLike) -> Floats:
        """Of such a detector nothing is known of the streams: (N, 0)."""
        return np.zeros((len(np.asarray(X)), 0))

    def to_arrays(self) -> dict[str, Any]:
        """What was fitted on."""
        check_is_fitted(self)
        return {"rows": self.rows_}

    def from_arrays(self, arrays: Arrays, dims: Dims) -> Self:
        """This detector, fitted again on the rows that were kept.

        Raises:
            ModelError: other arrays.
        """
        width = sum(dims.values()) + self.context
        self.dims = dict(dims)
        return self.fit(checked_arrays(arrays, {"rows": (len(arrays.get("rows", ())), width)})["rows"])

    def _prepared(self, rows: Floats) -> Floats:
        width = rows.shape[1] - self.context
        return np.hstack([self._standardiser.apply(rows[:, :width]), rows[:, width:]])


def detector_of(name: str) -> Any:
    """A new detector of that name.

    Raises:
        UsageError: there is none, or it finds no outliers.
    """
    if name in NAMED:
        return NAMED[name]()
    module, _, kind = name.rpartition(".")
    if not module.startswith(PACKAGES):
        known = ", ".join([AUTOENCODER, *NAMED])
        raise UsageError(
            f"no detector {name!r}: it is one of {known}, or a class of scikit-learn or PyOD, as in "
            "sklearn.svm.OneClassSVM or pyod.models.ecod.ECOD"
        )
    try:
        made = getattr(import_module(module), kind)()
    except ImportError as error:
        hint = ": pip install pyod" if module.startswith("pyod") else ""
        raise UsageError(f"detector {name} cannot be imported ({error}){hint}") from error
    except (AttributeError, TypeError) as error:
        raise UsageError(f"{name} is no detector that can be made without arguments: {error}") from error
    if not (hasattr(made, "fit") and (hasattr(made, "decision_function") or hasattr(made, "score_samples"))):
        raise UsageError(f"{name} finds no outliers: it has no decision_function")
    return made
