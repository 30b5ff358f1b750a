"""Vector indexes: exact ones equal a sort, approximate ones nearly do."""

from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from tristream.search.kinds import Built, build, choose_kind, hnsw_bytes
from tristream.search.manifest import Kind
from tristream.search.similarity import unit
from tristream.search.vectors import ApproximateIndex, ExactIndex, read_faiss
from tristream.streams.errors import UsageError

ROWS, WIDTH, K = 12_000, 32, 10
Vectors = NDArray[np.float32]


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    """Unit vectors in clusters, as embeddings of videos are."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(200, WIDTH))
    return unit((centres[generator.integers(0, 200, ROWS)] + 0.7 * generator.normal(size=(ROWS, WIDTH))).astype("f4"))


@pytest.fixture(scope="module")
def queries(vectors: Vectors) -> Vectors:
    generator = np.random.default_rng(1)
    return unit(vectors[::400] + 0.1 * generator.normal(size=(30, WIDTH)).astype("f4"))


@pytest.fixture(scope="module", params=["hnsw", "ivfpq"])
def built(request: pytest.FixtureRequest, vectors: Vectors) -> tuple[Kind, Built]:
    kind: Kind = request.param
    told: list[tuple[int, int]] = []
    made = build(kind, vectors, [slice(0, WIDTH)], lambda done, total: told.append((done, total)))
    assert told[-1] == (ROWS, ROWS)
    return kind, made


def best(vectors: Vectors, queries: Vectors, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """The nearest of each query, by a sort."""
    scores = queries @ vectors.T
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :K]


def recall_of(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, truth, strict=True)]))


def test_exact_is_a_sort(vectors: Vectors, queries: Vectors) -> None:
    scores, rows = ExactIndex(vectors).search(queries, K)
    np.testing.assert_array_equal(rows, best(vectors, queries))
    np.testing.assert_allclose(scores, np.sort(queries @ vectors.T, axis=1)[:, : -K - 1 : -1], atol=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.01, 0.0003])
def test_exact_among_those_allowed(vectors: Vectors, queries: Vectors, share: float) -> None:
    allowed = np.random.default_rng(2).random(ROWS) < share
    _, rows = ExactIndex(vectors).search(queries, K, allowed)
    count = min(K, int(allowed.sum()))
    np.testing.assert_array_equal(rows[:, :count], best(vectors, queries, allowed)[:, :count])
    assert (rows[:, count:] == -1).all()


def test_exact_reads_a_file_that_is_mapped(vectors: Vectors, queries: Vectors, tmp_path: Path) -> None:
    vectors.tofile(tmp_path / "vectors")
    mapped = np.memmap(tmp_path / "vectors", "<f4", "r", shape=vectors.shape)
    np.testing.assert_array_equal(ExactIndex(mapped).search(queries, K)[1], best(vectors, queries))


def test_approximate_finds_as_many_as_it_says(built: tuple[Kind, Built], vectors: Vectors, queries: Vectors) -> None:
    _, made = built
    assert made.recall >= 0.95
    scores, rows = ApproximateIndex(made.index, vectors, made.effort).search(queries, K)
    assert recall_of(rows, best(vectors, queries)) == pytest.approx(made.recall, abs=0.03)  # measured with others
    for query, own, score in zip(queries, rows, scores, strict=True):  # scored by the vectors, not by their codes
        np.testing.assert_allclose(score, vectors[own] @ query, atol=1e-6)
        assert (np.diff(score) <= 0).all()


@pytest.mark.parametrize("share", [0.5, 0.15, 0.02])
def test_approximate_among_those_allowed(
    built: tuple[Kind, Built], vectors: Vectors, queries: Vectors, share: float
) -> None:
    _, made = built
    allowed = np.random.default_rng(2).random(ROWS) < share
    _, rows = ApproximateIndex(made.index, vectors, made.effort).search(queries, K, allowed)
    assert allowed[rows].all()
    assert recall_of(rows, best(vectors, queries, allowed)) >= 0.9


def test_approximate_is_read_back_from_a_file(
    built: tuple[Kind, Built], vectors: Vectors, queries: Vectors, tmp_path: Path
) -> None:
    _, made = built
    faiss.write_index(made.index, str(tmp_path / "index"))
    read = ApproximateIndex(read_faiss(tmp_path / "index"), vectors, made.effort)
    expected = ApproximateIndex(made.index, vectors, made.effort)
    np.testing.assert_array_equal(read.search(queries, K)[1], expected.search(queries, K)[1])


def test_more_may_be_asked_for_than_there_are(built: tuple[Kind, Built], vectors: Vectors, queries: Vectors) -> None:
    _, made = built
    scores, rows = ApproximateIndex(made.index, vectors, made.effort).search(queries[:1], ROWS + 100)
    assert rows.shape == scores.shape == (1, ROWS + 100)
    assert sorted(rows[0, :ROWS]) == list(range(ROWS))
    assert (rows[0, ROWS:] == -1).all()


@pytest.mark.parametrize("k", [300, 900])
def test_as_many_as_asked_for_are_found(built: tuple[Kind, Built], vectors: Vectors, queries: Vectors, k: int) -> None:
    _, made = built
    allowed = np.random.default_rng(3).random(ROWS) < 0.5
    for mask in (None, allowed):
        _, rows = ApproximateIndex(made.index, vectors, made.effort).search(queries, k, mask)
        assert rows.shape == (len(queries), k)
        assert all(len(np.unique(own)) == k and own.min() >= 0 for own in rows)
        assert mask is None or mask[rows].all()


def test_kinds_are_chosen_by_number_and_memory() -> None:
    assert choose_kind("auto", 40_000, 768, 0) == "flat"
    assert choose_kind("auto", 1_000_000, 768, hnsw_bytes(1_000_000, 768)) == "hnsw"
    assert choose_kind("auto", 1_000_000, 768, hnsw_bytes(1_000_000, 768) - 1) == "ivfpq"
    assert choose_kind("flat", 10**9, 768, 0) == "flat"


def test_a_kind_that_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="no kind of index 'annoy'; there are auto, flat, hnsw, ivfpq"):
        choose_kind("annoy", 1, 1, 1)
