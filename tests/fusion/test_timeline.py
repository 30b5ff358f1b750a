"""What is said along a file: a span a clip for a program, neighbours of one class joined for a reader."""

import json
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tristream.fusion.classify import Verdict
from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.timeline import Span, lines_of, timeline_of

CLASSES = ("archery", "diving", "surfing")


def span(begin: float, end: float, best: int, *, audio: bool = True, level: str = "clip", sure: float = 0.8) -> Span:
    """A span whose most probable class is `best`."""
    probabilities = np.full(3, (1 - sure) / 2)
    probabilities[best] = sure
    shares = {"spatial": 3 * probabilities, "audio": audio * probabilities}
    return Span(
        level,
        begin,
        end,
        {"spatial": True, "audio": audio},
        Verdict(CLASSES, probabilities, sum(shares.values()), shares),
    )  # type: ignore[arg-type]


def told(bests: Sequence[int], whole: int = 0) -> list[Span]:
    """A video and its clips of 2 s."""
    clips = [span(2.0 * i, 2.0 * i + 2, best) for i, best in enumerate(bests)]
    return [span(0.0, 2.0 * len(bests), whole, level="video"), *clips]


def seconds_of(spans: Sequence[Span]) -> list[tuple[float, float, int]]:
    return [(each.start_seconds, each.end_seconds, each.verdict.order[0]) for each in spans]


def test_neighbours_of_one_class_are_joined_after_the_whole() -> None:
    assert seconds_of(timeline_of(told([0, 0, 1, 0]))) == [(0, 8, 0), (0, 4, 0), (4, 6, 1), (6, 8, 0)]


def test_clips_that_all_say_what_the_whole_says_are_left_out() -> None:
    whole, *clips = told([1, 1, 1], whole=1)
    assert timeline_of([whole, *clips]) == [whole]
    assert timeline_of([whole]) == [whole]
    assert seconds_of(timeline_of(told([1, 1, 1], whole=2))) == [(0, 6, 2), (0, 6, 1)]


def test_a_gap_is_not_joined_over_and_overlapping_clips_are() -> None:
    gap = [span(0, 6, 1, level="video"), span(0, 2, 0), span(4, 6, 0)]
    assert seconds_of(timeline_of(gap)) == [(0, 6, 1), (0, 2, 0), (4, 6, 0)]
    overlapping = [span(0, 6, 1, level="video"), span(0, 4, 0), span(2, 6, 0)]
    assert seconds_of(timeline_of(overlapping)) == [(0, 6, 1), (0, 6, 0)]


def test_a_joined_span_is_the_mean_by_length_and_has_what_any_clip_has() -> None:
    spans = [span(0, 4, 1, level="video"), span(0, 1, 0, sure=0.6), span(1, 4, 0, audio=False, sure=1.0)]
    joined = timeline_of(spans)[1]
    assert joined.verdict.probabilities[0] == pytest.approx(0.25 * 0.6 + 0.75 * 1.0)
    assert joined.verdict.shares["audio"][0] == pytest.approx(0.25 * 0.6)
    np.testing.assert_allclose(sum(joined.verdict.shares.values()), joined.verdict.scores)
    assert joined.present == {"spatial": True, "audio": True}


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12), st.integers(0, 2))
def test_a_timeline_covers_the_video_once_and_changes_class_at_each_end(bests: list[int], whole: int) -> None:
    video, *spans = timeline_of(told(bests, whole))
    assert (video.start_seconds, video.end_seconds) == (0, 2 * len(bests))
    if spans:
        assert [each.start_seconds for each in spans] == [0.0, *(each.end_seconds for each in spans[:-1])]
        assert spans[-1].end_seconds == 2 * len(bests)
    best = [each.verdict.order[0] for each in spans]
    assert all(before != after for before, after in pairwise(best))


def test_lines_are_plain_json_a_span_each() -> None:
    spans = [span(0, 4, 0, level="video"), span(0, 2, 1, audio=False)]
    result = VideoEmbedding("/\udcff.avi", "0123456789ab", duration_seconds=4.0, warnings=("truncated", "dark"))
    video, clip = json.loads(json.dumps(lines_of(result, spans, top=2), allow_nan=False))
    assert (video["level"], video["start_seconds"], video["end_seconds"]) == ("video", 0, 4)
    assert (video["path"], video["model_id"], video["error"]) == ("/\\udcff.avi", "0123456789ab", None)
    assert video["warning"] == "truncated; dark"
    assert video["present"] == ["spatial", "audio"]
    assert (clip["level"], clip["present"]) == ("clip", ["spatial"])
    assert [each["class"] for each in clip["classes"]] == ["diving", "archery"]
    assert clip["classes"][0]["streams"]["audio"] == 0


def test_a_failed_file_is_one_line_with_its_error() -> None:
    (line,) = lines_of(VideoEmbedding("/a.avi", "0123456789ab", error="/a.avi is empty"), [], top=3)
    assert line == {
        "path": "/a.avi",
        "level": "video",
        "start_seconds": 0.0,
        "end_seconds": None,
        "present": [],
        "classes": [],
        "warning": None,
        "error": "/a.avi is empty",
        "model_id": "0123456789ab",
    }
