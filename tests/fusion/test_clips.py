"""Step features along a video become one vector a clip."""

from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from tristream.fusion.clips import ClipEncoder
from tristream.fusion.windows import Windows
from tristream.streams.steps import Steps


def spread(sequences: Sequence[Tensor]) -> NDArray[np.float32]:
    """An encoder that tells which steps it was given: their count, first and last."""
    return np.array([[len(s), float(s[0, 0]), float(s[-1, 0])] for s in sequences], np.float32).reshape(-1, 3)


def clips_of(
    seconds: NDArray[np.float64],
    windows: Windows,
    duration_seconds: float,
    chunk: int = 7,
    max_steps: int = 180,
    repeat_last: bool = False,
) -> dict[int, NDArray[np.float32]]:
    """The clips' vectors when the steps at `seconds` come in chunks; a step's feature is its number."""
    encoder = ClipEncoder(windows, max_steps, spread, repeat_last)
    ends = np.append(seconds[1:], duration_seconds)
    for first in range(0, len(seconds), chunk):
        part = slice(first, min(first + chunk, len(seconds)))
        steps = Steps("spatial", seconds, seconds, ends, lambda part: np.zeros(0))
        encoder.add(torch.arange(part.start, part.stop, dtype=torch.float32)[:, None], steps, part)
    return encoder.finish(duration_seconds)


def test_each_clip_has_its_own_steps() -> None:
    vectors = clips_of(np.arange(0, 100, 0.5), Windows(36, 36), 100.0)
    assert {clip: list(vector) for clip, vector in vectors.items()} == {
        0: [72, 0, 71],
        1: [72, 72, 143],
        2: [56, 144, 199],
    }


def test_overlapping_clips_share_their_steps() -> None:
    vectors = clips_of(np.arange(0, 20, 1.0), Windows(10, 5), 20.0)
    assert {clip: list(vector) for clip, vector in vectors.items()} == {
        0: [10, 0, 9],
        1: [10, 5, 14],
        2: [10, 10, 19],
    }


def test_a_clip_between_two_frames_shows_the_one_that_stays() -> None:
    """Half a frame a second, clips of half a second: the frame that is on the screen stands for the clip."""
    vectors = clips_of(np.arange(0, 8, 2.0), Windows(0.5, 0.5), 8.0)
    assert [list(vectors[clip]) for clip in range(16)] == [[1, i // 4, i // 4] for i in range(16)]


def test_a_clip_with_more_steps_than_allowed_is_thinned_evenly() -> None:
    vectors = clips_of(np.arange(0, 36, 0.1), Windows(), 36.0, max_steps=10)
    assert list(vectors[0]) == [10, 0, 359]


def test_a_clips_last_step_is_repeated_where_an_encoder_needs_just_so_many() -> None:
    vectors = clips_of(np.arange(0, 13, 1.0), Windows(5, 5), 13.0, max_steps=5, repeat_last=True)
    assert {clip: list(vector) for clip, vector in vectors.items()} == {0: [5, 0, 4], 1: [5, 5, 9], 2: [5, 10, 12]}
    given: list[Tensor] = []

    def keep(sequences: Sequence[Tensor]) -> NDArray[np.float32]:
        given.extend(sequences)
        return spread(sequences)

    seconds = np.arange(3.0)
    encoder = ClipEncoder(Windows(5, 5), 6, keep, repeat_last=True)
    steps = Steps("spatial", seconds, seconds, seconds + 1, lambda part: np.zeros(0))
    encoder.add(torch.arange(3.0)[:, None], steps, slice(0, 3))
    encoder.finish(3.0)
    assert given[0][:, 0].tolist() == [0, 1, 2, 2, 2, 2]


@given(st.floats(0.5, 150), st.floats(0.02, 2), st.floats(0.1, 1), st.integers(1, 50))
@settings(deadline=None)
def test_with_the_last_step_repeated_every_clip_has_as_many_steps(
    duration_seconds: float, gap_seconds: float, share: float, max_steps: int
) -> None:
    windows, seconds = Windows(20, 20 * share), np.arange(0, duration_seconds, gap_seconds)
    bare = clips_of(seconds, windows, duration_seconds, max_steps=max_steps)
    repeated = clips_of(seconds, windows, duration_seconds, max_steps=max_steps, repeat_last=True)
    assert sorted(bare) == sorted(repeated)
    for clip, vector in repeated.items():
        assert vector.tolist() == [max_steps, *bare[clip][1:]]


def test_clips_in_which_the_stream_is_silent_are_absent() -> None:
    vectors = clips_of(np.arange(0, 10, 0.5), Windows(10, 10), 40.0)
    # The last step reaches to the end, as the last frame of a video does; so only a real gap leaves clips out.
    assert sorted(vectors) == [0, 1, 2, 3]
    encoder = ClipEncoder(Windows(10, 10), 180, spread)
    assert encoder.finish(40.0) == {}


@given(
    st.floats(1, 60), st.floats(0.1, 1), st.floats(0.5, 150), st.floats(0.02, 2), st.integers(1, 50), st.integers(1, 50)
)
@settings(deadline=None)
def test_how_the_steps_come_in_makes_no_difference(
    window: float, share: float, duration_seconds: float, gap_seconds: float, chunk: int, other_chunk: int
) -> None:
    windows = Windows(window, window * share)
    seconds = np.arange(0, duration_seconds, gap_seconds)
    one = clips_of(seconds, windows, duration_seconds, chunk)
    other = clips_of(seconds, windows, duration_seconds, other_chunk)
    assert sorted(one) == sorted(other) == list(range(windows.count(duration_seconds)))
    for clip in one:
        np.testing.assert_array_equal(one[clip], other[clip])
