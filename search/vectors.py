"""Vectors in, the rows with the largest inner products out: faiss, exact or approximate, behind one small interface.

queries (Q, D), vectors (N, D) -> candidates (Q, C), or scores (Q, k) and rows (Q, k), the best first; -1 where there
are fewer

Within a segment all vectors have the same length, so that the largest inner product is the nearest neighbour, of a
query whose streams are weighted, too. What an approximate index proposes is scored again with the vectors themselves.
"""

from math import ceil
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from tristream.search.similarity import Floats32

Mask = NDArray[np.bool_]
Found = tuple[Floats32, NDArray[np.int64]]
# Where fewer than this share of its rows are allowed, an approximate index that passes the others over would miss many:
# all that are allowed are scored, which is quick, as there are few. So they are where more than this share is wanted.
NARROW = 0.1
SPARE = 8  # candidates beyond those asked for: more exact scores may put them in another order
MORE = 2  # so many times k are proposed and scored again, and
AT_LEAST_MORE = 32  # no fewer than so many beyond k
MORE_BY_CODES = 30  # of codes of a byte for eight dimensions


class VectorIndex(Protocol):
    """Finds the rows with the largest inner products."""

    def candidates(self, queries: Floats32, k: int, allowed: Mask | None = None) -> NDArray[np.int64]:
        """Rows (Q, C) out of the `allowed` (N,), among them the best k for each query (Q, D), and some more."""

    def search(self, queries: Floats32, k: int, allowed: Mask | None = None) -> Found:
        """The best k rows for each query (Q, D), out of the `allowed` (N,)."""


class ExactIndex:
    """All of them compared, in the memory they lie in, which may be a file's."""

    def __init__(self, vectors: Floats32) -> None:
        self._vectors = vectors  # (N, D)

    def candidates(self, queries: Floats32, k: int, allowed: Mask | None = None) -> NDArray[np.int64]:
        """Rows (Q, C) out of the `allowed` (N,), among them the best k for each query (Q, D), and some more."""
        return self.search(queries, min(k + SPARE, max(k, len(self._vectors))), allowed)[1]

    def search(self, queries: Floats32, k: int, allowed: Mask | None = None) -> Found:
        """The best k rows for each query (Q, D), out of the `allowed` (N,)."""
        count, width = self._vectors.shape
        scores = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        selector = None if allowed is None else _Selector(allowed)
        faiss.knn_inner_product(
            faiss.swig_ptr(np.ascontiguousarray(queries, np.float32)),
            faiss.swig_ptr(self._vectors),
            width,
            len(queries),
            count,
            k,
            faiss.swig_ptr(scores),
            faiss.swig_ptr(rows),
            None if selector is None else selector.faiss,
        )
        return scores, rows


class ApproximateIndex:
    """faiss's HNSW or IVF-PQ, whose proposals are scored again.

    Args:
        index: the faiss index of the vectors, in their order.
        vectors: (N, D).
        effort: efSearch of HNSW, nprobe of IVF-PQ.
    """

    def __init__(self, index: Any, vectors: Floats32, effort: int) -> None:
        self._index = index
        self._vectors = vectors
        self._effort = effort
        self._exact = ExactIndex(vectors)
        self._graph = hasattr(index, "hnsw")

    def candidates(self, queries: Floats32, k: int, allowed: Mask | None = None) -> NDArray[np.int64]:
        """Rows (Q, C) out of the `allowed` (N,), among them the best k for each query (Q, D), and some more."""
        share = 1.0 if allowed is None else float(allowed.mean())
        proposed = proposals(k, self._graph)
        if share < NARROW or proposed > NARROW * len(self._vectors):
            return self._exact.candidates(queries, k, allowed)
        effort = round(self._effort / share)
        selector = None if allowed is None else _Selector(allowed)
        chosen = None if selector is None else selector.faiss
        if self._graph:
            parameters = faiss.SearchParametersHNSW(efSearch=max(effort, proposed), sel=chosen)
        else:
            lists = self._index.nlist  # of which enough are looked into to hold twice what is proposed
            holding = ceil(2 * proposed / share * lists / len(self._vectors))
            parameters = faiss.SearchParametersIVF(nprobe=min(max(effort, holding), lists), sel=chosen)
        _, rows = self._index.search(queries, proposed, params=parameters)
        if (rows[:, :k] < 0).any():  # what it came upon is too little
            return self._exact.candidates(queries, k, allowed)
        return np.asarray(rows, np.int64)

    def search(self, queries: Floats32, k: int, allowed: Mask | None = None) -> Found:
        """The best k rows for each query (Q, D), out of the `allowed` (N,)."""
        rows = self.candidates(queries, k, allowed)
        scores = np.full(rows.shape, -np.inf, np.float32)
        for query, own, score in zip(queries, rows, scores, strict=True):
            valid = own >= 0
            score[valid] = self._vectors[own[valid]] @ query
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # (Q, k)
        return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def proposals(k: int, graph: bool) -> int:
    """How many rows an approximate index proposes for k."""
    return max((MORE if graph else MORE_BY_CODES) * k, k + AT_LEAST_MORE)


class _Selector:
    """The rows that faiss may return, with the bits it reads of them kept alive."""

    def __init__(self, allowed: Mask) -> None:
        self._bits = np.packbits(allowed, bitorder="little")
        self.faiss = faiss.IDSelectorBitmap(len(self._bits), faiss.swig_ptr(self._bits))


def read_faiss(path: Path) -> Any:
    """A faiss index, its codes and lists left in the file, which has been compared with its sha256 before."""
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY)
