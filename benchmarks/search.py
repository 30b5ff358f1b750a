"""Search at 10,000, 100,000 and 1,000,000 vectors: build time, memory, recall, and milliseconds a query.

    python benchmarks/search.py [--like TABLE] [--sizes 10000,100000,1000000] [--kinds auto] [--out FILE.json]

The vectors are made with the structure of real embeddings: videos are drawn with the spectrum of the differences
between the videos of TABLE, stream by stream, and the windows of a video with that of the differences within one.
(White noise has no neighbours to be found.) Queries are windows that are not in the table: half of its videos, half of
others. A table of the size is written as embed-video writes it, and `index-video`'s own code makes the index, in a
process of its own.

Each index is asked with all streams alike, with each alone, and with weights drawn at random; what is found is compared
with all vectors. Beside it, in the same run: faiss called directly, on the same graph or codes and with its own
refinement, and hnswlib where it is installed.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from trainings import Kept, in_a_process

from tristream.fusion.parts import TableKind, about_part, new_part, parts_of, read_part
from tristream.fusion.windows import Windows
from tristream.search.index import VideoIndex
from tristream.search.kinds import ENOUGH_RECALL, HNSW_BUILD_EFFORT, HNSW_LINKS
from tristream.search.query import Query
from tristream.search.rows import vectors_of
from tristream.search.segment import Segment
from tristream.search.similarity import blocks_of, unit
from tristream.search.update import update_index
from tristream.search.vectors import ExactIndex, proposals

MODEL_ID = "0123456789ab"
DIMS = {"spatial": 256, "temporal": 256, "audio": 256}  # pocket's
WINDOWS_A_VIDEO = 20
PART_ROWS = 50_000
QUERIES = 200
K = 10
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Spectrum:
    """How much unit vectors of a stream vary between videos and within one: deviations (D_s,), the largest first."""

    mean: float  # length of the mean vector
    between: Floats
    within: Floats


def spectrum_of(vectors: Floats, paths: Sequence[str], width: int) -> Spectrum:
    """What unit vectors (N, D) of videos vary by, in the `width` directions that matter most."""
    names, video = np.unique(paths, return_inverse=True)
    centres = np.stack([vectors[video == number].mean(axis=0) for number in range(len(names))])
    mean = centres.mean(axis=0)
    return Spectrum(
        float(np.linalg.norm(mean)), _deviations(centres - mean, width), _deviations(vectors - centres[video], width)
    )


def _deviations(differences: Floats, width: int) -> Floats:
    """The deviations (width,) along the principal axes; past what the rows can tell, by the power law of the last."""
    values = np.linalg.svd(differences, compute_uv=False) / np.sqrt(len(differences))
    known = min(len(values), max(8, len(differences) // 3))  # the last are too small, as rows are too few
    ranks = np.arange(1, width + 1)
    fitted = slice(known // 2, known)
    slope, offset = np.polyfit(np.log(ranks[:known][fitted]), np.log(values[:known][fitted]), 1)
    beyond = np.exp(offset + slope * np.log(ranks))
    beyond[:known] = values[:known]
    return beyond.astype(np.float32)


class Maker:
    """Makes embeddings of videos that are not."""

    def __init__(self, spectra: Mapping[str, Spectrum], dims: Mapping[str, int]) -> None:
        generator = np.random.default_rng(0)
        self._spectra = {stream: spectra[stream] for stream in dims}
        self._turns = {
            stream: np.linalg.qr(generator.normal(size=(size, size)))[0].astype(np.float32)
            for stream, size in dims.items()
        }

    def windows(self, videos: NDArray[np.int64], seed: int) -> Floats:
        """One window (N, D) of each of these videos; a video is the same whatever stands beside it."""
        of_windows = np.random.default_rng([1, seed])
        parts = []
        for number, (stream, spectrum) in enumerate(self._spectra.items()):
            width = len(spectrum.between)
            distinct, where = np.unique(videos, return_inverse=True)
            centres = np.stack(
                [np.random.default_rng([2, number, video]).standard_normal(width, np.float32) for video in distinct]
            )
            vectors = centres[where] * spectrum.between
            vectors += of_windows.standard_normal((len(videos), width), np.float32) * spectrum.within
            vectors[:, 0] += spectrum.mean
            parts.append(unit(vectors @ self._turns[stream]))
        return np.concatenate(parts, axis=1)


def write_table(folder: Path, maker: Maker, dims: Mapping[str, int], first: int, rows: int) -> None:
    """Add rows to a table, windows of videos from the one that row `first` is of."""
    schema = TableKind(MODEL_ID, "made", Windows(5.0, 5.0), dims).schema()
    folder.mkdir(exist_ok=True)
    for begin in range(first, first + rows, PART_ROWS):
        numbers = np.arange(begin, min(begin + PART_ROWS, first + rows))
        vectors = maker.windows(numbers // WINDOWS_A_VIDEO, begin)
        starts = 5.0 * (numbers % WINDOWS_A_VIDEO)
        values: dict[str, Any] = {
            "id": [f"{number:032x}" for number in numbers],
            "embedding": pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), vectors.shape[1]),
            "level": ["clip"] * len(numbers),
            "path": [f"/videos/{number // WINDOWS_A_VIDEO:08d}.avi" for number in numbers],
            "start_seconds": starts,
            "end_seconds": starts + 5.0,
            "model_id": [MODEL_ID] * len(numbers),
            "status": ["ok"] * len(numbers),
        }
        columns = [
            pa.array(values[name], kind) if name in values else pa.nulls(len(numbers), kind)
            for name, kind in zip(schema.names, schema.types, strict=True)
        ]
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), new_part(folder), write_page_checksum=True)


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
    index = VideoIndex(folder)
    (segment,) = index.segments
    videos = rows // WINDOWS_A_VIDEO
    of_table = np.random.default_rng(4).integers(0, videos, QUERIES // 2)
    vectors = maker.windows(np.concatenate([of_table, videos + np.arange(QUERIES - QUERIES // 2)]), 10**9)
    queries = [Query.of_vector(vector, index.dims, MODEL_ID) for vector in vectors]
    ids = np.array([int(each, 16) for each in segment.rows["id"].to_pylist()])  # (N,)
    bare = Bare(folder, segment)
    figures: dict[str, Any] = {}
    for name, asked in weightings(tuple(index.dims)).items():
        scaled = np.concatenate(
            [
                vectors[:, block] * np.array([[weights[stream]] for weights in asked], np.float32)
                for stream, block in blocks_of(index.dims, tuple(index.dims)).items()
            ],
            axis=1,
        )
        truth = ids[ExactIndex(segment.vectors).search(scaled, K)[1]].tolist()
        for _ in range(2):  # the first warms the caches
            ours_seconds, bare_seconds, found, bare_found = [], [], [], []
            for query, weights, vector in zip(queries, asked, scaled, strict=True):
                began = time.perf_counter()
                moments = index.search(query, K, weights=weights, merge=False)
                middle = time.perf_counter()
                bare_rows = bare.search(vector[None])
                bare_seconds.append(time.perf_counter() - middle)
                bare_found.append(ids[bare_rows].tolist())
                ours_seconds.append(middle - began)
                found.append([int(moment.row["id"], 16) for moment in moments])
        figures[name] = {
            "recall": recall(found, truth),
            "bare_recall": recall(bare_found, truth),
            "milliseconds": 1000 * float(np.median(ours_seconds)),
            "bare_milliseconds": 1000 * float(np.median(bare_seconds)),
            "slowest_milliseconds": 1000 * float(np.quantile(ours_seconds, 0.99)),
        }
    return figures


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


def recall(found: Sequence[Sequence[int]], truth: Sequence[Sequence[int]]) -> float:
    """The share of the nearest that were found."""
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)]))


def with_hnswlib(table: Path, queries: Floats) -> dict[str, Any]:
    """The same vectors in hnswlib's graph: float32 in memory, streams alike."""
    import hnswlib

    vectors = np.concatenate([vectors_of(read_part(part, ["embedding"])) for part in parts_of(table)])
    began = time.perf_counter()
    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), M=HNSW_LINKS, ef_construction=HNSW_BUILD_EFFORT)
    index.add_items(vectors)
    seconds = time.perf_counter() - began
    truth = ExactIndex(vectors).search(queries, K)[1].tolist()
    figures: dict[str, Any] = {"seconds": seconds}
    for effort in (32, 64, 128, 256, 512):
        index.set_ef(effort)
        taken, found = [], []
        for query in queries:
            began = time.perf_counter()
            found.append(index.knn_query(query[None], K, num_threads=1)[0][0].tolist())
            taken.append(time.perf_counter() - began)
        figures |= {"effort": effort, "recall": recall(found, truth), "milliseconds": 1000 * float(np.median(taken))}
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
        if others:
            queries = maker.windows(np.random.default_rng(4).integers(0, rows // WINDOWS_A_VIDEO, QUERIES), 10**9)
            figures["hnswlib"] = in_a_process(with_hnswlib, table, queries)
        write_table(table, maker, DIMS, rows, 1000)
        figures["add 1000"] = in_a_process(build, table, folder, kind)
    return figures


def spectra_of(like: Path) -> dict[str, Spectrum]:
    """The spectra of a table's streams; of a stream that it has not, those of its first."""
    parts = [read_part(part) for part in parts_of(like)]
    rows = pa.concat_tables(parts).filter((pc.field("level") == "clip") & (pc.field("status") == "ok"))
    places = about_part(parts_of(like)[0])["streams"]
    vectors, paths = vectors_of(rows), rows["path"].to_pylist()
    spectra = {}
    for stream, place in places.items():
        own = vectors[:, place["offset"] : place["offset"] + place["length"]]
        having = own.any(axis=1)
        spectra[stream] = spectrum_of(unit(own[having]), np.array(paths)[having].tolist(), DIMS[stream])
    first = next(iter(spectra.values()))
    return {stream: spectra.get(stream, first) for stream in DIMS}


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--like", type=Path, required=True, help="a table of real videos, of many clips each")
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--kinds", default="auto", help="as in auto,ivfpq")
    parser.add_argument("--others-up-to", type=int, default=100_000, help="the largest size for hnswlib")
    parser.add_argument("--out", type=Path, help="keep the figures there, and go on from what is there")
    arguments = parser.parse_args()
    kept = Kept(arguments.out, {"like": arguments.like})
    has_hnswlib = find_spec("hnswlib") is not None
    for rows in map(int, arguments.sizes.split(",")):
        for kind in arguments.kinds.split(","):
            name = f"{rows} {kind}"
            if name not in kept.done:
                kept.add(name, one_size(rows, kind, arguments.like, has_hnswlib and rows <= arguments.others_up_to))
            print(name, json.dumps(kept.done[name], indent=1), flush=True)


if __name__ == "__main__":
    main()
