"""Sampling: what every strategy promises, and where each one puts its steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tristream.streams.config import SamplingConfig, from_json, to_json
from tristream.streams.errors import UsageError
from tristream.streams.sampling import MOTION_FLOOR_SHARE, STRATEGIES, may_be_step, sample, step_distance_seconds

FPS = 25.0

any_motion = arrays(
    np.float64,
    st.integers(1, 120),
    elements=st.one_of(
        st.floats(0, 50),
        st.sampled_from([0.0, -1.0, 1e4, 1e300, float("nan"), float("inf"), float("-inf")]),
    ),
)


def times(frames: int, fps: float = FPS) -> NDArray[np.float64]:
    return np.arange(frames) / fps


def pick(strategy: str, motion: NDArray[np.float64], steps: int, jump: int = 5) -> NDArray[np.intp]:
    """The frames chosen at a constant frame rate."""
    config = SamplingConfig(strategy=strategy, max_steps=steps, frame_jump=jump)  # type: ignore[arg-type]
    return sample(config, times(len(motion)), motion)


@given(
    strategy=st.sampled_from(sorted(STRATEGIES)),
    motion=any_motion,
    gaps=st.lists(st.sampled_from([0.0, 0.001, 0.04, 0.04, 0.04, 5.0, -0.1]), min_size=120, max_size=120),
    steps=st.integers(1, 130),
    jump=st.integers(1, 9),
)
@settings(deadline=None)
def test_steps_are_frames_in_order_each_at_most_once_and_as_many_as_there_may_be(
    strategy: str, motion: NDArray[np.float64], gaps: list[float], steps: int, jump: int
) -> None:
    frames = len(motion)
    config = SamplingConfig(strategy=strategy, max_steps=steps, frame_jump=jump)  # type: ignore[arg-type]
    chosen = sample(config, np.cumsum(gaps)[:frames], motion)
    assert chosen.dtype == np.intp
    assert len(chosen) == min(steps, frames) >= 1
    assert np.all(np.diff(chosen) > 0)
    assert chosen[0] >= 0
    assert chosen[-1] < frames


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_short_clip_gives_all_its_frames(strategy: str) -> None:
    np.testing.assert_array_equal(pick(strategy, np.arange(9.0), steps=9), np.arange(9))


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_clip_of_no_frames_gives_none(strategy: str) -> None:
    assert pick(strategy, np.zeros(0), steps=3).tolist() == []


def test_max_steps_of_the_call_comes_before_the_configs() -> None:
    config = SamplingConfig(strategy="uniform", max_steps=50)
    assert len(sample(config, times(100))) == 50
    assert len(sample(config, times(100), max_steps=7)) == 7


# uniform


@pytest.mark.parametrize("frames", [100, 1000])
@pytest.mark.parametrize("fps", [23.976, 25.0, 29.97])
def test_uniform_takes_every_second_frame_where_half_may_be_taken(frames: int, fps: float) -> None:
    chosen = sample(SamplingConfig("uniform"), times(frames, fps) + 3600.0, max_steps=frames // 2)
    np.testing.assert_array_equal(chosen, np.arange(0, frames, 2))


def test_uniform_takes_one_step_from_the_middle() -> None:
    assert pick("uniform", np.zeros(101), steps=1).tolist() == [50]


def test_uniform_is_even_in_time_where_the_frame_rate_varies() -> None:
    seconds = np.concatenate([np.arange(100) / 10, 10 + np.arange(1000) / 100])  # 10 s at 10, then at 100 fps
    chosen = seconds[sample(SamplingConfig("uniform"), seconds, max_steps=40)]
    np.testing.assert_allclose(np.diff(chosen), 0.5, atol=0.11)  # to a frame of the slow half


# adaptive


@given(
    frames=st.integers(2, 400),
    steps=st.integers(1, 200),
    level=st.sampled_from([0.0, 1e-6, 0.3, 7.0, float("nan")]),
    fps=st.sampled_from([10.0, 23.976, 25.0, 29.97, 50.0]),
)
@settings(deadline=None)
def test_adaptive_is_uniform_where_motion_is_constant(frames: int, steps: int, level: float, fps: float) -> None:
    adaptive = sample(SamplingConfig("adaptive"), times(frames, fps), np.full(frames, level), steps)
    uniform = sample(SamplingConfig("uniform"), times(frames, fps), max_steps=steps)
    np.testing.assert_array_equal(adaptive, uniform)


@given(ratio=st.floats(1, 20), steps=st.integers(20, 120), seed=st.integers(0, 999))
@settings(deadline=None)
def test_adaptive_shares_steps_as_the_motion_is_shared(ratio: float, steps: int, seed: int) -> None:
    half = 600
    noise = np.random.default_rng(seed).uniform(0.5, 1.5, size=2 * half)
    motion = np.repeat([10.0, 10.0 * ratio], half) * noise
    floor = MOTION_FLOOR_SHARE * motion.mean() + 1.0 / FPS
    expected = (motion[:half] + floor).sum() / (motion + floor).sum()
    slow = np.count_nonzero(pick("adaptive", motion, steps) < half)
    assert abs(slow - expected * steps) <= 1.0  # systematic sampling is exact to a step


def test_one_to_three_motion_shares_steps_by_the_floors_formula() -> None:
    chosen = pick("adaptive", np.repeat([100.0, 300.0], 1000), steps=200)
    f = 2 * MOTION_FLOOR_SHARE  # in units of the slow half's motion, half the mean
    assert np.mean(chosen < 1000) == pytest.approx((1 + f) / (4 + 2 * f), abs=0.006)


def test_a_still_segment_keeps_a_fifth_of_uniforms_steps() -> None:
    motion = np.concatenate([np.full(450, 200.0), np.zeros(450)])  # 36 s at 25 fps
    still = np.count_nonzero(pick("adaptive", motion, steps=180) >= 450)
    assert still == pytest.approx(90 / 5, abs=1)  # one a second


def test_a_burst_of_motion_is_taken_whole_and_the_rest_shared_evenly() -> None:
    motion = np.zeros(200)
    motion[100:110] = 1000.0
    chosen = pick("adaptive", motion, steps=40)
    assert set(range(100, 110)) <= set(chosen.tolist())
    assert abs(np.count_nonzero(chosen < 100) - np.count_nonzero(chosen >= 110)) <= 2


def test_noise_on_a_still_camera_hardly_matters() -> None:
    noise = np.concatenate([np.full(300, 0.01), np.full(300, 0.03)])  # three times the noise at night
    night = np.mean(pick("adaptive", noise, steps=100) >= 300)
    assert night < 0.6


@given(factor=st.floats(1.0, 100.0), seed=st.integers(0, 99))
@settings(deadline=None)
def test_scaling_the_motion_hardly_moves_a_step(factor: float, seed: int) -> None:
    motion = np.random.default_rng(seed).gamma(2.0, 5.0, size=500)
    moved = pick("adaptive", motion, steps=50) - pick("adaptive", factor * motion, steps=50)
    assert np.abs(moved).max() <= 2


def test_broken_motion_counts_as_none() -> None:
    broken = np.full(100, 5.0)
    still = broken.copy()
    broken[10:50] = [np.nan, np.inf, -np.inf, -3.0, 1e300] * 8
    still[10:50] = 0.0
    np.testing.assert_array_equal(pick("adaptive", broken, 20), pick("adaptive", still, 20))


def test_the_same_speed_gets_the_same_share_of_time_at_any_frame_rate() -> None:
    seconds = np.concatenate([np.arange(100) / 10, 10 + np.arange(1000) / 100])
    motion = 30.0 * np.diff(seconds, prepend=-0.1)  # 30 pixels a second, over gaps of 0.1 and 0.01 s
    adaptive = sample(SamplingConfig("adaptive"), seconds, motion, 40)
    np.testing.assert_array_equal(adaptive, sample(SamplingConfig("uniform"), seconds, max_steps=40))


# every-nth, segments and first


def able(config: SamplingConfig, fps: float, frames: int = 61) -> list[int]:
    """The frames that may be steps."""
    chosen, last = [], -np.inf
    for number in range(frames):
        if may_be_step(config, number, number / fps - last):
            chosen.append(number)
            last = number / fps
    return chosen


def test_which_frames_may_be_steps() -> None:
    assert able(SamplingConfig("every-nth", frame_jump=4), FPS, 18) == [0, 4, 8, 12, 16]
    assert able(SamplingConfig("adaptive", frame_jump=4), FPS) == list(range(61))


@pytest.mark.parametrize(("fps", "jump"), [(25.0, 5), (30.0, 6), (29.97, 6), (10.0, 2), (5.0, 1), (3.0, 1), (12.0, 3)])
def test_per_second_takes_the_first_frame_after_its_part_of_a_second(fps: float, jump: int) -> None:
    assert able(SamplingConfig("per-second", per_second=5), fps) == list(range(0, 61, jump))


@pytest.mark.parametrize("fps", [25.0, 29.97, 10.0, 3.0, 60.0])
@pytest.mark.parametrize(
    "config", [SamplingConfig("per-second", per_second=4), SamplingConfig("every-nth"), SamplingConfig("uniform")]
)
def test_how_far_apart_steps_are(config: SamplingConfig, fps: float) -> None:
    jumps = np.diff(able(config, min(fps, config.max_fps)))
    assert step_distance_seconds(config, fps) * min(fps, config.max_fps) == pytest.approx(jumps.max())


@pytest.mark.parametrize("strategy", ["every-nth", "per-second"])
def test_too_many_are_thinned_evenly(strategy: str) -> None:
    assert pick(strategy, np.zeros(15), steps=5).tolist() == [1, 4, 7, 10, 13]


def test_segments_give_their_middle_frames() -> None:
    assert pick("segments", np.zeros(50), steps=10).tolist() == [2, 7, 12, 17, 22, 27, 32, 37, 42, 47]
    assert pick("segments", np.zeros(40), steps=10).tolist() == [2, 6, 10, 14, 18, 22, 26, 30, 34, 38]


def test_segments_are_segments_of_time_and_repeat_no_frame() -> None:
    seconds = np.array([0.0, 8.0, 8.1, 8.2, 8.3, 8.4, 8.5])
    # The middles, 1, 3, 5 and 7 s, all show frame 0.
    assert sample(SamplingConfig("segments"), seconds, max_steps=4).tolist() == [0, 1, 2, 3]
    assert sample(SamplingConfig("segments"), seconds, max_steps=1).tolist() == [0]


def test_first_is_how_the_clip_begins_whatever_moves_later() -> None:
    motion = np.linspace(0, 50, 200)
    assert pick("first", motion, steps=40).tolist() == list(range(40))
    unsteady = np.array([0.0, 8.0, 8.1, 8.2, 8.3])
    assert sample(SamplingConfig("first", max_steps=3), unsteady).tolist() == [0, 1, 2]


# refusals


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_steps": 0}, "max_steps and frame_jump must be at least 1, got 0 and 5"),
        ({"frame_jump": 0}, "must be at least 1, got 180 and 0"),
        ({"per_second": 0.0}, "per_second and max_fps must be over 0, got 0.0 and 40.0"),
        ({"per_second": float("nan")}, "must be over 0, got nan"),
        ({"max_fps": -1.0}, "must be over 0, got 5.0 and -1.0"),
    ],
)
def test_a_config_that_cannot_be_is_refused(changed: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_json(SamplingConfig, to_json(SamplingConfig()) | changed)


@pytest.mark.parametrize("frames", [0, 3, 30])
def test_an_unknown_strategy_is_refused_whatever_the_clip(frames: int) -> None:
    with pytest.raises(UsageError, match="every-nth, segments, first, got 'random'"):
        sample(SamplingConfig("random"), times(frames), np.zeros(frames))  # type: ignore[arg-type]


def test_arrays_that_are_not_alike_are_refused() -> None:
    with pytest.raises(UsageError, match=r"start_seconds.shape = \(4,\), motion.shape = \(3,\)"):
        sample(SamplingConfig(), times(4), np.zeros(3))


def test_adaptive_without_motion_is_refused_and_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="compute flow, or sample by 'uniform'"):
        sample(SamplingConfig("adaptive"), times(4))
