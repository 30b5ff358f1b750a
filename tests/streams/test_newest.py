"""Who falls behind gets the newest, and knows what is missing."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tristream.streams import newest as module
from tristream.streams.errors import SourceError
from tristream.streams.frame import Frame
from tristream.streams.media_info import AudioBlock
from tristream.streams.newest import Newest


@dataclass
class Coded:
    height: int = 48
    width: int = 64
    rotation: int = 0


def frame(number: int, width: int = 64) -> Frame:
    return Frame(number / 10, 0.1, Coded(width=width), width, False, None)  # type: ignore[arg-type]


def seconds_of(newest: Newest) -> list[list[float]]:
    return [[item.start_seconds for item in run] for run in newest.runs()]


def test_what_is_taken_in_time_comes_whole() -> None:
    newest = Newest()
    for number in range(20):
        newest.put(frame(number))
    newest.end()
    assert seconds_of(newest) == [[number / 10 for number in range(20)]]
    assert (newest.came, newest.dropped, newest.take_gaps()) == (20, 0, ())


def test_frames_that_wait_too_long_are_dropped_together_and_sound_is_kept() -> None:
    newest = Newest(waiting_seconds=0.05)
    for number in range(5):
        newest.put(frame(number))
    newest.put(AudioBlock(0.2, np.zeros(10, np.float32)))
    time.sleep(0.1)
    for number in range(5, 8):
        newest.put(frame(number))
    newest.end()
    assert seconds_of(newest) == [[0.2], [0.5, 0.6, 0.7]]
    assert (newest.came, newest.dropped) == (8, 5)
    assert newest.take_gaps() == ((0.0, 0.5),)
    assert newest.take_gaps() == ()


def test_memory_is_bounded_by_pixels_and_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PIXELS", 10 * 48 * 64)
    newest = Newest(waiting_seconds=100)
    for number in range(100):
        newest.put(frame(number))
    assert newest.dropped == 99  # eleven at a time
    for number in range(50):
        newest.put(AudioBlock(number, np.zeros(16_000, np.float32)))
    newest.end()
    blocks = [item for run in newest.runs() for item in run if isinstance(item, AudioBlock)]
    assert [block.start_seconds for block in blocks] == list(range(29, 50))
    assert newest.take_gaps()[0] == (0.0, 1.1)  # what is missing is known, whatever sound went


def test_frames_after_a_pause_are_another_run() -> None:
    newest = Newest()
    for number in [*range(10), 30, 31]:
        newest.put(frame(number))
    newest.end()
    assert [len(run) for run in seconds_of(newest)] == [10, 2]
    assert newest.take_gaps() == (pytest.approx((1.0, 3.0)),)
    assert newest.dropped == 0


def test_a_camera_that_is_slow_by_nature_has_no_pauses() -> None:
    newest = Newest()
    for number in range(0, 100, 20):  # it says ten frames a second, and gives one in two seconds
        newest.put(frame(number))
    newest.end()
    assert [len(run) for run in seconds_of(newest)] == [5]


def test_pictures_of_another_size_are_another_run() -> None:
    newest = Newest()
    for number in range(6):
        newest.put(frame(number, 64 if number < 3 else 32))
    newest.end()
    assert seconds_of(newest) == [[0.0, 0.1, 0.2], [0.3, 0.4, 0.5]]


def test_what_ended_it_is_raised_after_the_last_frame() -> None:
    newest = Newest()
    newest.put(frame(0))
    newest.end(SourceError("gone"))
    taken: list[Any] = []
    with pytest.raises(SourceError, match="gone"):
        for run in newest.runs():
            taken += run
    assert len(taken) == 1


def test_the_frame_that_was_under_way_for_the_shortest_time_sets_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    newest = Newest()
    for number, late in enumerate([0.5, 0.3, 0.0, 0.2, 0.4]):
        now = 1000.0 + number / 10 + late
        newest.put(frame(number))
    assert newest.began_seconds == pytest.approx(1000.0, abs=1e-3)
