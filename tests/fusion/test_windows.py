"""How a video is cut into clips."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tristream.fusion.windows import SHORTEST_REST_SECONDS, Windows
from tristream.streams.errors import UsageError

windows = st.builds(
    lambda window, share: Windows(window, window * share),
    st.floats(0.5, 100),
    st.floats(0.05, 1),
)


@pytest.mark.parametrize(
    ("duration_seconds", "spans"),
    [
        (0.5, [(0, 0.5)]),
        (36.0, [(0, 36.0)]),
        (36.5, [(0, 36.5)]),  # half a second is no clip of its own
        (37.0, [(0, 36), (36, 37.0)]),
        (72.0, [(0, 36), (36, 72.0)]),
        (100.0, [(0, 36), (36, 72), (72, 100.0)]),
    ],
)
def test_default_spans(duration_seconds: float, spans: list[tuple[float, float]]) -> None:
    cut = Windows()
    assert [cut.span(i, duration_seconds) for i in range(cut.count(duration_seconds))] == spans


def test_overlapping_spans() -> None:
    cut = Windows(10, 5)
    assert [cut.span(i, 22) for i in range(cut.count(22))] == [(0, 10), (5, 15), (10, 20), (15, 22)]


@given(windows, st.floats(0.01, 1000))
def test_clips_cover_the_whole_video(cut: Windows, duration_seconds: float) -> None:
    spans = [cut.span(i, duration_seconds) for i in range(cut.count(duration_seconds))]
    assert spans[0][0] == 0
    assert spans[-1][1] == duration_seconds
    for (_, end_seconds), (start_seconds, _) in pairwise(spans):
        assert start_seconds <= end_seconds + 1e-9  # no footage between two clips
    for start_seconds, end_seconds in spans:
        assert 0 < end_seconds - start_seconds <= cut.window_seconds + SHORTEST_REST_SECONDS + 1e-9


@given(windows, st.floats(0.01, 500), st.floats(0, 500))
def test_a_longer_video_never_has_fewer_clips(cut: Windows, duration_seconds: float, more_seconds: float) -> None:
    assert cut.count(duration_seconds) <= cut.count(duration_seconds + more_seconds)


@pytest.mark.parametrize(
    ("window", "stride"), [(0, 1), (-1, 1), (10, 0), (10, 11), (float("nan"), 1), (float("inf"), 1)]
)
def test_refuses_windows_that_leave_footage_out(window: float, stride: float) -> None:
    with pytest.raises(UsageError):
        Windows(window, stride)
