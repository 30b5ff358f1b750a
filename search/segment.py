"""A segment of an index: vectors, what the table says of each, and, where there are many, an approximate index.

NAME.vectors      (N, D) float32, little-endian: the centred unit vectors of the streams that its rows have, joined
NAME.rows.arrow   (N) rows: the table's columns but `embedding`
NAME.hnsw, .ivfpq the approximate index, of faiss
NAME.deleted.npy  (N,) bool
"""

import os
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tristream.fusion.embedding import slices_of
from tristream.search.manifest import DELETED, ROWS, VECTORS, SegmentRecord, record_of
from tristream.search.similarity import Dims, Floats32
from tristream.search.vectors import ApproximateIndex, ExactIndex, Mask, VectorIndex, read_faiss
from tristream.streams.errors import SearchError

WRITE_ROWS = 16_384  # that wait at most before they are written


class Segment:
    """A segment opened for reading; its files have been checked before."""

    def __init__(self, folder: Path, record: SegmentRecord, dims: Dims) -> None:
        self.record = record
        self.blocks = slices_of(dims, record.streams)
        width = sum(dims[stream] for stream in record.streams)
        try:
            mapped = np.memmap(folder / record.file(VECTORS), "<f4", "r", shape=(record.rows, width))
            self.vectors: Floats32 = mapped.view(np.ndarray)  # whose rows are read with less ado
            with pa.memory_map(str(folder / record.file(ROWS))) as source:
                reader = pa.ipc.open_file(source)
                self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
            self.rows = pa.Table.from_batches(self._batches, reader.schema)
            self._firsts = [0, *accumulate(batch.num_rows for batch in self._batches)]  # row of each, and the end
            self._spans = [  # (B, 2) of each
                np.stack([batch[name].to_numpy() for name in ("start_seconds", "end_seconds")], axis=1)
                for batch in self._batches
            ]
            self.live: Mask | None = None
            for ending in record.files:
                if ending.endswith(DELETED):
                    self.live = ~np.load(folder / record.file(ending), allow_pickle=False)
            self.index: VectorIndex = ExactIndex(self.vectors)
            if record.kind in record.files:
                index = read_faiss(folder / record.file(record.kind))
                self.index = ApproximateIndex(index, self.vectors, record.effort)
        except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
            raise SearchError(f"segment {record.name} of {folder} cannot be opened: {error}") from error

    def live_rows(self) -> list[int]:
        """The rows that can be found."""
        rows: list[int] = (np.arange(self.record.rows) if self.live is None else np.flatnonzero(self.live)).tolist()
        return rows

    def numbers(self, condition: pc.Expression) -> list[int]:
        """The rows that can be found and that a condition holds for."""
        numbered = self.rows.append_column("number", pa.array(np.arange(len(self.rows))))
        found: list[int] = numbered.filter(condition)["number"].to_pylist()
        return [number for number in found if self.live is None or self.live[number]]

    def row(self, number: int) -> dict[str, Any]:
        """What the table says of a row."""
        batch, row = self._place(number)
        return {name: self._batches[batch][name][row].as_py() for name in self.rows.column_names}

    def span(self, number: int) -> tuple[str, float, float]:
        """The path, start and end of a row."""
        batch, row = self._place(number)
        return self._batches[batch]["path"][row].as_py(), *self._spans[batch][row].tolist()

    def _place(self, number: int) -> tuple[int, int]:
        """The batch that a row is in, and its number there: pyarrow would join batches to take a row of the table."""
        batch = bisect_right(self._firsts, number) - 1
        return batch, number - self._firsts[batch]

    def stream_vectors(self, number: int) -> dict[str, Floats32]:
        """The centred unit vector (D_s,) of each stream of a row."""
        return {stream: np.array(self.vectors[number, block]) for stream, block in self.blocks.items()}


class SegmentWriter:
    """Writes the files of a new segment, a batch of rows at a time; nothing names them before a manifest does."""

    def __init__(self, folder: Path, name: str, level: str, streams: tuple[str, ...], schema: pa.Schema) -> None:
        self._folder = folder
        self._record = SegmentRecord(name, level, streams, 0, {})
        self._vectors = (folder / self._record.file(VECTORS)).open("wb")
        self._sink = (folder / self._record.file(ROWS)).open("wb")
        self._rows = pa.ipc.new_file(self._sink, schema)
        self._count = 0

    def __enter__(self) -> "SegmentWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._vectors.close()
        self._sink.close()

    def add(self, vectors: Floats32, rows: pa.Table) -> None:
        """Unit vectors (N, D) of the segment's streams and their rows."""
        self._vectors.write(np.ascontiguousarray(vectors, "<f4").tobytes())
        self._rows.write_table(rows)
        self._count += len(vectors)

    def finish(self) -> SegmentRecord:
        """The record of the segment, which is on the disk then."""
        self._rows.close()
        files = {}
        for ending, file in ((VECTORS, self._vectors), (ROWS, self._sink)):
            file.flush()
            os.fsync(file.fileno())
            files[ending] = record_of(self._folder / self._record.file(ending))
        return SegmentRecord(self._record.name, self._record.level, self._record.streams, self._count, files)


def sync_file(path: Path) -> None:
    """Make what was written to a file last through a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def weighted(query: Mapping[str, Floats32], weights: Mapping[str, float], blocks: Mapping[str, slice]) -> Floats32:
    """A query (D,) whose inner product with a segment's rows is the weighted sum of the cosines of their streams."""
    width = max(block.stop for block in blocks.values())
    vector = np.zeros(width, np.float32)
    for stream, block in blocks.items():
        if stream in query:
            vector[block] = weights[stream] * query[stream]
    return vector
