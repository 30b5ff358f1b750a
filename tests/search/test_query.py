"""What a user may name as the query."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
from fake_tables import DIMS, MODEL_ID, content_of, put, vector_of, video

from tristream.fusion.export import write_rows
from tristream.fusion.parts import read_rows
from tristream.search.query import Asked, Query, parse_query, query_of_npz
from tristream.streams.errors import SearchError, UsageError


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "a clip@home.avi"
    path.touch()
    return path


@pytest.mark.parametrize(
    ("span", "moment"),
    [
        ("12.5-17", (12.5, 17.0)),
        ("0-3", (0.0, 3.0)),
        ("1:02-1:10.5", (62.0, 70.5)),
        ("1:00:00-1:00:05", (3600.0, 3605.0)),
    ],
)
def test_a_moment_of_a_video(clip: Path, span: str, moment: tuple[float, float]) -> None:
    assert parse_query(f"{clip}@{span}") == Asked(clip, moment)


def test_a_whole_video_whatever_its_name(clip: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd.avi@1-2"
    odd.touch()
    assert parse_query(str(clip)) == Asked(clip)
    assert parse_query(str(odd)) == Asked(odd)


def test_a_row(tmp_path: Path) -> None:
    assert parse_query("0123456789abcdef" * 2) == Asked(row_id="0123456789abcdef" * 2)


@pytest.mark.parametrize("text", ["nothing.avi", "nothing.avi@1-2", "0123", "", "@1-2"])
def test_what_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"A query is a video, a moment of one \(clip.avi@12.5-17\)"):
        parse_query(text)


def test_a_moment_ends_after_it_begins(clip: Path) -> None:
    with pytest.raises(UsageError, match="a moment ends after it begins"):
        parse_query(f"{clip}@17-12.5")


def npz_of(tmp_path: Path, count: int) -> Path:
    table = put(tmp_path / "table", [video(f"/{i}.avi", [vector_of(i), vector_of(i + 50)]) for i in range(count)])
    write_rows(tmp_path / "query.npz", read_rows(table))
    return tmp_path / "query.npz"


def test_a_npz_file_of_one_video(tmp_path: Path) -> None:
    path = npz_of(tmp_path, 1)
    assert parse_query(str(path)).is_npz
    query = query_of_npz(path, DIMS, MODEL_ID)
    mean = np.mean([vector_of(0), vector_of(50)], axis=0)
    assert (query.model_id, query.path, query.content_sha256) == (MODEL_ID, "/0.avi", content_of("/0.avi"))
    np.testing.assert_allclose(query.vectors["spatial"], mean[:6] / np.linalg.norm(mean[:6]), atol=1e-6)


def test_a_npz_file_of_several_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="embeddings of 2 videos; a query is one"):
        query_of_npz(npz_of(tmp_path, 2), DIMS, MODEL_ID)


def test_a_moment_of_a_npz_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a moment is one of a video"):
        parse_query(f"{npz_of(tmp_path, 1)}@1-2")


def test_another_npz_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "pickled.npz", embedding=np.array([{}], dtype=object))
    (tmp_path / "empty.npz").write_bytes(b"")
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    for name in ("other.npz", "text.npz", "pickled.npz", "empty.npz", "array.npz"):
        with pytest.raises(UsageError, match="holds no embeddings as `embed-video -o FILE"):
            query_of_npz(tmp_path / name, DIMS, MODEL_ID)


def test_a_npz_file_of_another_model_is_refused_and_both_are_named(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=f"by model {MODEL_ID}, the index is of model fedcba987654"):
        query_of_npz(npz_of(tmp_path, 1), {"spatial": 6}, "fedcba987654")


def test_a_query_of_an_embedding_has_its_streams() -> None:
    result = video("/a.avi", [vector_of(1, ("spatial", "audio"))])
    query = Query.of_embedding(result)
    assert (query.model_id, query.path, query.start_seconds, query.end_seconds) == (MODEL_ID, "/a.avi", 0, 5)
    assert list(query.vectors) == ["spatial", "audio"]
    assert all(np.linalg.norm(vector) == pytest.approx(1) for vector in query.vectors.values())


def test_a_query_of_a_failure_is_refused() -> None:
    from tristream.fusion.embedding import VideoEmbedding

    with pytest.raises(UsageError, match="the query has no embedding: broken"):
        Query.of_embedding(VideoEmbedding("/a.avi", MODEL_ID, error="broken"))
