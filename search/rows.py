"""Rows of an embedding table on their way into an index: told apart, and split by the streams that they have.

rows (N), `embedding` (N, D) -> of each level and set of streams: centred unit vectors (N_s, D_s) joined, rows (N_s)
"""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tristream.fusion.embedding import slices_of
from tristream.fusion.parts import batches_of, open_part, parts_of
from tristream.search.centre import Centre, centred
from tristream.search.similarity import Dims, Floats32
from tristream.search.vectors import Mask

Key = bytes
Where = tuple[str, tuple[str, ...]]  # level, streams


def video_embeddings_of(table: Path, rows_at_once: int) -> Iterator[Floats32]:
    """The embeddings (N, D) of a table's whole videos, in batches; NaN where there is none.

    Raises:
        TableError: a part is damaged.
    """
    for part in parts_of(table):
        with open_part(part) as file:
            for batch in batches_of(file, rows_at_once, ["embedding", "level"]):
                yield vectors_of(batch.filter(pc.field("level") == "video"))


def keys_of(rows: pa.Table) -> Iterator[Key]:
    """What tells rows apart: the id names content and span, and one content may lie under several paths."""
    for row_id, path in zip(rows["id"].to_pylist(), rows["path"].to_pylist(), strict=True):
        yield blake2b(f"{row_id}\0{path}".encode(), digest_size=16).digest()


def vectors_of(rows: pa.Table) -> Floats32:
    """The embeddings (N, D) of rows; NaN where there is none."""
    column = rows["embedding"].combine_chunks()
    vectors = np.full((len(column), column.type.list_size), np.nan, np.float32)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    vectors[valid] = column.flatten().to_numpy().reshape(-1, column.type.list_size)
    return vectors


def split_rows(rows: pa.Table, dims: Dims, centre: Centre) -> Iterator[tuple[Where, Floats32, pa.Table]]:
    """The rows by level and streams, with the centred unit vectors of these.

    A stream is there where its vector is not all zero. Rows that have none, or hold what is no finite number, are left
    out.
    """
    vectors = vectors_of(rows)  # (N, D)
    about = rows.drop_columns(["embedding"]).replace_schema_metadata(None)
    blocks = slices_of(dims)
    present: Mask = np.stack([np.any(vectors[:, block], axis=1) for block in blocks.values()], axis=1)  # (N, S)
    present[~np.isfinite(vectors).all(axis=1)] = False
    groups: dict[Where, list[int]] = {}
    for row, (level, having) in enumerate(zip(rows["level"].to_pylist(), present, strict=True)):
        if streams := tuple(stream for stream, has in zip(dims, having, strict=True) if has):
            groups.setdefault((level, streams), []).append(row)
    for where, chosen in groups.items():
        joined = np.concatenate(
            [centred(vectors[chosen, blocks[stream]], centre[stream]) for stream in where[1]], axis=1
        )
        yield where, joined, about.take(pa.array(chosen, pa.int64()))
