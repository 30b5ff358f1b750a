"""Intervals: what they hold, how wide they are, and how often they hold the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest

from tristream.streams.errors import UsageError
from tristream.training.bootstrap import accuracy_interval, gain_interval

any_hits = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 6)), min_size=1, max_size=40)


def hits_of(right: int, clips: int) -> NDArray[np.bool_]:
    return np.arange(clips) < right


# One classifier


@pytest.mark.parametrize(("right", "clips"), [(50, 100), (80, 83), (30, 200), (1, 40), (990, 1000)])
def test_with_each_clip_its_own_group_it_is_the_binomials(right: int, clips: int) -> None:
    interval = accuracy_interval(hits_of(right, clips), np.arange(clips))
    wilson = binomtest(right, clips).proportion_ci(method="wilson")
    assert interval.value == pytest.approx(right / clips)
    assert (interval.low, interval.high) == pytest.approx((wilson.low, wilson.high), abs=0.04)


@given(any_hits)
@settings(deadline=None, max_examples=40)
def test_an_interval_holds_its_figure_and_wilsons_interval(rows: list[tuple[bool, bool, int]]) -> None:
    hits, groups = [row[0] for row in rows], [row[2] for row in rows]
    interval = accuracy_interval(hits, groups, resamples=200)
    wilson = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low <= wilson.low + 1e-9
    assert interval.high >= wilson.high - 1e-9
    assert (interval.clips, interval.groups) == (len(hits), len(set(groups)))


def test_clips_that_are_right_together_count_as_few() -> None:
    groups = np.repeat(np.arange(20), 10)
    hits = np.repeat(hits_of(12, 20), 10)  # a group is right as a whole, or wrong
    whole, single = accuracy_interval(hits, groups), accuracy_interval(hits, np.arange(200))
    twenty = accuracy_interval(hits_of(12, 20), np.arange(20))
    assert (whole.low, whole.high) == pytest.approx((twenty.low, twenty.high), abs=0.02)
    assert whole.high - whole.low > 2.5 * (single.high - single.low)


def test_all_right_is_not_certain() -> None:
    interval = accuracy_interval(np.ones(83, dtype=bool), np.arange(83) // 2)
    assert (interval.value, interval.high) == (1.0, 1.0)
    assert interval.low == pytest.approx(binomtest(83, 83).proportion_ci(method="wilson").low)


def test_one_group_says_nothing_of_others() -> None:
    interval = accuracy_interval([True, True, False], ["a", "a", "a"])
    assert (interval.low, interval.high, interval.groups) == (0.0, 1.0, 1)
    gain = gain_interval([True, True], [False, True], [4, 4])
    assert (gain.value, gain.low, gain.high) == (0.5, -1.0, 1.0)


def test_the_seed_decides_the_resamples_and_names_of_groups_do_not() -> None:
    generator = np.random.default_rng(0)
    hits, groups = generator.random(300) < 0.7, np.sort(generator.integers(40, size=300))
    letters = np.array([f"person{group:02d}" for group in groups])
    assert accuracy_interval(hits, groups) == accuracy_interval(hits, letters)
    assert accuracy_interval(hits, groups) != accuracy_interval(hits, groups, seed=1)


def test_many_groups_are_drawn_in_blocks() -> None:
    generator = np.random.default_rng(0)
    hits = generator.random(6000) < 0.9
    interval = accuracy_interval(hits, np.arange(6000), resamples=400)  # more than a block holds
    wilson = binomtest(int(hits.sum()), 6000).proportion_ci(method="wilson")
    assert (interval.low, interval.high) == pytest.approx((wilson.low, wilson.high), abs=0.003)


@pytest.mark.parametrize("mean", [0.6, 0.9])
def test_it_holds_the_truth_about_as_often_as_it_says(mean: float) -> None:
    generator = np.random.default_rng(7)
    groups, held, held_by_clips = np.repeat(np.arange(40), 4), 0, 0
    for seed in range(200):
        skills = generator.beta(2 * mean, 2 * (1 - mean), size=40)  # groups differ much
        hits = generator.random(160) < np.repeat(skills, 4)
        interval = accuracy_interval(hits, groups, resamples=300, seed=seed)
        held += interval.low <= mean <= interval.high
        clips = accuracy_interval(hits, np.arange(160), resamples=300, seed=seed)
        held_by_clips += clips.low <= mean <= clips.high
    assert held / 200 >= 0.89
    assert held_by_clips < held  # clips taken for independent promise too much


# Two classifiers on the same clips


@given(any_hits)
@settings(deadline=None, max_examples=40)
def test_a_gain_turns_its_sign_with_the_classifiers(rows: list[tuple[bool, bool, int]]) -> None:
    left, right, groups = zip(*rows, strict=True)
    forth, back = gain_interval(left, right, groups, resamples=200), gain_interval(right, left, groups, resamples=200)
    assert -1 <= forth.low <= forth.value <= forth.high <= 1
    assert (forth.value, forth.low, forth.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert forth.value == pytest.approx(np.mean(left) - np.mean(right))


def test_what_is_hard_for_both_cancels_out() -> None:
    generator = np.random.default_rng(1)
    hits = generator.random(400) < 0.6
    better = hits | (np.arange(400) % 20 == 0)  # right where the other is, and on some more
    paired = gain_interval(better, hits, np.arange(400) // 2)
    alone = accuracy_interval(better, np.arange(400) // 2)
    assert paired.low > 0
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_two_that_agree_everywhere_differ_by_nothing_but_not_for_certain() -> None:
    hits = hits_of(80, 83)
    gain = gain_interval(hits, hits, np.arange(83))
    # Agresti and Min with no clip apart: 1.96 · sqrt(0.5 + 0.5) / (83 + 2)
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.0, -1.96 / 85, 1.96 / 85), abs=1e-5)


def test_a_gain_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    groups, held = np.repeat(np.arange(40), 4), 0
    for seed in range(200):
        easy = np.repeat(generator.random(40), 4)
        hits, others = generator.random(160) < 0.5 + 0.5 * easy, generator.random(160) < 0.4 + 0.5 * easy
        gain = gain_interval(hits, others, groups, resamples=300, seed=seed)
        held += gain.low <= 0.1 <= gain.high
    assert held / 200 >= 0.9


@pytest.mark.parametrize(("hits", "groups"), [([], []), ([True], [1, 2]), ([[True]], [1])])
def test_arrays_that_are_not_alike_are_refused(hits: list[bool], groups: list[int]) -> None:
    with pytest.raises(UsageError, match=r"hits \(N,\) and groups \(N,\), got"):
        accuracy_interval(hits, groups)


def test_a_gain_on_other_clips_is_refused() -> None:
    with pytest.raises(UsageError, match=r"same clips, got left.shape = \(2,\)"):
        gain_interval([True, False], [True], [1, 2])
