"""Calibration: false alarms on other normal footage are as many as was said, and too little footage is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tristream.anomaly.calibration import BLOCK_SECONDS, Calibration, block_peaks, hours_needed
from tristream.anomaly.events import EventFinder, Levels, Score
from tristream.streams.errors import UsageError

STRIDE_SECONDS = 0.5


def scores(hours: float, chance: np.random.Generator) -> NDArray[np.float64]:
    """Scores of normal footage: heavy-tailed, and alike for some seconds."""
    count = round(hours * 3600 / STRIDE_SECONDS)
    noise = chance.normal(size=count + 20)
    slow = np.convolve(noise, np.ones(8) / np.sqrt(8), "same")[10:-10]
    return np.exp(0.7 * slow)


def calibrated(hours: float, chance: np.random.Generator) -> Calibration:
    values = scores(hours, chance)
    return Calibration(block_peaks([(np.arange(len(values)) * STRIDE_SECONDS, values)]))


def alarms(values: NDArray[np.float64], calibration: Calibration, per_hour: float) -> int:
    """Events, as they are found in a stream of scores."""
    levels = Levels(calibration.threshold(per_hour), calibration.threshold(5 * per_hour), calibration.block_seconds)
    finder = EventFinder(levels, calibration)
    found = 0
    for number in np.flatnonzero(values > levels.calm):  # the others change nothing
        seconds = float(number) * STRIDE_SECONDS
        found += len(list(finder.add(Score(seconds, seconds + 1, float(values[number]), None, {}))))
    return found + len(list(finder.finish()))


@pytest.mark.parametrize("per_hour", [0.2, 1.0, 10.0])
def test_other_normal_footage_gives_as_many_false_alarms_as_was_said(per_hour: float) -> None:
    """Of 60 cameras, calibrated on 20 h and watched for 20 h each: 95 % are within their bounds, and few above."""
    chance = np.random.default_rng(round(100 * per_hour))
    above, total, hours = 0, 0, 20.0
    for _ in range(60):
        calibration = calibrated(hours, chance)
        count = alarms(scores(hours, chance), calibration, per_hour)
        low, high = calibration.bounds(per_hour, hours)
        assert 0 <= low <= high
        above += count > high
        total += count
    assert above <= 4  # 1.5 are expected: more than 4 have a probability of 1 in 100
    assert total / (60 * hours) <= 1.15 * per_hour  # events of two blocks count once, so rather fewer
    assert total / (60 * hours) >= 0.4 * per_hour


@pytest.mark.parametrize("per_hour", [1.0, 20.0])
def test_blocks_above_the_threshold_lie_within_bounds_on_both_sides(per_hour: float) -> None:
    chance = np.random.default_rng(1)
    within = 0
    for _ in range(200):
        calibration = calibrated(10, chance)
        blocks = scores(10, chance).reshape(-1, round(BLOCK_SECONDS / STRIDE_SECONDS)).max(axis=1)
        low, high = calibration.bounds(per_hour, 10)
        within += low <= int((blocks > calibration.threshold(per_hour)).sum()) <= high
    assert within >= 183  # of 95 % of 200, less than that has a probability of 1 in 50


def test_p_values_are_uniform_at_most() -> None:
    chance = np.random.default_rng(0)
    calibration = Calibration(np.sort(chance.normal(size=499)))
    values = [calibration.p_value(score) for score in chance.normal(size=4000).tolist()]
    for level in (0.01, 0.1, 0.5):
        assert np.mean(np.array(values) <= level) == pytest.approx(level, abs=0.05 * level**0.5 + 0.01)
    assert calibration.p_value(np.inf) == 1 / 500
    assert calibration.p_value(-np.inf) == 1.0


@given(rate=st.floats(0.05, 500))
def test_as_much_footage_as_is_said_to_be_needed_is_enough_and_less_is_not(rate: float) -> None:
    blocks = round(hours_needed(rate) * 3600 / BLOCK_SECONDS)
    enough = Calibration(np.arange(float(blocks)))
    assert enough.threshold(rate) == blocks - 1 or rate * BLOCK_SECONDS / 3600 * (blocks + 1) >= 2
    if blocks > 1:
        with pytest.raises(UsageError, match="held-out normal footage, and there"):
            Calibration(np.arange(blocks - 1.0)).threshold(rate)


def test_one_false_alarm_an_hour_takes_an_hour() -> None:
    assert hours_needed(1.0) == pytest.approx(1.0, abs=0.01)
    assert hours_needed(0.1) == pytest.approx(10.0, abs=0.01)
    assert hours_needed(1e6) == BLOCK_SECONDS / 3600


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_rates_that_cannot_be(rate: float) -> None:
    with pytest.raises(UsageError, match="must be positive"):
        Calibration(np.arange(1000.0)).threshold(rate)


def test_peaks_are_of_whole_blocks_of_each_run() -> None:
    seconds = np.arange(0, 23, 0.5)
    runs = [(seconds, seconds), (100 + seconds[:9], np.full(9, 50.0)), (np.zeros(0), np.zeros(0))]
    assert block_peaks(runs).tolist() == [4.5, 9.5, 14.5, 19.5, 50.0]  # 20 to 23 s is no whole block


def test_the_rate_that_is_proposed_can_be_had() -> None:
    calibration = Calibration(np.arange(37.0))
    assert calibration.threshold(calibration.lowest_rate) == 36.0
    with pytest.raises(UsageError) as refused:
        calibration.threshold(1.0)
    proposed = float(str(refused.value).rsplit(" ", 1)[1])
    assert calibration.threshold(proposed) == 36.0
    assert proposed == pytest.approx(calibration.lowest_rate, rel=0.01)
