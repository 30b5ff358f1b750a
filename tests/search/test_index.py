"""Searching an index: the same as comparing with every row, and errors that say what to do."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent))
from fake_tables import DIMS, MODEL_ID, centre_of, put, score_of, some_videos, vector_of, video

from tristream.fusion.embedding import VideoEmbedding
from tristream.search.filters import parse_filter
from tristream.search.index import VideoIndex
from tristream.search.query import Query
from tristream.search.update import update_index
from tristream.streams.errors import SearchError, UsageError

ALIKE = dict.fromkeys(DIMS, 1.0)


# Some with sound and some without, and one of sound alone.
VIDEOS = [*some_videos(30, clips=4), video("/videos/radio.mp3", [vector_of(77, ("audio",))])]
CENTRE = centre_of(VIDEOS)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> VideoIndex:
    folder = tmp_path_factory.mktemp("index")
    update_index(put(folder / "table", VIDEOS), folder / "index")
    return VideoIndex(folder / "index")


def query(seed: int, streams: tuple[str, ...] = tuple(DIMS)) -> Query:
    return Query.of_vector(vector_of(seed, streams), DIMS, MODEL_ID)


def scores(seed: int, streams: tuple[str, ...], weights: dict[str, float]) -> dict[str, float]:
    """The score of every clip that can be compared, by path@start."""
    vector = vector_of(seed, streams)
    scored = {
        f"{each.path}@{clip.start_seconds:g}": score_of(vector, clip.vector, weights, CENTRE)
        for each in VIDEOS
        for clip in each.clips
    }
    return {name: score for name, score in scored.items() if not np.isnan(score)}


weight = st.one_of(st.just(0.0), st.floats(0.01, 10))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    streams=st.sets(st.sampled_from(list(DIMS)), min_size=1).map(lambda chosen: tuple(s for s in DIMS if s in chosen)),
    weights=st.fixed_dictionaries(dict.fromkeys(DIMS, weight)).filter(lambda given: any(given.values())),
)
def test_weights_at_query_time_rank_as_comparing_with_every_row(
    index: VideoIndex, seed: int, streams: tuple[str, ...], weights: dict[str, float]
) -> None:
    expected = scores(seed, streams, weights)
    if not any(weights[stream] for stream in streams):
        with pytest.raises(UsageError, match="other --weights"):
            index.search(query(seed, streams), weights=weights)
        return
    # One a row: windows of a video overlap, and would be merged.
    hits = index.search(query(seed, streams), len(expected), weights=weights, merge=False)
    names = [f"{hit.path}@{hit.start_seconds:g}" for hit in hits]
    assert sorted(names) == sorted(expected)
    # By scores, not by names: of two that differ in the last bit either may come first.
    np.testing.assert_allclose([expected[name] for name in names], sorted(expected.values(), reverse=True), atol=1e-6)


def test_without_weights_the_models_own_count(tmp_path: Path) -> None:
    own = {"spatial": 1.0, "temporal": 0.5, "audio": 0.25}
    update_index(put(tmp_path / "table", VIDEOS, weights=own), tmp_path / "index")
    index = VideoIndex(tmp_path / "index")
    assert index.weights == own
    asked = index.search(query(5), 20, weights=own)
    assert [moment.score for moment in index.search(query(5), 20)] == [moment.score for moment in asked]
    alike = index.search(query(5), 20, weights=dict.fromkeys(own, 1.0))
    assert [moment.score for moment in asked] != [moment.score for moment in alike]


def test_the_score_is_the_sum_of_its_parts_and_a_mean_of_cosines(index: VideoIndex) -> None:
    weights = {"spatial": 1.0, "temporal": 0.5, "audio": 0.25}
    for moment in index.search(query(5), 20, weights=weights):
        assert sum(moment.parts.values()) == moment.score
        mass = sum(weights[stream] for stream in moment.cosines)
        mean = sum(weights[stream] * cosine for stream, cosine in moment.cosines.items()) / mass
        assert moment.score == pytest.approx(mean, abs=1e-12)
        assert ("audio" in moment.parts) == moment.row["has_audio"]


def test_a_clip_scores_as_itself_without_its_sound(tmp_path: Path) -> None:
    loud = vector_of(1)
    silent = loud.copy()
    silent[10:] = 0
    update_index(
        put(tmp_path / "table", [video("/loud.avi", [loud]), video("/silent.avi", [silent])]), tmp_path / "index"
    )
    index = VideoIndex(tmp_path / "index")
    for vector in (loud, silent):
        first, second = index.search(Query.of_vector(vector, DIMS, MODEL_ID))
        assert first.score == pytest.approx(1, abs=1e-6)
        assert second.score == pytest.approx(1, abs=1e-6)


def test_windows_that_overlap_a_better_one_are_merged_into_it(index: VideoIndex) -> None:
    moments = index.search(query(5), 1000)
    assert len({moment.path for moment in moments}) == len(moments) == 31  # windows of 5 s, one every second
    best: dict[str, float] = {}
    for hit in index.search(query(5), 1000, merge=False):
        best.setdefault(hit.path, hit.score)
    assert {moment.path: moment.score for moment in moments} == pytest.approx(best, abs=1e-12)


def test_moments_of_one_video_that_do_not_overlap_are_told_apart_unless_unique(tmp_path: Path) -> None:
    vectors = [vector_of(i) for i in range(16)]
    update_index(put(tmp_path / "table", [video("/long.avi", vectors)]), tmp_path / "index")
    index = VideoIndex(tmp_path / "index")
    found = Query.of_vector(vectors[3] + 0.9 * vectors[12], DIMS, MODEL_ID)
    moments = index.search(found, 2)
    assert [moment.start_seconds for moment in moments] == [3, 12]
    assert [moment.start_seconds for moment in index.search(found, 2, unique=True)] == [3]
    spans = [(moment.start_seconds, moment.end_seconds) for moment in index.search(found, 10)]
    assert all(a[1] <= b[0] or b[1] <= a[0] for a in spans for b in spans if a != b)


def test_as_many_as_asked_for_are_found_though_windows_are_merged(index: VideoIndex) -> None:
    assert [len(index.search(query(5), k)) for k in (1, 7, 31, 40)] == [1, 7, 31, 31]


def test_videos_are_searched_apart_from_clips(index: VideoIndex) -> None:
    vector = vector_of(5)
    expected = sorted((-score_of(vector, each.vector, ALIKE, CENTRE), each.path) for each in VIDEOS)
    moments = index.search(query(5), 50, level="video")
    assert [moment.path for moment in moments] == [path for _, path in expected]
    assert {moment.row["level"] for moment in moments} == {"video"}


def test_filters_leave_rows_out(index: VideoIndex) -> None:
    kept = index.search(query(5), 50, filters=[parse_filter("*/01?.avi"), parse_filter("has_audio == true")])
    assert sorted(moment.path for moment in kept) == [f"/videos/{i:03d}.avi" for i in range(10, 20) if i % 3]
    assert index.search(query(5), filters=[parse_filter("/nowhere/*")]) == []


def test_a_row_is_a_query_that_finds_itself_first(index: VideoIndex) -> None:
    first = index.search(query(5), 1)[0]
    own = index.query_of_row(first.row["id"])
    again = index.search(own, 2)
    assert (again[0].path, again[0].start_seconds) == (first.path, first.start_seconds)
    assert again[0].score == pytest.approx(1, abs=1e-6)
    others = index.search(own, 50, exclude_self=True)
    assert all(moment.path != first.path for moment in others)  # all its windows overlap
    assert len(others) == len(VIDEOS) - 1


def test_what_is_left_out_of_the_query_itself_is_what_overlaps_it(tmp_path: Path) -> None:
    vectors = [vector_of(i) for i in range(16)]
    update_index(put(tmp_path / "table", [video("/long.avi", vectors)]), tmp_path / "index")
    index = VideoIndex(tmp_path / "index")
    row = index.search(Query.of_vector(vectors[3], DIMS, MODEL_ID), 1)[0].row
    starts = {
        hit.start_seconds for hit in index.search(index.query_of_row(row["id"]), 16, exclude_self=True, merge=False)
    }
    assert starts == {8, 9, 10, 11, 12, 13, 14, 15}


def test_a_copy_under_another_name_is_the_query_itself_too(tmp_path: Path) -> None:
    vector = vector_of(1)
    table = put(
        tmp_path / "table",
        [video("/a.avi", [vector]), video("/copy.avi", [vector]), video("/b.avi", [vector_of(2)])],
        contents={"/a.avi": "c" * 64, "/copy.avi": "c" * 64},
    )
    update_index(table, tmp_path / "index")
    index = VideoIndex(tmp_path / "index")
    own = index.query_of_content("c" * 64)
    assert own is not None
    assert [moment.path for moment in index.search(own)] == ["/a.avi", "/copy.avi", "/b.avi"]
    assert [moment.path for moment in index.search(own, exclude_self=True)] == ["/b.avi"]


def test_a_query_of_another_model_is_refused_and_both_are_named(index: VideoIndex) -> None:
    other = Query.of_vector(vector_of(1), DIMS, "ba9876543210")
    with pytest.raises(SearchError, match=f"model ba9876543210, the index .* is of model {MODEL_ID} \\(fake\\)"):
        index.search(other)


def test_an_empty_index_says_so(tmp_path: Path) -> None:
    failed = VideoEmbedding("/broken.avi", MODEL_ID, error="broken")
    update_index(put(tmp_path / "table", [failed]), tmp_path / "index")
    with pytest.raises(SearchError, match="is empty: no row of its table has an embedding"):
        VideoIndex(tmp_path / "index").search(query(1))


def test_a_query_without_any_stream_that_rows_have_is_refused(tmp_path: Path) -> None:
    silent = [video("/silent.avi", [vector_of(1, ("spatial",))])]
    update_index(put(tmp_path / "table", silent), tmp_path / "index")
    with pytest.raises(UsageError, match=r"no clip in the index .* has audio, temporal"):
        VideoIndex(tmp_path / "index").search(query(1, ("temporal", "audio")))


def test_a_query_whose_streams_do_not_count_is_refused(index: VideoIndex) -> None:
    with pytest.raises(UsageError, match="the query has spatial, but what counts is audio: other --weights"):
        index.search(query(1, ("spatial",)), weights={"audio": 1.0})


@pytest.mark.parametrize(
    ("weights", "says"), [({"smell": 1.0}, "no stream 'smell'"), ({"spatial": 0.0}, "all weights are 0")]
)
def test_weights_that_cannot_be_are_refused(index: VideoIndex, weights: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        index.search(query(1), weights=weights)


def test_k_is_at_least_one(index: VideoIndex) -> None:
    with pytest.raises(UsageError, match="k is a number from 1, got 0"):
        index.search(query(1), 0)


def test_no_row_has_an_unknown_id(index: VideoIndex) -> None:
    with pytest.raises(UsageError, match=r"no row of the index .* has the id"):
        index.query_of_row("0" * 32)


@pytest.mark.parametrize(
    ("vector", "says"),
    [
        (np.zeros(15, np.float32), "no stream"),
        (np.ones(14, np.float32), r"vector.shape = \(14,\)"),
        (np.full(15, np.nan, np.float32), "finite"),
    ],
)
def test_a_vector_that_is_no_query_is_refused(vector: np.ndarray, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Query.of_vector(vector, DIMS, MODEL_ID)
