"""The same content more than once: videos whose vectors are nearly the same, in groups.

videos (N): nearest neighbours above a threshold, of like duration -> connected -> groups
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array  # type: ignore[import-untyped]
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

from tristream.search.index import VideoIndex
from tristream.search.segment import Segment
from tristream.search.similarity import Weights, checked_weights
from tristream.streams.errors import SearchError, UsageError

THRESHOLD = 0.9  # of `pocket`: it groups all copies of its training clips, and no others (benchmarks/copies.py)
# Of each video so many are looked at, and more where the last of them is alike, too; a group that is larger still holds
# together all the same, by those that its videos share.
NEIGHBOURS, MOST_NEIGHBOURS = 32, 512
QUERIES = 256  # videos at a time
ROUNDING = 1e-6  # of scores in float32
# Containers, frame rates and the padding of sound move the end of a video by this much at most.
DURATION_SECONDS, DURATION_SHARE = 0.2, 0.005


@dataclass(frozen=True)
class Duplicate:
    """A video of a group, and how like the group's first it is."""

    score: float
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """Videos of the same content, the one with the most pixels first."""

    videos: tuple[Duplicate, ...]

    @property
    def spare_seconds(self) -> float:
        """How much of it is there more than once."""
        return sum(video.row["duration_seconds"] or 0.0 for video in self.videos[1:])


def find_duplicates(
    index: VideoIndex,
    threshold: float = THRESHOLD,
    weights: Weights | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Group]:
    """The groups of videos of an index that are the same or re-encoded, those first that hold the most twice.

    Two videos are the same where their score is `threshold` or more and they are of like duration; a group is what
    hangs together by such pairs.

    Raises:
        SearchError: the index is empty.
        UsageError: a threshold or weights that cannot be.
    """
    if not -1 <= threshold <= 1:
        raise UsageError(f"a threshold is a score from -1 to 1, got {threshold:g}")
    weight_of = checked_weights(weights, index.weights)
    videos = _Videos([segment for segment in index.segments if segment.record.level == "video"])
    if not len(videos):
        raise SearchError(f"the index {index.folder} holds no videos")
    pairs = [np.zeros((2, 0), np.int64)]
    for batch in videos.batches():
        pairs += [np.stack(pair) for pair in videos.pairs_of(batch, weight_of, threshold)]
        progress(int(batch[-1]) + 1, len(videos))
    left, right = np.concatenate(pairs, axis=1)
    links = coo_array((np.ones(len(left), bool), (left, right)), (len(videos), len(videos)))
    _, labels = connected_components(links, directed=False)
    members: dict[int, list[int]] = {}
    for number in np.unique(left):  # every one is a neighbour of itself
        members.setdefault(int(labels[number]), []).append(int(number))
    groups = [videos.group(numbers, weight_of) for numbers in members.values() if len(numbers) > 1]
    return sorted(groups, key=lambda group: (-group.spare_seconds, group.videos[0].row["path"]))


class _Videos:
    """The videos of some segments under one numbering."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._firsts = np.cumsum([0, *(segment.record.rows for segment in segments)])  # and the end
        self._seconds = np.array(
            [seconds for segment in segments for seconds in segment.rows["duration_seconds"].to_pylist()], float
        )

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def batches(self) -> Iterator[NDArray[np.int64]]:
        """The numbers of all that can be found, a part of one segment at a time."""
        for segment, begin in zip(self._segments, self._firsts, strict=False):
            live = np.array(segment.live_rows(), np.int64)
            for first in range(0, len(live), QUERIES):
                yield begin + live[first : first + QUERIES]

    def pairs_of(
        self, batch: NDArray[np.int64], weights: Weights, threshold: float
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """The pairs (P,), (P,) of videos of a batch and others, or themselves, that are the same."""
        segment, rows = self._find(int(batch[0]))[0], batch - self._firsts[self._place(int(batch[0]))]
        for other, begin in zip(self._segments, self._firsts, strict=False):
            shared = [stream for stream in other.blocks if stream in segment.blocks and weights[stream]]
            if not shared:
                continue
            queries = np.zeros((len(rows), other.vectors.shape[1]), np.float32)
            for stream in shared:
                queries[:, other.blocks[stream]] = weights[stream] * segment.vectors[rows][:, segment.blocks[stream]]
            least = threshold * sum(weights[stream] for stream in shared) - ROUNDING
            asked, count, most = np.arange(len(rows)), NEIGHBOURS, min(MOST_NEIGHBOURS, other.record.rows)
            while len(asked):
                scores, found = other.index.search(queries[asked], min(count, most), other.live)  # (Q, k)
                alike = (found >= 0) & (scores >= least)
                at, column = np.nonzero(alike)
                left, right = batch[asked[at]], begin + found[at, column]
                same = self._of_like_duration(left, right)
                yield left[same], right[same]
                asked = asked[alike[:, -1]] if count < most else asked[:0]
                count *= 4

    def group(self, numbers: Sequence[int], weights: Weights) -> Group:
        """The group of these videos."""
        rows = {number: segment.row(row) for number in numbers for segment, row in [self._find(number)]}
        first, *others = sorted(numbers, key=lambda number: _rank(rows[number]))
        videos = [Duplicate(1.0, rows[first])]
        for number in others:
            videos.append(Duplicate(self._score(first, number, weights), rows[number]))
        return Group(tuple(videos))

    def _place(self, number: int) -> int:
        return int(np.searchsorted(self._firsts, number, side="right")) - 1

    def _find(self, number: int) -> tuple[Segment, int]:
        place = self._place(number)
        return self._segments[place], number - int(self._firsts[place])

    def _score(self, one: int, other: int, weights: Weights) -> float:
        (a, row_a), (b, row_b) = self._find(one), self._find(other)
        vectors_a, vectors_b = a.stream_vectors(row_a), b.stream_vectors(row_b)
        shared = [stream for stream in vectors_a if stream in vectors_b and weights[stream]]
        if not shared:  # of one group by a third
            return float("nan")
        parts = [weights[stream] * float(vectors_a[stream] @ vectors_b[stream]) for stream in shared]
        return sum(parts) / sum(weights[stream] for stream in shared)

    def _of_like_duration(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which pairs are, as far as their durations are known."""
        one, other = self._seconds[left], self._seconds[right]
        slack_seconds = np.maximum(DURATION_SECONDS, DURATION_SHARE * np.maximum(one, other))
        unlike: NDArray[np.bool_] = np.abs(one - other) > slack_seconds
        return ~unlike


def _rank(row: Mapping[str, Any]) -> tuple[int, float, str]:
    """The one to keep first: the most pixels, then the longest."""
    return -(row["width"] or 0) * (row["height"] or 0), -(row["duration_seconds"] or 0.0), row["path"]
