"""The best rows of a segment for a query, and the moments that they are.

query: centred unit vectors (D_s,), weights -> inner products -> rows (C,) -> cosines (C, S) in float64 -> moments
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow.compute as pc

from tristream.search.filters import Filter, allowed_by
from tristream.search.query import Query
from tristream.search.segment import Segment, weighted
from tristream.search.similarity import Weights, cosines
from tristream.search.vectors import Mask


@dataclass(frozen=True, eq=False)
class Hit:
    """A row that is among the best."""

    segment: Segment
    number: int
    score: float
    parts: Mapping[str, float]
    cosines: Mapping[str, float]
    path: str
    start_seconds: float
    end_seconds: float

    @property
    def order(self) -> tuple[float, str, float]:
        """The best first, and those of one score in an order of their own."""
        return -self.score, self.path, self.start_seconds

    def overlaps(self, other: "Hit") -> bool:
        """Whether both are of one video, and have some of it in common."""
        return (
            self.path == other.path
            and self.start_seconds < other.end_seconds
            and other.start_seconds < self.end_seconds
        )


@dataclass(frozen=True, eq=False)
class Moment(Hit):
    """What is found: a span of a video, and why.

    Attributes:
        score: the weighted mean cosine over the streams that it and the query have, from -1 to 1; 0 is unrelated.
        parts: each of these streams' share of the score; they add up to it.
        cosines: of each of them.
    """

    @cached_property
    def row(self) -> Mapping[str, Any]:
        """What the table says of it."""
        return self.segment.row(self.number)


def mask_of(segment: Segment, filters: Sequence[Filter], excluded: Query | None) -> Mask | None:
    """The rows (N,) that may be found; None for all."""
    masks = [segment.live, allowed_by(filters, segment.rows)]
    if excluded is not None:
        masks.append(_others(segment, excluded))
    given = [mask for mask in masks if mask is not None]
    return np.logical_and.reduce(given) if given else None


def _others(segment: Segment, query: Query) -> Mask:
    """The rows (N,) that are not of a query's content, or of another time of it."""
    rows = segment.rows
    own = pc.or_(pc.equal(rows["content_sha256"], query.content_sha256), pc.equal(rows["path"], query.path))
    overlapping = pc.and_(
        pc.less(rows["start_seconds"], query.end_seconds), pc.greater(rows["end_seconds"], query.start_seconds)
    )
    others: Mask = pc.invert(pc.and_(own, overlapping)).to_numpy(zero_copy_only=False).astype(bool)
    return others


def best_rows(segment: Segment, mask: Mask | None, query: Query, weights: Weights, count: int) -> list[Hit]:
    """The `count` best rows of a segment, and those that score as much as the last; with their scores in float64."""
    vector = weighted(query.vectors, weights, segment.blocks)
    candidates = segment.index.candidates(vector[None], min(count, segment.record.rows), mask)[0]
    rows = candidates[candidates >= 0]  # (C,)
    counting = {name: block for name, block in segment.blocks.items() if name in query.vectors and weights[name]}
    values = cosines(query.vectors, segment.vectors[rows], counting)  # (C, S)
    shares = np.array([weights[stream] for stream in counting])
    parts = values * (shares / shares.sum())
    scores = parts.sum(axis=1)  # (C,)
    best = np.argsort(-scores)
    best = best[scores[best] >= scores[best[:count]].min(initial=np.inf)]
    hits = []
    for place, number in zip(best.tolist(), rows[best].tolist(), strict=True):
        path, begin, end = segment.span(number)
        parts_of = dict(zip(counting, parts[place].tolist(), strict=True))
        cosines_of = dict(zip(counting, values[place].tolist(), strict=True))
        hits.append(Hit(segment, number, float(scores[place]), parts_of, cosines_of, path, begin, end))
    return hits


def merged(hits: Sequence[Hit], unique: bool) -> list[Hit]:
    """The hits that no better one of their video overlaps (or, `unique`, goes before)."""
    kept: dict[str, list[Hit]] = {}
    for hit in hits:
        better = kept.setdefault(hit.path, [])
        if not any(unique or hit.overlaps(other) for other in better):
            better.append(hit)
    return sorted((hit for better in kept.values() for hit in better), key=lambda hit: hit.order)


def clock(seconds: float) -> str:
    """A time as 5.0, 1:05.0 or 1:00:05.0."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:04.1f}"
    return f"{minutes}:{rest:04.1f}" if minutes else f"{rest:.1f}"
