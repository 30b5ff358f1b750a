"""The paper's anomaly detector: embeddings (N, D) of normal footage -> how badly others are rebuilt (N,)."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from tristream.anomaly.rebuilding import Rows, Schedule, rebuild, shapes_of, start_weights, train
from tristream.fusion.blocks import Dims, Floats, Standardiser, checked_dims, presence
from tristream.fusion.embedding import slices_of
from tristream.fusion.reading import Arrays, checked_arrays, width_of
from tristream.streams.errors import UsageError

WIDEST_BOTTLENECK = 32
LEAST_ERROR = 1e-12  # that is divided by
HELD_OUT_KEPT = 10_000  # scores that the threshold is taken of
DRIFT_EPOCHS, DRIFT_RATE = 5, 0.1  # of partial_fit: few epochs at a tenth of the rate, as drift is slow


class AutoencoderDetector(BaseEstimator):  # type: ignore[misc]
    """Tells how strange embeddings are by how badly they are rebuilt through a bottleneck (Tkachenko 2018, VII).

    Fit it on rows of normal footage, in the order of time. The network learns to rebuild these; what it has not
    seen, it rebuilds badly. Its hidden layers are tanh, not ReLU: what is beyond all that was seen drives them into
    their bounds, and cannot be rebuilt, where a ReLU would go on in proportion and rebuild a speed never seen as
    well as any. Noise on its inputs makes it learn where normal rows lie, not to copy (Vincent et al. 2008).

    Each dimension is standardised over the rows that have its stream, and the error of a stream is the mean over
    its dimensions, divided by its mean on the rows held out: a stream that cannot be rebuilt well counts no more than
    one that can. A stream that is absent from a row is a block of zeros; it is neither learnt from nor counted. The
    score of a row is the mean over the streams that it has.

    Names are PyOD's and scikit-learn's, scores as PyOD has them: the higher, the stranger.

    Args:
        dims: stream -> length, in the order they are joined; one stream `embedding` if None.
        context: the last columns of a row are of its place, not of its embedding; they help to rebuild and are not
            themselves rebuilt.
        hidden: units of the two hidden layers.
        bottleneck: units between them, fewer than the embedding has; None for a quarter of it, at most 32.
        noise: deviation of the noise on standardised inputs.
        contamination: the share of the held-out rows that `threshold_` puts above it.
        validation_share: the last rows, which end the training and set the threshold.
        max_epochs, patience, batch_size, learning_rate: of the training, by Adam.
        random_state: of weights, noise and order.

    Attributes:
        threshold_: the score from which `predict` says 1.
        dims_, standardiser_, weights_: the streams, and what was fitted.
        usual_error_: (S,) the mean error of each stream on the rows held out.
        losses_: on these, before the first epoch and after each.
    """

    def __init__(
        self,
        *,
        dims: Dims | None = None,
        context: int = 0,
        hidden: int = 128,
        bottleneck: int | None = None,
        noise: float = 0.3,
        contamination: float = 0.01,
        validation_share: float = 0.2,
        max_epochs: int = 100,
        patience: int = 15,
        batch_size: int = 512,
        learning_rate: float = 3e-3,
        random_state: Any = 0,
    ) -> None:
        self.dims = dims
        self.context = context
        self.hidden = hidden
        self.bottleneck = bottleneck
        self.noise = noise
        self.contamination = contamination
        self.validation_share = validation_share
        self.max_epochs = max_epochs
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Fit to rows (N, D + context) of normal footage, in the order of time; `y` is not looked at.

        Raises:
            UsageError: dims that do not add up to D, a parameter out of range.
            ValueError: scikit-learn's, of arrays that are not such, or hold NaN.
        """
        rows: Floats = validate_data(self, X, dtype=np.float64)
        self._check(rows.shape[1])
        width = rows.shape[1] - self.context
        self.dims_ = checked_dims(self.dims, width)
        self.standardiser_ = Standardiser.fit(rows[:, :width], self.dims_)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        shapes = shapes_of(width, self.context, self.hidden, self._bottleneck(width))
        self.weights_ = start_weights(shapes, np.random.default_rng(seed))
        self.held_out_scores_, self.n_samples_seen_ = np.zeros(0), 0
        self._learn(rows, self._schedule(1.0, self.max_epochs), seed)
        return self

    def partial_fit(self, X: ArrayLike, y: object = None) -> Self:
        """Follow a slow drift: learn a little from new rows of normal footage, without forgetting the old ones.

        Five epochs at a tenth of the rate; scales stay, means move by the new rows' share among all seen. The
        threshold is then taken of the scores of old and new held-out rows, at most the last 10,000.

        Raises:
            UsageError, ValueError: as fit, which the first call is.
        """
        if not hasattr(self, "weights_"):
            return self.fit(X)
        rows = self._checked(X)
        width = rows.shape[1] - self.context
        old, new = self.standardiser_, Standardiser.fit(rows[:, :width], self.dims_)
        share = len(rows) / (self.n_samples_seen_ + len(rows))
        seen = np.repeat(presence(rows[:, :width], self.dims_).any(axis=0), list(self.dims_.values()))  # (D,)
        mean = np.where(seen, old.mean + share * (new.mean - old.mean), old.mean)
        self.standardiser_ = Standardiser(mean, old.scale, self.dims_)
        self._learn(rows, self._schedule(DRIFT_RATE, DRIFT_EPOCHS), int(self.n_samples_seen_) % 2**31)
        return self

    def decision_function(self, X: ArrayLike) -> Floats:
        """How strange each row of `X` (N, D + context) is (N,): 1 as the held-out rows on average, more is stranger."""
        return self._scored(self._checked(X))

    def score_samples(self, X: ArrayLike) -> Floats:
        """The opposite of `decision_function` (N,): as scikit-learn has it, the lower, the stranger."""
        return -self.decision_function(X)

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """1 for each row of `X` (N, D + context) that is stranger than the threshold, 0 for the others, as PyOD."""
        return (self.decision_function(X) > self.threshold_).astype(np.int64)

    def explain(self, X: ArrayLike) -> Floats:
        """Each stream's share (N, S) of the score; their sum is the score, bit for bit. An absent stream's is 0."""
        return self._shares(self._checked(X))

    def to_arrays(self) -> dict[str, Any]:
        """What was fitted, as arrays."""
        check_is_fitted(self)
        return {
            "mean": self.standardiser_.mean,
            "scale": self.standardiser_.scale,
            "usual_error": self.usual_error_,
            "threshold": np.array(self.threshold_),
            "samples_seen": np.array(float(self.n_samples_seen_)),
            "held_out_scores": self.held_out_scores_,
            **self.weights_,
        }

    def from_arrays(self, arrays: Arrays, dims: Dims) -> Self:
        """This detector, not fitted yet, as the one that gave these arrays, of these streams.

        Raises:
            ModelError: arrays of another kind or shape.
        """
        width = width_of(dims)
        weights = shapes_of(width, self.context, self.hidden, self._bottleneck(width))
        scores = {"held_out_scores": (len(arrays.get("held_out_scores", ())),)}
        one = {"threshold": (), "samples_seen": ()}
        shapes = {"mean": (width,), "scale": (width,), "usual_error": (len(dims),), **one, **scores, **weights}
        values = checked_arrays(arrays, shapes)
        self.dims_, self.n_features_in_ = checked_dims(dims, width), width + self.context
        self.standardiser_ = Standardiser(values["mean"], values["scale"], self.dims_)
        self.usual_error_, self.held_out_scores_ = values["usual_error"], values["held_out_scores"]
        self.threshold_, self.n_samples_seen_ = float(values["threshold"]), int(values["samples_seen"])
        self.weights_ = {name: values[name] for name in weights}
        return self

    def _learn(self, rows: Floats, schedule: Schedule, seed: int) -> None:
        """Train on the first rows; scale errors and set the threshold by the last."""
        held = round(self.validation_share * len(rows)) if len(rows) > 1 else 0
        learn, held_out = (rows[:-held], rows[-held:]) if held else (rows, rows)
        self.weights_, self.losses_ = train(
            self.weights_, self._prepared(learn), self._prepared(held_out), schedule, seed
        )
        errors, present = self._errors(held_out)
        counts = present.sum(axis=0)
        usual = np.where(counts, (errors * present).sum(axis=0) / np.maximum(counts, 1), 1.0)
        self.usual_error_ = np.maximum(usual, LEAST_ERROR)
        self.n_samples_seen_ += len(rows)
        self.held_out_scores_ = np.concatenate([self.held_out_scores_, self._scored(held_out)])[-HELD_OUT_KEPT:]
        self.threshold_ = float(np.quantile(self.held_out_scores_, 1 - self.contamination))

    def _prepared(self, rows: Floats) -> Rows:
        """What the network is trained with: a row's present streams count alike, and each of their dimensions."""
        X, context = self._split(rows)
        present = presence(X, self.dims_)  # (N, S)
        streams = np.maximum(present.sum(axis=1, keepdims=True), 1)
        sizes = np.array(list(self.dims_.values()))
        counts = np.repeat(present / streams / sizes, sizes, axis=1)  # (N, D)
        return Rows(self.standardiser_.apply(X), context, counts)

    def _errors(self, rows: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """The mean squared error of each stream (N, S), and which of them rows have."""
        X, context = self._split(rows)
        standardised = self.standardiser_.apply(X)
        errors = (rebuild(self.weights_, standardised, context) - standardised) ** 2
        by_stream = [errors[:, block].mean(axis=1) for block in slices_of(self.dims_).values()]
        return np.stack(by_stream, axis=1), presence(X, self.dims_)

    def _shares(self, rows: Floats) -> Floats:
        errors, present = self._errors(rows)
        shares: Floats = errors / self.usual_error_ * present / np.maximum(present.sum(axis=1, keepdims=True), 1)
        return shares

    def _scored(self, rows: Floats) -> Floats:
        scores: Floats = self._shares(rows).sum(axis=1)
        return scores

    def _split(self, rows: Floats) -> tuple[Floats, Floats]:
        width = rows.shape[1] - self.context
        return rows[:, :width], rows[:, width:]

    def _checked(self, X: ArrayLike) -> Floats:
        check_is_fitted(self)
        rows: Floats = validate_data(self, X, dtype=np.float64, reset=False)
        return rows

    def _bottleneck(self, width: int) -> int:
        return self.bottleneck or max(1, min(width // 4, WIDEST_BOTTLENECK))

    def _schedule(self, rate: float, epochs: int) -> Schedule:
        return Schedule(epochs, self.patience, self.batch_size, rate * self.learning_rate, self.noise)

    def _check(self, columns: int) -> None:
        """Refuse parameters that cannot be."""
        if not 0 <= self.context < columns:
            raise UsageError(f"context must be from 0 to fewer than the {columns} columns, got {self.context}")
        width = columns - self.context
        if width > 1 and not 1 <= self._bottleneck(width) < width:
            raise UsageError(f"bottleneck must be narrower than the embedding of {width}, got {self.bottleneck}")
        shares: Mapping[str, float] = {"contamination": self.contamination, "validation_share": self.validation_share}
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise UsageError(f"{name} must be from 0 to below 1, got {share}")
        if min(self.hidden, self.max_epochs, self.batch_size) < 1 or self.patience < 0 or self.noise < 0:
            raise UsageError("hidden, max_epochs and batch_size must be at least 1, patience and noise at least 0")
