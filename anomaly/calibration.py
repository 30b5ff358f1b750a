"""How often footage as normal as this would raise an alarm: peaks of held-out scores -> p-values, thresholds, bounds.

Scores beside each other in time are alike, so it is not windows that are counted but blocks of some seconds, by
their highest score. Conformal prediction (Vovk et al. 2005; Laxhammar & Falkman 2011) then needs no more than that
the blocks of other normal footage could have stood in any order among these.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, inf

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom  # type: ignore[import-untyped]

from tristream.fusion.blocks import Floats
from tristream.streams.errors import UsageError

HOUR_SECONDS = 3600.0
BLOCK_SECONDS = 5.0
CONFIDENCE = 0.95
WHOLE_SHARE = 0.8  # of the usual number of scores makes a block whole


@dataclass(frozen=True, eq=False)
class Calibration:
    """The highest score of each block of normal footage that was held out, (n,), rising."""

    peaks: Floats
    block_seconds: float = BLOCK_SECONDS

    @property
    def hours(self) -> float:
        """Of held-out footage."""
        return len(self.peaks) * self.block_seconds / HOUR_SECONDS

    @property
    def lowest_rate(self) -> float:
        """The fewest false alarms an hour that a threshold can be given for; infinite without footage."""
        return HOUR_SECONDS / self.block_seconds / (len(self.peaks) + 1) if len(self.peaks) else inf

    def p_value(self, score: float) -> float:
        """How probable it is that a block of normal footage has a score as high: (1 + those as high) / (n + 1)."""
        higher = len(self.peaks) - int(np.searchsorted(self.peaks, score, side="left"))
        return (1 + higher) / (len(self.peaks) + 1)

    def threshold(self, per_hour: float) -> float:
        """The score above which blocks of normal footage come at most `per_hour` times an hour, on average.

        Raises:
            UsageError: there is too little held-out footage for so low a rate, or it is no positive rate.
        """
        return float(self.peaks[len(self.peaks) - self._rank(per_hour)])

    def bounds(self, per_hour: float, hours: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
        """Between which numbers of false alarms `hours` of other normal footage will give, so surely.

        The share of blocks above the k-th highest of n is distributed as Beta(k, n + 1 - k); their count in other
        blocks is beta-binomial. With little held-out footage that is wide: it is what is known.

        Raises:
            UsageError: as `threshold`.
        """
        rank, blocks = self._rank(per_hour), max(1, round(hours * HOUR_SECONDS / self.block_seconds))
        counts = betabinom(blocks, rank, len(self.peaks) + 1 - rank)
        tail = (1 - confidence) / 2
        return int(counts.ppf(tail)), int(counts.ppf(1 - tail))

    def _rank(self, per_hour: float) -> int:
        """k: the threshold is the k-th highest peak."""
        if not 0 < per_hour < inf:
            raise UsageError(f"the number of false alarms an hour must be positive, got {per_hour}")
        rank = floor(share_of(per_hour, self.block_seconds) * (len(self.peaks) + 1) + 1e-9)
        if rank < 1:
            needed = hours_needed(per_hour, self.block_seconds)
            raise UsageError(
                f"a rate of {alarms_an_hour(per_hour)} takes {clock_hours(needed)} of held-out normal footage, and "
                f"there are {clock_hours(self.hours)}: give more footage, or "
                f"--false-alarms-per-hour {_up(self.lowest_rate)}"
            )
        return min(rank, len(self.peaks))


def share_of(per_hour: float, block_seconds: float) -> float:
    """The share of blocks that may give a false alarm."""
    return min(1.0, per_hour * block_seconds / HOUR_SECONDS)


def hours_needed(per_hour: float, block_seconds: float = BLOCK_SECONDS) -> float:
    """Hours of held-out normal footage without which no threshold can promise so low a rate."""
    return max(1, ceil(1 / share_of(per_hour, block_seconds) - 1 - 1e-9)) * block_seconds / HOUR_SECONDS


def alarms_an_hour(rate: float) -> str:
    """A rate of false alarms for a reader."""
    return f"{rate:g} false alarm{'s' * (rate != 1)} an hour"


def clock_hours(hours: float) -> str:
    """A duration for a reader."""
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"


def block_peaks(runs: Iterable[tuple[Floats, Floats]], block_seconds: float = BLOCK_SECONDS) -> Floats:
    """The highest score of each whole block of runs of footage, rising; a run is its times in seconds and scores."""
    peaks: list[float] = []
    for seconds, scores in runs:
        if len(seconds) == 0:
            continue
        block: NDArray[np.int64] = ((seconds - seconds[0]) / block_seconds + 1e-9).astype(np.int64)
        starts = np.flatnonzero(np.diff(block, prepend=-1))  # of the blocks that hold any
        counts = np.diff(starts, append=len(block))
        whole = counts >= WHOLE_SHARE * np.median(counts)  # the last one mostly is not
        peaks += np.maximum.reduceat(scores, starts)[whole].tolist()
    return np.sort(np.array(peaks, np.float64))


def _up(rate: float) -> str:
    """A rate, rounded up to three digits, so that it is one that can be had."""
    if rate == inf:
        return "..."
    digits = 10 ** (floor(np.log10(rate)) - 2)
    return f"{ceil(rate / digits) * digits:g}"
