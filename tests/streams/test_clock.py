"""Time stamps in, seconds that never go back out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tristream.streams.clock import MAX_SECONDS, Clock


def placed(
    stamps: list[float | None], start_seconds: float = 0.0, limit_seconds: float = 1e9
) -> tuple[list[float], int]:
    clock = Clock(start_seconds, limit_seconds)
    times = [round(clock.seconds(stamp, 0.04), 6) for stamp in stamps]
    return times, clock.repaired


def test_good_stamps_are_kept_from_the_files_start() -> None:
    assert placed([10.0, 10.04, 10.1, 12.0], start_seconds=10.0) == ([0, 0.04, 0.1, 2.0], 0)


def test_an_item_without_a_stamp_follows_the_one_before() -> None:
    assert placed([None, None, 1.0, None]) == ([0, 0.04, 1.0, 1.04], 0)


def test_the_same_stamp_twice_keeps_the_order() -> None:
    assert placed([1.0, 1.0, 1.04]) == ([1.0, 1.005, 1.04], 1)


def test_a_little_back_is_jitter() -> None:
    assert placed([1.0, 1.04, 1.02, 1.12]) == ([1.0, 1.04, 1.045, 1.12], 1)


def test_a_new_count_goes_on_where_the_old_one_ended() -> None:
    assert placed([5.0, 5.04, 0.0, 0.04, 0.08]) == ([5.0, 5.04, 5.08, 5.12, 5.16], 1)


def test_one_broken_stamp_moves_only_itself() -> None:
    assert placed([5.0, 5.04, 0.0, 5.12, 5.16]) == ([5.0, 5.04, 5.08, 5.12, 5.16], 1)
    assert placed([5.0, 5.04, 1e12, 5.12, 5.16]) == ([5.0, 5.04, 5.08, 5.12, 5.16], 1)


def test_stamps_past_the_limit_are_counted_instead() -> None:
    assert placed([0, 0.04, 31.0, 31.04], limit_seconds=30.0) == ([0, 0.04, 0.08, 0.12], 1)
    assert placed([0, MAX_SECONDS + 1])[0] == [0, 0.04]


@given(
    st.lists(st.tuples(st.none() | st.floats(-1e13, 1e13), st.floats(0.001, 10)), max_size=50),
    st.floats(-1e6, 1e6),
    st.floats(1, 1e6),
)
def test_time_rises_and_stays_bounded_whatever_the_stamps(
    items: list[tuple[float | None, float]], start_seconds: float, limit_seconds: float
) -> None:
    clock = Clock(start_seconds, limit_seconds)
    times = [clock.seconds(stamp, length) for stamp, length in items]
    assert all(after > before for before, after in pairwise(times))
    assert all(time <= min(limit_seconds, MAX_SECONDS) + sum(length for _, length in items) for time in times)


def test_a_first_stamp_long_before_the_start_is_broken() -> None:
    assert placed([-1e12, 0.04, -0.02]) == ([0, 0.04, 0.045], 2)
    assert placed([-0.02, 0.02]) == ([-0.02, 0.02], 0)  # a codec's lead


def test_the_longest_time_is_a_week() -> None:
    assert pytest.approx(7 * 24 * 3600) == MAX_SECONDS
