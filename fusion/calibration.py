"""Scores into probabilities: one temperature, fitted on scores (N, K) of clips that the classifier has not seen."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from scipy.special import log_softmax  # type: ignore[import-untyped]
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from tristream.fusion.blocks import Floats
from tristream.streams.errors import UsageError

Labels = NDArray[np.intp]  # (N,) from 0 to K - 1
TEMPERATURES = (1e-3, 1e3)
# One temperature needs no more held-out clips than this: further folds of a large set would only cost time.
ENOUGH_CLIPS = 1000


def fit_temperature(logits: Floats, labels: Labels) -> float:
    """The temperature T at which softmax(logits / T) has the least log loss (Guo et al. 2017, 4.2).

    Its targets are Platt's (1999, 2.2): of n clips, none is surer than (n + 1) / (n + 2). So where all are right,
    which would make T zero, the probabilities are as sure as so many clips allow.
    """
    clips, classes = logits.shape
    doubt = 1 / (clips + 2)
    targets = np.full(logits.shape, doubt / (classes - 1))
    targets[np.arange(clips), labels] = 1 - doubt

    def loss(log_temperature: float) -> float:
        logs: Floats = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-(targets * logs).sum() / clips)

    # log softmax is concave in 1 / T: there is one minimum.
    best = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(best.x))


def cross_validated_temperature(estimator: Any, X: Floats, labels: Labels, groups: ArrayLike | None) -> float:
    """The temperature of `estimator`, from what copies of it fitted on other folds say of each fold's clips.

    Clips of one group are in one fold. There are `calibration_folds` of them, or as many as the rarest class has
    groups (clips, without groups); folds that would leave a class unseen are passed over. 1 where there are not
    two folds.

    Raises:
        UsageError: not one group for each clip.
    """
    logits: list[Floats] = []
    truth: list[int] = []
    for seen, unseen in _folds(labels, groups, estimator.calibration_folds, estimator.random_state):
        if len(np.unique(labels[seen])) < labels.max() + 1:
            continue
        fitted = clone(estimator).set_params(calibration_folds=0).fit(X[seen], labels[seen])
        logits.append(fitted.logits(X[unseen]))
        truth.extend(labels[unseen])
        if len(truth) >= ENOUGH_CLIPS:
            break
    return fit_temperature(np.concatenate(logits), np.array(truth)) if logits else 1.0


def _folds(
    labels: Labels, groups: ArrayLike | None, folds: int, random_state: Any
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The clips to fit on and the held-out ones, of each fold; none where there are not two folds."""
    units = np.arange(len(labels)) if groups is None else np.asarray(groups)
    if units.shape != labels.shape:
        raise UsageError(f"groups must give one group for each of the {len(labels)} clips, got {units.shape = }")
    folds = min(folds, *(len(np.unique(units[labels == label])) for label in range(labels.max() + 1)))
    if folds < 2:
        return iter(())
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splits: Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]] = kind(
        folds, shuffle=True, random_state=random_state
    ).split(labels, labels, units if groups is not None else None)
    return splits
