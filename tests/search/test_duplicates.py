"""Groups of videos that are the same content."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
from fake_tables import MODEL_ID, put, vector_of, video

from tristream.fusion.embedding import VideoEmbedding
from tristream.search.duplicates import find_duplicates
from tristream.search.index import VideoIndex
from tristream.search.update import update_index
from tristream.streams.errors import SearchError, UsageError


def again(seed: int, path: str, seconds: float, *, silent: bool = False, height: int = 240) -> VideoEmbedding:
    """A re-encoded video of one clip: nearly the vector of its original."""
    vector = vector_of(seed) + 0.02 * vector_of(seed + 999)
    if silent:
        vector[10:] = 0
    return video(path, [vector], seconds=seconds, height=height)


def index_of(tmp_path: Path, videos: list[VideoEmbedding]) -> VideoIndex:
    update_index(put(tmp_path / "table", videos), tmp_path / "index")
    return VideoIndex(tmp_path / "index")


@pytest.fixture
def index(tmp_path: Path) -> VideoIndex:
    return index_of(
        tmp_path,
        [
            *(video(f"/others/{i}.avi", [vector_of(100 + i)], seconds=10) for i in range(20)),
            video("/short.avi", [vector_of(1)], seconds=4),
            again(1, "/short.mp4", 4.04, height=480),
            video("/long.avi", [vector_of(2)], seconds=60),
            again(2, "/long-silent.mp4", 60.1, silent=True),
            video("/longer-but-alike.avi", [vector_of(2)], seconds=80),
        ],
    )


def test_the_same_content_is_grouped_the_longest_first_and_the_best_of_each_first(index: VideoIndex) -> None:
    groups = find_duplicates(index)
    assert [[video.row["path"] for video in group.videos] for group in groups] == [
        ["/long-silent.mp4", "/long.avi"],  # the longer of two of one size
        ["/short.mp4", "/short.avi"],
    ]
    assert [group.spare_seconds for group in groups] == [60, 4]
    assert all(0.99 < group.videos[1].score <= 1 for group in groups)


def test_the_threshold_is_a_score(index: VideoIndex) -> None:
    assert find_duplicates(index, threshold=0.99999) == []
    with pytest.raises(UsageError, match="a threshold is a score from -1 to 1, got 2"):
        find_duplicates(index, threshold=2)


def test_many_copies_are_one_group(tmp_path: Path) -> None:
    copies = [video(f"/copy-{i:03d}.avi", [vector_of(1)], seconds=10) for i in range(100)]
    others = [video(f"/{i}.avi", [vector_of(50 + i)], seconds=10) for i in range(30)]
    (group,) = find_duplicates(index_of(tmp_path, [*copies, *others]))
    assert len(group.videos) == 100
    np.testing.assert_allclose([video.score for video in group.videos], 1, atol=1e-6)


def test_a_copy_is_found_among_many_that_are_alike_but_of_other_lengths(tmp_path: Path) -> None:
    alike = [video(f"/{i:03d}.avi", [vector_of(1) + 0.001 * vector_of(i)], seconds=10 + i) for i in range(2, 102)]
    copied = [video("/a.avi", [vector_of(1)], seconds=5), again(1, "/a.mp4", 5)]
    (group,) = find_duplicates(index_of(tmp_path, [*alike, *copied]))
    assert {video.row["path"] for video in group.videos} == {"/a.avi", "/a.mp4"}


def test_weights_say_what_is_the_same(tmp_path: Path) -> None:
    dubbed = vector_of(1)
    dubbed[10:] = vector_of(2)[10:]
    index = index_of(tmp_path, [video("/a.avi", [vector_of(1)]), video("/dubbed.avi", [dubbed])])
    assert find_duplicates(index) == []
    assert len(find_duplicates(index, weights={"spatial": 1, "temporal": 1})) == 1


def test_deleted_videos_are_no_duplicates(index: VideoIndex, tmp_path: Path) -> None:
    gone = VideoEmbedding("/short.mp4", MODEL_ID, error="gone")
    put(tmp_path / "table", [gone], contents={"/short.mp4": "e" * 64})
    update_index(tmp_path / "table", tmp_path / "index")
    assert len(find_duplicates(VideoIndex(tmp_path / "index"))) == 1


def test_an_index_without_videos_says_so(tmp_path: Path) -> None:
    index = index_of(tmp_path, [VideoEmbedding("/broken.avi", MODEL_ID, error="broken")])
    with pytest.raises(SearchError, match="holds no videos"):
        find_duplicates(index)
