"""Which kind of vector index a segment gets, and how it is built: none up to a size, then HNSW or IVF-PQ.

vectors (N, D) -> faiss index, with the effort a search needs and the recall that it was measured to have
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from tristream.search.manifest import KINDS, Kind
from tristream.search.similarity import Floats32
from tristream.search.vectors import ApproximateIndex, ExactIndex
from tristream.streams.errors import UsageError

Progress = Callable[[int, int], None]

FLAT_BYTES = 128 << 20  # of vectors; to compare as many takes as long as to read them from memory
LEAST_ROWS: dict[Kind, int] = {"flat": 0, "hnsw": 1000, "ivfpq": 39 * 256}  # faiss wants 39 for each of 256 codes
HNSW_LINKS = 32  # M; twice as many on the lowest level
HNSW_BUILD_EFFORT = 80  # efConstruction
ADD_ROWS = 8192  # at a time, between two words on how far it is
TRAIN_ROWS = 64  # for each list of IVF, faiss wants 39 to 256
SCALE_ROWS = 65_536  # from which the ranges of 8-bit codes are learnt
DIMENSIONS_A_CODE = 8
# What the effort of a search is raised to until enough of the ten nearest are found.
EFFORTS = {
    "hnsw": (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048),
    "ivfpq": (4, 8, 16, 32, 64, 128, 256, 512),
}
ENOUGH_RECALL = 0.96
SAMPLE_QUERIES = 128  # for each way to weight streams: alike, each alone, at random
OTHER_SHARE = 0.7  # of another row, that makes a row as hard to find the nearest of as one that is in no collection
SAMPLE_K = 10


@dataclass(frozen=True)
class Built:
    """A faiss index with what a search in it takes and gives."""

    index: Any
    effort: int
    recall: float  # at 10 of sample queries, of the way to weight their streams that it is the lowest for


def hnsw_bytes(rows: int, width: int) -> int:
    """The memory of an HNSW index: a byte a dimension, and the links."""
    return rows * (width + 4 * 2 * HNSW_LINKS + 16)


def choose_kind(asked: str, rows: int, width: int, memory_bytes: int) -> Kind:
    """The kind of index for so many vectors: as asked, or by their number and the memory that it may take.

    Few are compared one by one whatever is asked: no approximate index could be trained on them, or be any faster.

    Raises:
        UsageError: no such kind.
    """
    if asked in KINDS:
        return asked if rows >= LEAST_ROWS[asked] else "flat"
    if asked != "auto":
        raise UsageError(f"no kind of index {asked!r}; there are auto, {', '.join(KINDS)}")
    if 4 * rows * width <= FLAT_BYTES:
        return "flat"
    return "hnsw" if hnsw_bytes(rows, width) <= memory_bytes else "ivfpq"


def build(kind: Kind, vectors: Floats32, blocks: Sequence[slice], progress: Progress) -> Built:
    """Build an approximate index and find out what effort it needs.

    Args:
        vectors: (N, D), all of the same length; read in pieces, so that they may lie in a file.
        blocks: where each stream's vector stands.
        progress: is told how many of how many vectors are in.
    """
    index = _trained(kind, vectors)
    for first in range(0, len(vectors), ADD_ROWS):
        index.add(np.ascontiguousarray(vectors[first : first + ADD_ROWS]))
        progress(index.ntotal, len(vectors))
    effort, recall = _tuned(kind, index, vectors, _sample_queries(vectors, blocks))
    return Built(index, effort, recall)


def _trained(kind: Kind, vectors: Floats32) -> Any:
    """An empty index that knows how to code such vectors."""
    rows, width = vectors.shape
    if kind == "hnsw":
        index: Any = faiss.IndexHNSWSQ(width, faiss.ScalarQuantizer.QT_8bit, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = HNSW_BUILD_EFFORT
        index.train(_some(vectors, SCALE_ROWS))
        return index
    lists = max(1, min(round(4 * sqrt(rows)), rows // 39))
    codes = next(size for size in range(max(1, width // DIMENSIONS_A_CODE), 0, -1) if width % size == 0)
    index = faiss.index_factory(width, f"IVF{lists},PQ{codes}np", faiss.METRIC_INNER_PRODUCT)
    index.train(_some(vectors, max(TRAIN_ROWS * lists, 256 * 256)))
    return index


def _some(vectors: Floats32, count: int) -> Floats32:
    """So many of the vectors, spread over all."""
    if len(vectors) <= count:
        return np.ascontiguousarray(vectors)
    chosen = np.sort(np.random.default_rng(0).choice(len(vectors), count, replace=False))
    return np.ascontiguousarray(vectors[chosen])


def _sample_queries(vectors: Floats32, blocks: Sequence[slice]) -> list[Floats32]:
    """Queries (Q, D) of each way to weight the streams: alike, each alone, at random.

    Half of them are some of the vectors (N, D), and half lie between two: as videos do that are not in the collection.
    """
    generator = np.random.default_rng(0)
    count, streams = min(SAMPLE_QUERIES, len(vectors)), len(blocks)
    alone = [np.tile(row, (count, 1)) for row in np.eye(streams)]
    ways = [np.ones((count, streams)), *alone, generator.dirichlet(np.ones(streams), count)]
    samples = []
    for weights in ways:  # each (Q, S)
        chosen = generator.choice(len(vectors), (2, count))
        queries = np.array(vectors[chosen[0]])
        queries[: count // 2] += np.float32(OTHER_SHARE) * vectors[chosen[1, : count // 2]]
        for block, weight in zip(blocks, weights.T, strict=True):
            queries[:, block] *= weight[:, None]
        samples.append(queries)
    return samples


def _tuned(kind: Kind, index: Any, vectors: Floats32, samples: Sequence[Floats32]) -> tuple[int, float]:
    """The least effort that finds enough of the nearest, whatever way streams are weighted, or the most; the recall."""
    k = min(SAMPLE_K, len(vectors))
    _, truth = ExactIndex(vectors).search(np.concatenate(samples), k)
    truths = np.split(truth, len(samples))
    effort, recall = 0, 0.0
    for effort in EFFORTS[kind]:
        found = ApproximateIndex(index, vectors, effort)
        recall = min(
            recall_of(found.search(queries, k)[1], nearest) for queries, nearest in zip(samples, truths, strict=True)
        )
        if recall >= ENOUGH_RECALL:
            break
    return effort, recall


def recall_of(found: NDArray[np.int64], nearest: NDArray[np.int64]) -> float:
    """The share of the nearest (Q, k) that were found (Q, k)."""
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, nearest, strict=True))
    return hits / nearest.size
