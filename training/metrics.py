"""How good a classification is: labels (N,) and scores (N, K) -> Metrics; needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix, log_loss, roc_auc_score

from tristream.streams.config import to_json
from tristream.streams.errors import UsageError

TOP_K = 5
CALIBRATION_BINS = 15  # Guo et al. 2017, "On Calibration of Modern Neural Networks", section 5
SUM_TOLERANCE = 1e-3  # rows whose sums are this near to 1 are probabilities, after float16 too

Labels = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Metrics:
    """What a classifier gets on N clips of K classes; a share is from 0 to 1.

    Attributes:
        clips: N.
        top1: the share of clips whose true class has the highest score; of equal scores the first class counts.
        top5: the share whose true class is among the five highest. With five classes or fewer it is 1 by
            definition, and is reported so: it says nothing there.
        per_class: the share of each class's clips that are right (its recall); None for a class without clips.
        mean_per_class: its mean over the classes that have clips.
        balanced_accuracy: the same number under scikit-learn's name.
        confusion: clips of the true class (row) that were taken for a class (column), (K, K).
        roc_auc: the area under each class's ROC curve, one against the rest; None where there are no clips of
            the class or of the rest.
        macro_roc_auc: its mean over the classes that have one.
        log_loss: mean of -log(probability of the true class), in nats; None where scores are no probabilities.
        calibration_error: expected calibration error of the class chosen, with 15 bins of equal width; None
            where scores are no probabilities.
    """

    classes: tuple[str, ...]
    clips: int
    top1: float
    top5: float
    mean_per_class: float
    balanced_accuracy: float
    per_class: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]
    roc_auc: tuple[float | None, ...]
    macro_roc_auc: float | None
    log_loss: float | None
    calibration_error: float | None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON data; per-class lists are in the order of `classes`."""
        return to_json(self)


def measure(labels: ArrayLike, scores: ArrayLike, classes: Sequence[str]) -> Metrics:
    """The metrics of `scores` (N, K) for clips whose true classes are `labels` (N,), indices into `classes`.

    Scores are class probabilities, or any numbers that are higher for a likelier class.

    Raises:
        UsageError: no clips, fewer than two classes, another shape, a label of no class, scores not finite.
    """
    truth, values = checked(labels, scores, len(classes))
    indices = np.arange(len(classes))
    confusion = confusion_matrix(truth, values.argmax(axis=1), labels=indices)
    recalls = per_class_recall(confusion)
    mean_recall = float(np.nanmean(recalls))
    areas = [_roc_auc(truth == index, values[:, index]) for index in indices]
    known_areas = [area for area in areas if area is not None]
    probabilities = _as_probabilities(values)
    return Metrics(
        classes=tuple(classes),
        clips=len(truth),
        top1=float(top_k_hits(truth, values, 1).mean()),
        top5=float(top_k_hits(truth, values, TOP_K).mean()),
        mean_per_class=mean_recall,
        balanced_accuracy=mean_recall,
        per_class=tuple(None if np.isnan(recall) else float(recall) for recall in recalls),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        roc_auc=tuple(areas),
        macro_roc_auc=float(np.mean(known_areas)) if known_areas else None,
        log_loss=None if probabilities is None else float(log_loss(truth, probabilities, labels=indices)),
        calibration_error=None if probabilities is None else _calibration_error(truth, probabilities),
    )


def checked(labels: ArrayLike, scores: ArrayLike, class_count: int) -> tuple[Labels, Scores]:
    """`labels` (N,) and `scores` (N, K) as arrays of one type, refused if nothing can be measured on them.

    Raises:
        UsageError: as `measure` says.
    """
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if class_count < 2:
        raise UsageError(f"a classification needs at least 2 classes, got {class_count}")
    if truth.ndim != 1 or len(truth) == 0 or values.shape != (len(truth), class_count):
        raise UsageError(
            f"metrics need labels (N,) and scores (N, {class_count}) of at least one clip, "
            f"got {truth.shape = } and scores.shape = {values.shape}"
        )
    if not np.issubdtype(truth.dtype, np.integer):
        raise UsageError(f"labels must be indices into the classes, got {truth.dtype}")
    if bad := [label for label in truth.tolist() if not 0 <= label < class_count]:
        raise UsageError(f"labels must be from 0 to {class_count - 1}, got {bad[0]}")
    if not np.isfinite(values).all():
        clip = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise UsageError(f"scores must be finite, got {values[clip].tolist()} for clip {clip}")
    return truth.astype(np.int64), values


def top_k_hits(labels: Labels, scores: Scores, k: int) -> NDArray[np.bool_]:
    """Which clips (N,) have their true class among the `k` highest scores; of equal scores the first is higher.

    Unlike scikit-learn's `top_k_accuracy_score` it takes two classes as it takes more, and with k = 1 agrees
    with argmax on ties.
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)  # (N, 1)
    before = np.arange(scores.shape[1]) < labels[:, None]  # (N, K)
    higher: NDArray[np.bool_] = (scores > own) | ((scores == own) & before)
    hits: NDArray[np.bool_] = higher.sum(axis=1) < k
    return hits


def per_class_recall(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share (K,) of each class's clips that are right in a confusion matrix (K, K); NaN for a class of none."""
    clips = confusion.sum(axis=1)
    recalls: NDArray[np.float64] = np.where(clips > 0, np.diag(confusion) / np.maximum(clips, 1), np.nan)
    return recalls


def _roc_auc(is_class: NDArray[np.bool_], scores: Scores) -> float | None:
    return None if is_class.all() or not is_class.any() else float(roc_auc_score(is_class, scores))


def _as_probabilities(scores: Scores) -> Scores | None:
    """Rows that add up to 1 but for rounding, made to do so; None where they are another kind of score."""
    sums = scores.sum(axis=1, keepdims=True)
    if scores.min() < 0 or np.abs(sums - 1).max() > SUM_TOLERANCE:
        return None
    probabilities: Scores = scores / sums
    return probabilities


def _calibration_error(labels: Labels, probabilities: Scores) -> float:
    """Mean over the clips of |share right - mean confidence| in the clip's bin of confidence (Guo et al., eq. 3)."""
    confidence = probabilities.max(axis=1)
    surplus = (probabilities.argmax(axis=1) == labels) - confidence
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    return float(np.abs(np.bincount(bins, weights=surplus)).sum() / len(labels))
