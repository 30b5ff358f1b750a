"""The Parquet files of an embedding table: their columns, reading with damage noticed, writing whole or not at all.

rows of one or many videos -> part-….parquet, `embedding` (rows, D) float32
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tristream.fusion.folder import sync_folder
from tristream.fusion.rows import text_of
from tristream.fusion.windows import Windows
from tristream.streams.errors import TableError
from tristream.streams.grid import parse_grid

METADATA_KEY = b"tristream"

COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("level", pa.string()),
    ("path", pa.string()),
    ("content_sha256", pa.string()),
    ("start_seconds", pa.float64()),
    ("end_seconds", pa.float64()),
    ("tile", pa.int32()),
    ("has_spatial", pa.bool_()),
    ("has_temporal", pa.bool_()),
    ("has_audio", pa.bool_()),
    ("model_id", pa.string()),
    ("status", pa.string()),
    ("error", pa.string()),
    ("warning", pa.string()),
    ("duration_seconds", pa.float64()),
    ("fps", pa.float64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("decode_seconds", pa.float64()),
    ("flow_seconds", pa.float64()),
    ("model_seconds", pa.float64()),
)


@dataclass(frozen=True)
class TableKind:
    """What all rows of a table have in common; kept in its schema's metadata."""

    model_id: str
    model_name: str
    windows: Windows
    dims: Mapping[str, int]
    weights: Mapping[str, float]  # of the streams, where embeddings are compared
    asked: Mapping[str, Any] = field(default_factory=dict)  # with which `find_again` finds the model

    def schema(self) -> pa.Schema:
        """The columns, and in the metadata where each stream's vector begins in `embedding`, and its weight."""
        offsets, begin = {}, 0
        for stream, size in self.dims.items():
            offsets[stream] = {"offset": begin, "length": size, "weight": self.weights[stream]}
            begin += size
        about = {
            "model_id": self.model_id,
            "model": self.model_name,
            "window_seconds": self.windows.window_seconds,
            "stride_seconds": self.windows.stride_seconds,
            "grid": str(self.windows.grid),
            "streams": offsets,
            "asked": dict(self.asked),
        }
        columns = [("id", pa.string()), ("embedding", pa.list_(pa.float32(), begin)), *COLUMNS]
        return pa.schema(columns, metadata={METADATA_KEY: json.dumps(about).encode()})


def new_part(folder: Path) -> Path:
    """A name that no part has."""
    return folder / f"part-{uuid4().hex}.parquet"


def parts_of(folder: Path) -> list[Path]:
    """The parts of a table; never a dot file, as the `._part-….parquet` that macOS lays beside each file."""
    return sorted(entry for entry in folder.glob("*.parquet") if not entry.name.startswith("."))


def is_left_over(entry: Path) -> bool:
    """Whether a file was being written when its run was killed."""
    return entry.name.startswith(".part-") and entry.name.endswith(".tmp")


def about_part(part: Path) -> dict[str, Any]:
    """What the metadata of a part says of its table.

    Raises:
        TableError: it is damaged, or of no embedding table.
    """
    try:
        metadata = pq.read_schema(part).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise _damaged(part, error) from error
    with suppress(KeyError, ValueError, AttributeError):
        about: dict[str, Any] = json.loads(metadata[METADATA_KEY])
        if about.keys() >= {"model_id", "model", "window_seconds", "stride_seconds", "grid"}:
            return about
    raise TableError(f"{part} is a Parquet file, but not of an embedding table: use another -o")


def about_table(table: Path) -> dict[str, Any]:
    """What all parts of a table say of it, and `rows`, how many they hold.

    Raises:
        TableError: there is none, or it is of several models.
    """
    parts = parts_of(table)
    if not parts:
        raise TableError(f"{table} is no embedding table: it is a folder of .parquet parts, as embed-video makes it")
    about = about_part(parts[0])
    for part in parts[1:]:
        if (other := about_part(part)["model_id"]) != about["model_id"]:
            raise TableError(
                f"{table} has parts of two models, {about['model_id']} and {other}: make one table of each"
            )
    return about | {"rows": sum(pq.read_metadata(part).num_rows for part in parts)}


def windows_of(about: Mapping[str, Any]) -> Windows:
    """How the videos of a table were cut, of what `about_part` says."""
    return Windows(about["window_seconds"], about["stride_seconds"], parse_grid(about["grid"]))


def read_part(part: Path, columns: list[str] | None = None) -> pa.Table:
    """The rows of a part, its pages' checksums compared.

    Raises:
        TableError: it is damaged.
    """
    try:
        with pq.ParquetFile(part, page_checksum_verification=True) as file:
            return file.read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(part, error) from error


@contextmanager
def open_part(part: Path) -> Iterator[pq.ParquetFile]:
    """A part, to be read in batches; it stays what it is, whatever takes its name meanwhile.

    Raises:
        TableError: it is damaged, also where that shows while it is read.
    """
    try:
        with pq.ParquetFile(part, page_checksum_verification=True) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise _damaged(part, error) from error


def batches_of(part: pq.ParquetFile, rows: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The rows of a part that `open_part` opened, at most so many at a time, its pages' checksums compared."""
    for batch in part.iter_batches(rows, columns=columns):
        yield pa.Table.from_batches([batch])


def read_rows(folder: Path, paths: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """All rows of a table, or of these paths in their order.

    Raises:
        TableError: a part is damaged.
    """
    rows: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for part in parts_of(folder):
        for row in to_rows(read_part(part)):
            rows[row["path"]].append(row)
    order = sorted(rows) if paths is None else dict.fromkeys(map(text_of, paths))
    return [row for path in order for row in rows.get(path, [])]


def to_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table, `embedding` as arrays (D,): as lists of Python's numbers they would take 8 times as much."""
    column = table["embedding"].combine_chunks()
    vectors = iter(column.flatten().to_numpy().reshape(-1, column.type.list_size))  # (those not null, D)
    rows: list[dict[str, Any]] = table.drop_columns(["embedding"]).to_pylist()
    for row, valid in zip(rows, column.is_valid().to_pylist(), strict=True):
        row["embedding"] = next(vectors) if valid else None
    return rows


def replace_rows(part: Path, rows: list[dict[str, Any]], schema: pa.Schema | None) -> None:
    """Write a part anew with these rows in place of what it held of their paths.

    Raises:
        TableError: it cannot be written; what was there stays whole.
    """
    added = pa.Table.from_pylist(rows, schema=schema)
    if part.exists():
        old = read_part(part)
        replaced = pa.array(sorted({row["path"] for row in rows}))
        kept = old.filter(pc.invert(pc.is_in(old["path"], value_set=replaced)))
        added = pa.concat_tables([kept, added.cast(old.schema)])
    temporary = part.with_name(f".{part.name}.tmp")
    try:
        with temporary.open("wb") as file:
            pq.write_table(added, file, compression="zstd", write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(part)
        sync_folder(part.parent)
    except (OSError, pa.ArrowException) as error:
        why = getattr(error, "strerror", None) or error
        raise TableError(
            f"cannot write to the table {part.parent}: {why}. What was written before is whole: "
            "once there is room and permission, the same command goes on from there"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def is_table(folder: Path) -> bool:
    """Whether a folder holds the parts of an embedding table and nothing else but dot files, as `.DS_Store`."""
    try:
        return all(entry.name.startswith(".") or bool(about_part(entry)) for entry in folder.iterdir())
    except (TableError, NotADirectoryError):
        return False


def _damaged(part: Path, error: Exception) -> TableError:
    return TableError(f"{part} is damaged ({error}): delete that file, and its videos are embedded again")
