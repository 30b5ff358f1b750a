"""Search at 10,000, 100,000 and 1,000,000 vectors: build time, memory, recall, and milliseconds a query.

    python benchmarks/search.py --like TABLE [--sizes 10000,100000,1000000] [--kinds auto] [--out FILE.json]

The vectors are made with the structure of those of TABLE, which has many clips of each of its videos: windows of 5 s,
one a second. Queries are windows that are not in the table: half of its videos, half of others. A table with so many
clips is written as embed-video writes it, and `index-video`'s own code makes the index, in a process of its own.

Each index is asked with all streams alike, with each alone, and with weights drawn at random; what is found is compared
with all vectors. Beside it, in the same run: faiss called directly, on the same graph or codes and with its own
refinement, and hnswlib (`pip install 'tristream[bench]'`). Windows that overlap are told one by one, as these tell
them; a row of the table is of moments merged, as `search-video` does.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from made_embeddings import DIMS, MODEL_ID, WINDOWS_A_VIDEO, Floats, Maker, spectra_of, write_table
from numpy.typing import NDArray
from trainings import Kept, in_a_process

from tristream.search.index import VideoIndex
from tristream.search.kinds import ENOUGH_RECALL, HNSW_BUILD_EFFORT, HNSW_LINKS, recall_of
from tristream.search.query import Query
from tristream.search.segment import Segment
from tristream.search.update import update_index
from tristream.search.vectors import ExactIndex, proposals

QUERIES = 200
K = 10
ROUNDS = 5
BUILD_COLUMNS = ("built, s", "1,000 more, s", "opened, s", "on disk, GB", "memory while built, GB")
SEARCH_COLUMNS = ("recall@10", "ms a query", "99 % within, ms", "faiss alone, ms", "ours takes more by")
SEARCH_FORMS = {
    "recall": "{:.3f}",
    "milliseconds": "{:.2f}",
    "slowest_milliseconds": "{:.2f}",
    "bare_milliseconds": "{:.2f}",
    "overhead": "{:.0%}",
}


def build(table: Path, folder: Path, kind: str) -> dict[str, Any]:
    """Make or update an index; its seconds, and the memory that the process came to."""
    began = time.perf_counter()
    update = update_index(table, folder, kind=kind)
    return {
        "seconds": time.perf_counter() - began,
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "index_gigabytes": sum(path.stat().st_size for path in folder.iterdir()) / 1e9,
        "kinds": sorted({record.kind for record in update.segments}),
        "added": update.added,
    }


def weightings(streams: Sequence[str]) -> dict[str, list[dict[str, float]]]:
    """What is asked: a name, and the weights for each query."""
    alike = dict.fromkeys(streams, 1.0)
    drawn = np.random.default_rng(3).dirichlet(np.ones(len(streams)), QUERIES)
    asked = {"alike": [alike] * QUERIES}
    asked |= {f"{stream} alone": [alike | dict.fromkeys(streams, 0.0) | {stream: 1.0}] * QUERIES for stream in streams}
    return asked | {"at random": [dict(zip(streams, row.tolist(), strict=True)) for row in drawn]}


def measure(folder: Path, maker: Maker, rows: int) -> dict[str, Any]:
    """Recall and milliseconds of an index, and of faiss called directly on the same files."""
    began = time.perf_counter()
    index = VideoIndex(folder)
    figures: dict[str, Any] = {"seconds to open": time.perf_counter() - began}
    (segment,) = (each for each in index.segments if each.record.level == "clip")
    videos = rows // WINDOWS_A_VIDEO
    of_table = np.random.default_rng(4).integers(0, videos, QUERIES // 2)
    vectors = maker.windows(np.concatenate([of_table, videos + np.arange(QUERIES - QUERIES // 2)]), 10**9)
    queries = [Query.of_vector(vector, index.dims, MODEL_ID) for vector in vectors]
    compared = [index.centred(query).vectors for query in queries]
    ids = np.array([int(each, 16) for each in segment.rows["id"].to_pylist()])  # (N,)
    bare = Bare(folder, segment)
    for name, asked in weightings(tuple(index.dims)).items():
        scaled = np.array(
            [
                np.concatenate([weights[stream] * vectors[stream] for stream in index.dims])
                for weights, vectors in zip(asked, compared, strict=True)
            ]
        )
        truth = ids[ExactIndex(segment.vectors).search(scaled, K)[1]]
        ours: list[Timed] = []
        theirs: list[Timed] = []
        for _ in range(1 + ROUNDS):  # in turn, as the machine is not always as fast; the first warms the caches
            # One after the other for all queries: who asks the same second would find it in the processor's cache.
            ours.append(timed(lambda query: index.search(query[0], K, weights=query[1], merge=False), queries, asked))
            theirs.append(timed(lambda vector: bare.search(vector[0][None]), scaled))
        found = np.array([[int(moment.row["id"], 16) for moment in moments] for moments in ours[-1].answers])
        milliseconds, bare_milliseconds = (
            np.median([each.milliseconds for each in some[1:]]) for some in (ours, theirs)
        )
        figures[name] = {
            "recall": recall_of(found, truth),
            "bare_recall": recall_of(ids[np.array(theirs[-1].answers)], truth),
            "milliseconds": float(milliseconds),
            "bare_milliseconds": float(bare_milliseconds),
            "overhead": float(
                np.median([a.milliseconds / b.milliseconds - 1 for a, b in zip(ours[1:], theirs[1:], strict=True)])
            ),
            "slowest_milliseconds": max(each.slowest_milliseconds for each in ours[1:]),
        }
    merged = [timed(lambda query: index.search(query[0], K), queries) for _ in range(1 + ROUNDS)][1:]
    figures["alike, moments merged"] = {
        "milliseconds": float(np.median([each.milliseconds for each in merged])),
        "slowest_milliseconds": max(each.slowest_milliseconds for each in merged),
    }
    return figures


@dataclass(frozen=True)
class Timed:
    """Answers, the median time that one took, and what all but 1 % took less than."""

    answers: list[Any]
    milliseconds: float
    slowest_milliseconds: float


def timed(answer: Callable[[tuple[Any, ...]], Any], *asked: Iterable[Any]) -> Timed:
    """Ask one after the other."""
    seconds, answers = [], []
    for each in zip(*asked, strict=True):
        began = time.perf_counter()
        answers.append(answer(each))
        seconds.append(time.perf_counter() - began)
    return Timed(answers, 1000 * float(np.median(seconds)), 1000 * float(np.quantile(seconds, 0.99)))


class Bare:
    """faiss called directly on an index's own files, with its own refinement by the vectors."""

    def __init__(self, folder: Path, segment: Segment) -> None:
        vectors = faiss.IndexFlatIP(segment.vectors.shape[1])
        vectors.add(np.ascontiguousarray(segment.vectors))
        self._index, self._parameters = vectors, None
        record = segment.record
        if record.kind == "flat":
            return
        proposed = faiss.read_index(str(folder / record.file(record.kind)), faiss.IO_FLAG_MMAP_IFC)
        graph = record.kind == "hnsw"
        factor = proposals(K, graph) / K
        inner = (
            faiss.SearchParametersHNSW(efSearch=max(record.effort, proposals(K, graph)))
            if graph
            else faiss.SearchParametersIVF(nprobe=record.effort)
        )
        self._kept = proposed, vectors
        self._index = faiss.IndexRefine(proposed, vectors)
        self._parameters = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)

    def search(self, query: Floats) -> NDArray[np.int64]:
        """The rows found for one query (1, D)."""
        rows: NDArray[np.int64] = self._index.search(query, K, params=self._parameters)[1][0]
        return rows


def with_hnswlib(folder: Path, queries: Floats) -> dict[str, Any]:
    """The same vectors in hnswlib's graph: float32 in memory, streams alike."""
    import hnswlib

    opened = VideoIndex(folder)
    vectors = max((each.vectors for each in opened.segments if each.record.level == "clip"), key=len)
    asked = [opened.centred(Query.of_vector(query, opened.dims, MODEL_ID)).vectors.values() for query in queries]
    queries = np.stack([np.concatenate(list(each)) for each in asked])
    began = time.perf_counter()
    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), M=HNSW_LINKS, ef_construction=HNSW_BUILD_EFFORT)
    index.add_items(vectors)
    seconds = time.perf_counter() - began
    truth = ExactIndex(vectors).search(queries, K)[1]
    figures: dict[str, Any] = {"seconds": seconds}
    for effort in (32, 64, 128, 256, 512):
        index.set_ef(effort)
        answered = timed(lambda query: index.knn_query(query[0][None], K, num_threads=1)[0][0], queries)
        figures |= {"effort": effort, "milliseconds": answered.milliseconds}
        figures["recall"] = recall_of(np.array(answered.answers, np.int64), truth)
        if figures["recall"] >= ENOUGH_RECALL:
            break
    figures["peak_gigabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return figures


def one_size(rows: int, kind: str, like: Path, others: bool) -> dict[str, Any]:
    """All figures of one size."""
    maker = Maker(spectra_of(like), DIMS)
    with tempfile.TemporaryDirectory() as temporary:
        table, folder = Path(temporary) / "table", Path(temporary) / "index"
        write_table(table, maker, DIMS, 0, rows)
        figures: dict[str, Any] = {"build": in_a_process(build, table, folder, kind)}
        figures["search"] = in_a_process(measure, folder, maker, rows)
        write_table(table, maker, DIMS, rows, 1000)
        figures["add 1000"] = in_a_process(build, table, folder, kind)
        if others:
            queries = maker.windows(np.random.default_rng(4).integers(0, rows // WINDOWS_A_VIDEO, QUERIES), 10**9)
            figures["hnswlib"] = in_a_process(with_hnswlib, folder, queries)
    return figures


def main() -> None:
    """Print two Markdown tables: of indexes, and of the ways to weight streams in each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--like", type=Path, required=True, help="a table of real videos, of many clips each")
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--kinds", default="auto", help="as in auto,ivfpq")
    parser.add_argument("--others-up-to", type=int, default=100_000, help="the largest size for hnswlib")
    parser.add_argument("--out", type=Path, help="keep the figures there, and go on from what is there")
    arguments = parser.parse_args()
    kept = Kept(arguments.out, {"like": arguments.like})
    if not (has_hnswlib := find_spec("hnswlib") is not None):
        print("hnswlib is not installed and left out: pip install 'tristream[bench]'", file=sys.stderr)
    for rows in map(int, arguments.sizes.split(",")):
        for kind in arguments.kinds.split(","):
            name = f"{rows} {kind}"
            if name not in kept.done:
                kept.add(name, one_size(rows, kind, arguments.like, has_hnswlib and rows <= arguments.others_up_to))
    print(f"| vectors, kind | {' | '.join(BUILD_COLUMNS)} |")
    print("| --- |" + " ---: |" * len(BUILD_COLUMNS))
    for name, figures in kept.done.items():
        print(f"| {named(name, figures)} | {' | '.join(build_cells(figures))} |")
    print(f"\n| vectors, kind | streams | {' | '.join(SEARCH_COLUMNS)} |")
    print("| --- | --- |" + " ---: |" * len(SEARCH_COLUMNS))
    for name, figures in kept.done.items():
        for streams, row in search_rows(figures):
            print(f"| {named(name, figures)} | {streams} | {' | '.join(row)} |")


def named(name: str, figures: dict[str, Any]) -> str:
    """Size and kind of an index."""
    return f"{int(name.split()[0]):,}, {' and '.join(figures['build']['kinds'])}"


def build_cells(figures: dict[str, Any]) -> list[str]:
    """What building an index took."""
    built, search = figures["build"], figures["search"]
    return [
        f"{built['seconds']:.1f}",
        f"{figures['add 1000']['seconds']:.1f}",
        f"{search['seconds to open']:.1f}",
        f"{built['index_gigabytes']:.2f}",
        f"{built['peak_gigabytes']:.1f}",
    ]


def search_rows(figures: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """What searching took, by the way streams are weighted."""
    for streams, row in figures["search"].items():
        if streams != "seconds to open":
            yield streams, [form.format(row[name]) if name in row else "-" for name, form in SEARCH_FORMS.items()]
    if other := figures.get("hnswlib"):
        cells = [f"{other['recall']:.3f}", f"{other['milliseconds']:.2f}", "-", "-", "-"]
        yield f"hnswlib, built in {other['seconds']:.0f} s, alike", cells


if __name__ == "__main__":
    main()
