"""Which frames become steps: times (T,) in seconds and motion (T,) in pixels -> sorted frame indices."""

from collections.abc import Callable
from math import ceil

import numpy as np
from numpy.typing import NDArray

from tristream.streams.config import SamplingConfig
from tristream.streams.errors import UsageError

# The floor under the motion, so that a still segment keeps some steps, as a share of the clip's mean speed.
# With a share f, a segment without motion keeps f / (1 + f) of the steps that `uniform` gives it: at 1/4 a
# fifth. At the paper's limits (180 steps in 36 s, 5 a second) that is one step a second.
MOTION_FLOOR_SHARE = 0.25
# And as an absolute speed, so that noise does not rule where nothing moves. DIS flow at 320x240 on fixed
# cameras that see nothing move is 0.01 to 0.04 pixels a pair, 0.1 to 1 pixels a second; a pianist makes 4.
MOTION_FLOOR_PIXELS_PER_SECOND = 1.0
# A mean flow vector longer than any picture comes from a broken engine, as NaN does.
LONGEST_MOTION_PIXELS = 1e5
ROUNDING_SECONDS = 1e-3  # containers round the times of frames

Seconds = NDArray[np.float64]
Motion = NDArray[np.float64] | None
Indices = NDArray[np.intp]


def may_be_step(config: SamplingConfig, number: int, waited_seconds: float) -> bool:
    """Whether a frame can become a step at all.

    `number` is its place among those of the video that are not passed over, `waited_seconds` how long ago the last one
    was that could.
    """
    if config.strategy == "per-second":
        return waited_seconds >= 1 / config.per_second - ROUNDING_SECONDS
    return config.strategy != "every-nth" or number % config.frame_jump == 0


def step_distance_seconds(config: SamplingConfig, fps: float) -> float:
    """How far apart frames that may be steps can be, in a video of so many frames a second."""
    frame_seconds = 1 / min(fps, config.max_fps)
    if config.strategy == "per-second":
        return ceil((1 / config.per_second - ROUNDING_SECONDS) / frame_seconds) * frame_seconds
    return frame_seconds * (config.frame_jump if config.strategy == "every-nth" else 1)


def sample(
    config: SamplingConfig, start_seconds: Seconds, motion: Motion = None, max_steps: int | None = None
) -> Indices:
    """The frames of a clip that become steps: sorted, each at most once, at most `max_steps`, at least one.

    `start_seconds` (T,) are the frames' times. `motion` (T,) is the mean length in pixels of the flow vectors
    between a frame and the one before it (the first frame repeats the second's); only `adaptive` needs it.
    NaN, infinite or negative motion counts as none. `max_steps` is the config's unless given. A clip of no
    more frames than that gives all of them; one of no frames gives none. The frames are those of which `may_be_step`
    is true.

    * `adaptive` (Tkachenko 2018, IV.F): a segment's share of the steps follows its share of the motion.
    * `uniform`: evenly in time; what `adaptive` does where nothing moves, or all moves alike.
    * `per-second`: the first frame that is 1/`per_second` s or more after the one before, thinned evenly where that is
      too many: of 25 frames a second, with 4 asked for, each seventh, whose distances are all the same.
    * `every-nth`: one frame in `frame_jump` of the video, thinned likewise.
    * `segments`: the middle frame of each of `max_steps` equal segments of time.
    * `first`: the first `max_steps` frames (Orozco et al. 2021, 3). Steps are chosen once for all clips, in
      pieces of up to 36 s of the video: those of a window that begins elsewhere, or is longer, are the first
      of the pieces it holds.

    Raises:
        UsageError: an unknown strategy, `max_steps` or `frame_jump` under 1, arrays that are not alike, or
            `adaptive` without motion.
    """
    limit = config.max_steps if max_steps is None else max_steps
    _check(config, start_seconds, motion, limit)
    if len(start_seconds) <= limit:
        return np.arange(len(start_seconds), dtype=np.intp)
    return STRATEGIES[config.strategy](config, start_seconds, motion, limit)


def _check(config: SamplingConfig, start_seconds: Seconds, motion: Motion, limit: int) -> None:
    """Refuse what cannot be sampled, whatever the clip's length."""
    if config.strategy not in STRATEGIES:
        raise UsageError(f"sampling strategy must be one of {', '.join(STRATEGIES)}, got {config.strategy!r}")
    if limit < 1:
        raise UsageError(f"max_steps must be at least 1, got {limit}")
    if start_seconds.ndim != 1 or (motion is not None and motion.shape != start_seconds.shape):
        shapes = f"{start_seconds.shape = }, motion.shape = {None if motion is None else motion.shape}"
        raise UsageError(f"start_seconds and motion must both be (T,), got {shapes}")
    if config.strategy == "adaptive" and motion is None:
        raise UsageError("adaptive sampling needs each frame's motion: compute flow, or sample by 'uniform'")


def _adaptive(config: SamplingConfig, start_seconds: Seconds, motion: Motion, limit: int) -> Indices:
    """Equal quantiles of the cumulative motion + floor.

    Motion between two frames has already built up over the gap between them, however long; so the floor is a
    speed, and counts for as long as the gap.
    """
    moved = np.zeros(len(start_seconds)) if motion is None else motion
    moved = np.where((moved >= 0) & (moved < LONGEST_MOTION_PIXELS), moved, 0.0)  # NaN is neither
    gaps_seconds = _gaps(start_seconds)
    mean_speed = moved.sum() / gaps_seconds.sum()  # pixels a second
    floor = MOTION_FLOOR_SHARE * mean_speed + MOTION_FLOOR_PIXELS_PER_SECOND
    return _systematic(moved + floor * gaps_seconds, limit)


def _uniform(config: SamplingConfig, start_seconds: Seconds, motion: Motion, limit: int) -> Indices:
    """Equal quantiles of time, which are equal numbers of frames where the frame rate is constant."""
    return _systematic(_gaps(start_seconds), limit)


def _thinned(config: SamplingConfig, start_seconds: Seconds, motion: Motion, limit: int) -> Indices:
    """The middles of `limit` equal runs."""
    return ((np.arange(limit) + 0.5) * len(start_seconds) / limit).astype(np.intp)


def _segments(config: SamplingConfig, start_seconds: Seconds, motion: Motion, limit: int) -> Indices:
    """The frame on show at the middle of each of `limit` equal segments of the clip's time."""
    gaps_seconds = _gaps(start_seconds)
    shown_seconds = np.append(gaps_seconds[1:], gaps_seconds[-1])  # each frame until the next one
    ends = np.cumsum(shown_seconds)  # counted from the clip's start
    middles = (np.arange(limit) + 0.5) * ends[-1] / limit
    # A middle on the border of two frames, up to rounding, belongs to the later one.
    return _apart(np.searchsorted(ends, middles + 1e-6 * shown_seconds.mean()), len(ends))


def _first(config: SamplingConfig, start_seconds: Seconds, motion: Motion, limit: int) -> Indices:
    """The frames that a clip begins with."""
    return np.arange(limit, dtype=np.intp)


STRATEGIES: dict[str, Callable[[SamplingConfig, Seconds, Motion, int], Indices]] = {
    "adaptive": _adaptive,
    "uniform": _uniform,
    "per-second": _thinned,
    "every-nth": _thinned,
    "segments": _segments,
    "first": _first,
}


def _gaps(start_seconds: Seconds) -> Seconds:
    """The time (T,) from the frame before to each frame, positive; the first frame repeats the second's."""
    gaps = np.diff(start_seconds)
    gaps = np.where((gaps > 0) & np.isfinite(gaps), gaps, 0.0)  # time stamps that stand still or run back
    if not gaps.any():
        return np.ones(len(start_seconds))
    gaps = np.concatenate([gaps[:1], gaps])
    positive: Seconds = np.maximum(gaps, 1e-3 * gaps.mean())  # so that each frame can be chosen
    return positive


def _systematic(weights: NDArray[np.float64], count: int) -> Indices:
    """`count` of the T > `count` frames, each once, by systematic sampling with shares that follow `weights`.

    Equal quantiles of the cumulative weight would take a heavy frame several times. So a frame is included
    p = min(1, rate * weight) times, with the rate that makes them `count` in all, and the frame at which the
    cumulative p passes 1/2, 3/2, 5/2, ... is taken: no p is over 1, so none is taken twice.
    """
    cumulative = np.cumsum(_inclusion(weights, count))
    # Constant weights put quantiles on the border of two frames; rounding must not choose between them.
    return _apart(np.searchsorted(cumulative, np.arange(count) + 0.5 - 1e-6), len(weights))


def _inclusion(weights: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """p (T,) = min(1, rate * weights) whose sum is `count` < T: what overflows one frame fills the others."""
    weights = np.maximum(weights / weights.max(), 1e-12)
    full = np.zeros(len(weights), dtype=bool)
    while True:
        p: NDArray[np.float64] = np.where(full, 1.0, weights * (count - full.sum()) / weights[~full].sum())
        over = ~full & (p >= 1.0)
        if not over.any():
            return p
        full |= over


def _apart(indices: Indices, frames: int) -> Indices:
    """Sorted `indices` into `frames` frames, those that repeat or overrun moved to the nearest free one."""
    order = np.arange(len(indices), dtype=np.intp)  # strictly rising is: index - order never falls
    rising = np.maximum.accumulate(indices - order) + order
    return np.minimum(rising, frames - len(indices) + order)
