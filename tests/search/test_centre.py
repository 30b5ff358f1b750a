"""The centre of a collection: what all have in common is no likeness."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent))
from fake_tables import DIMS, MODEL_ID, put, some_videos, vector_of, video
from updates import fresh, results

from tristream.search.centre import PRIOR_ROWS, centred, find_centre, uncentred
from tristream.search.index import VideoIndex
from tristream.search.query import Query
from tristream.search.similarity import unit
from tristream.search.update import update_index


def test_the_centre_is_the_mean_of_the_unit_vectors_that_are_there() -> None:
    streams = {"spatial": 2, "audio": 2}
    vectors = np.array([[3, 0, 0, 5], [0, 4, 0, 0], [1, np.nan, 0, 1]], np.float32)
    for batches in ([vectors], [vectors[:1], vectors[1:]]):
        centre = find_centre(batches, streams)
        np.testing.assert_allclose(centre["spatial"], np.array([1, 1]) / (2 + PRIOR_ROWS))
        np.testing.assert_allclose(centre["audio"], np.array([0, 1]) / (1 + PRIOR_ROWS))


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), length=st.floats(0, 0.98))
def test_uncentred_is_the_inverse(seed: int, length: float) -> None:
    generator = np.random.default_rng(seed)
    vectors = unit(generator.normal(size=(3, 8)))
    centre = length * unit(generator.normal(size=(1, 8)))[0].astype(np.float64)
    moved = centred(vectors * 7, centre)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose([uncentred(each, centre) for each in moved], vectors, atol=1e-4)


def test_what_all_have_in_common_is_no_likeness(tmp_path: Path) -> None:
    """Features as networks give them: all of a stream alike, the more in the picture's than in the sound's."""
    shared = vector_of(1) * np.repeat([2.0, 0, 0.5], list(DIMS.values())).astype(np.float32)
    clips = [shared + vector_of(seed) for seed in range(2, 402)]
    for clip in clips[::2]:
        clip[-DIMS["audio"] :] = 0  # every other one is silent
    table = put(tmp_path / "table", [video(f"/{number:03d}.avi", [clip]) for number, clip in enumerate(clips)])
    update_index(table, tmp_path / "index")
    index = VideoIndex(tmp_path / "index")
    strangers = [Query.of_vector(shared + vector_of(seed), DIMS, MODEL_ID) for seed in range(1000, 1040)]
    ranked = [index.search(stranger, len(clips)) for stranger in strangers]
    for stream in DIMS:
        cosines = [hit.cosines[stream] for hits in ranked for hit in hits if stream in hit.cosines]
        assert abs(np.mean(cosines)) < 0.15, stream
    # Half of the clips have sound, and so have half of the best: it neither helps nor harms to have it.
    sounding = np.mean([hit.row["has_audio"] for hits in ranked for hit in hits[:100]])
    assert 0.4 < sounding < 0.6


def test_the_windows_of_few_long_videos_have_more_than_the_centre_in_common(tmp_path: Path) -> None:
    """All that a camera sees is alike: it is found again by that, however many windows there are of it."""
    scenes = [[vector_of(scene) + 0.3 * vector_of(100 * scene + i) for i in range(60)] for scene in (1, 2)]
    table = put(tmp_path / "table", [video(f"/{number}.avi", clips) for number, clips in enumerate(scenes)])
    update_index(table, tmp_path / "index")
    index = VideoIndex(tmp_path / "index")
    for number, clips in enumerate(scenes):
        noisy = Query.of_vector(clips[7] + 0.3 * vector_of(99), DIMS, MODEL_ID)
        (best,) = index.search(noisy, 1)
        assert (best.path, best.score > 0.85) == (f"/{number}.avi", True)


def test_a_small_table_is_indexed_as_if_made_at_once(tmp_path: Path) -> None:
    table, folder = put(tmp_path / "table", some_videos(10)), tmp_path / "index"
    update_index(table, folder)
    put(table, some_videos(2, first=10))
    update = update_index(table, folder)
    assert (update.added, update.removed) == (8, 0)
    assert results(folder) == fresh(table, tmp_path / "fresh")


def test_a_large_table_keeps_its_centre_until_it_has_doubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tristream.search.writer.SMALL_ROWS", 0)
    table, folder = put(tmp_path / "table", some_videos(10)), tmp_path / "index"
    update_index(table, folder)
    before = VideoIndex(folder).manifest
    put(table, some_videos(9, first=10))
    update = update_index(table, folder)
    assert (update.added, update.removed) == (36, 0)
    assert VideoIndex(folder).manifest.centre == before.centre
    put(table, some_videos(1, first=19))
    update = update_index(table, folder)
    assert (update.added, update.removed) == (4, 0)
    assert VideoIndex(folder).manifest.centre != before.centre
    assert results(folder) == fresh(table, tmp_path / "fresh")


def test_a_row_as_a_query_is_the_query_of_its_embedding(tmp_path: Path) -> None:
    videos = some_videos(40)
    update_index(put(tmp_path / "table", videos), tmp_path / "index")
    index = VideoIndex(tmp_path / "index")
    own = Query.of_vector(videos[7].clips[0].vector, DIMS, MODEL_ID)
    best = index.search(own, 1)[0]
    assert best.score == pytest.approx(1, abs=1e-6)
    row = index.query_of_row(best.row["id"])
    for stream in DIMS:
        np.testing.assert_allclose(row.vectors[stream], own.vectors[stream], atol=1e-6)
