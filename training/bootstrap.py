"""How sure an accuracy is: hits (N,) and groups (N,) -> a 95 % interval, by resampling whole groups."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tristream.streams.errors import UsageError

RESAMPLES = 2000
CONFIDENCE = 0.95
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)  # 1.96
BLOCK = 2**20  # drawn groups held at a time


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval, both ends from 0 to 1 (a gain: -1 to 1), over so many clips and groups."""

    value: float
    low: float
    high: float
    clips: int
    groups: int


def accuracy_interval(hits: ArrayLike, groups: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The share of `hits` (N,) bool, with the percentile interval of drawing whole groups with replacement.

    `groups` (N,) are the clips' group names. Clips of one group (one person, one scene) are right or wrong
    together, so they are drawn together: an interval that takes them for independent is too narrow. Classes
    are not held fixed in the draws, which is right where groups span classes (KTH's persons) and cautious
    where they lie within one (UCF101's).

    Near 0 and 1 a resample has little left to vary: all clips right would give [1, 1]. So the interval is at
    least as wide as Wilson's (1927), which the same clips would have if they were independent. And one group
    says nothing of another: its interval is [0, 1].

    Raises:
        UsageError: no clips, or arrays that are not alike.
    """
    values = np.asarray(hits, dtype=np.float64)
    return _interval(values, groups, (0.0, 1.0), _wilson, resamples, seed)


def gain_interval(
    hits: ArrayLike, other_hits: ArrayLike, groups: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """How much higher the share of `hits` (N,) is than that of `other_hits` (N,), on the same clips.

    Paired: both are counted on the same resample, so what is hard for both cancels out. At least as wide as
    the interval of Agresti and Min (2005) for matched pairs of independent clips; otherwise as
    `accuracy_interval`. If it holds 0, the clips cannot tell the two apart.

    Raises:
        UsageError: no clips, or arrays that are not alike.
    """
    left, right = np.asarray(hits, dtype=np.float64), np.asarray(other_hits, dtype=np.float64)
    if left.shape != right.shape:
        raise UsageError(f"a gain is counted on the same clips, got {left.shape = } and {right.shape = }")
    return _interval(left - right, groups, (-1.0, 1.0), _agresti_min, resamples, seed)


def _interval(
    values: NDArray[np.float64],
    groups: ArrayLike,
    limits: tuple[float, float],
    independent: Callable[[NDArray[np.float64]], tuple[float, float]],
    resamples: int,
    seed: int,
) -> Interval:
    """The mean of `values` (N,) with the wider of its bootstrap interval and that of `independent` clips."""
    names = np.asarray(groups)
    if values.ndim != 1 or len(values) == 0 or names.shape != values.shape:
        raise UsageError(f"an interval needs hits (N,) and groups (N,), got {values.shape = } and {names.shape = }")
    mean = float(values.mean())
    _, group_of = np.unique(names, return_inverse=True)  # (N,)
    counts = np.bincount(group_of)  # (G,)
    if len(counts) == 1:
        return Interval(mean, *limits, clips=len(values), groups=1)
    sums = np.asarray(np.bincount(group_of, weights=values), dtype=np.float64)  # (G,)
    drawn = _resampled_means(sums, counts, resamples, seed)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    least_low, least_high = independent(values)
    low, high = max(limits[0], min(low, least_low, mean)), min(limits[1], max(high, least_high, mean))
    return Interval(mean, low, high, clips=len(values), groups=len(counts))


def _resampled_means(
    sums: NDArray[np.float64], counts: NDArray[np.intp], resamples: int, seed: int
) -> NDArray[np.float64]:
    """The mean over the clips of each resample (R,) of the groups, whose sums and clip counts are (G,)."""
    generator = np.random.default_rng(seed)
    rows = max(1, BLOCK // len(counts))
    means = []
    for first in range(0, resamples, rows):
        drawn = generator.integers(len(counts), size=(min(rows, resamples - first), len(counts)))  # (R, G)
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means)


def _wilson(hits: NDArray[np.float64]) -> tuple[float, float]:
    """Wilson's score interval of a share of independent clips."""
    clips, share = len(hits), float(hits.mean())
    centre = share + Z**2 / (2 * clips)
    half = Z * sqrt(share * (1 - share) / clips + (Z / (2 * clips)) ** 2)
    return (centre - half) / (1 + Z**2 / clips), (centre + half) / (1 + Z**2 / clips)


def _agresti_min(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Agresti and Min's interval: Wald's, with half a clip added to each cell of the two by two table."""
    clips = len(differences) + 2
    surplus, apart = float(differences.sum()), float(np.abs(differences).sum()) + 1
    half = Z * sqrt(apart - surplus**2 / clips) / clips
    return surplus / clips - half, surplus / clips + half
