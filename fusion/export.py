"""Rows out in other forms than Parquet: JSON Lines and npz, whole or not at all."""

import io
import json
from math import isfinite
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tristream.fusion.folder import write_atomically
from tristream.fusion.parts import COLUMNS, TableKind
from tristream.fusion.state import State
from tristream.streams.errors import TableError


def json_line(row: dict[str, Any]) -> str:
    """A row as one line of JSON; floats of the embedding in as few digits as give them back exactly."""
    values = {name: _json_value(value) for name, value in row.items() if name != "embedding"}
    vector = row["embedding"]
    numbers = None if vector is None else [_json_value(float(f"{value:.9g}")) for value in vector]
    return json.dumps({"id": values.pop("id"), "embedding": numbers, **values}, allow_nan=False)


def _json_value(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not isfinite(value) else value


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as `.jsonl` or `.npz`, by the suffix.

    Raises:
        TableError: the file cannot be written.
    """
    data = "".join(f"{json_line(row)}\n" for row in rows).encode() if path.suffix == ".jsonl" else _npz(rows)
    try:
        write_atomically(path, data)
    except OSError as error:
        raise TableError(
            f"cannot write {path}: {error.strerror or error}. Its rows are kept in {path}.partial: "
            "once there is room and permission, the same command goes on from there"
        ) from error


def _npz(rows: list[dict[str, Any]]) -> bytes:
    """An array for each column; absent text is empty, absent numbers are NaN or 0, absent embeddings NaN."""
    size = max((len(row["embedding"]) for row in rows if row["embedding"] is not None), default=0)
    vectors = np.full((len(rows), size), np.nan, np.float32)
    for vector, row in zip(vectors, rows, strict=True):
        if row["embedding"] is not None:
            vector[:] = row["embedding"]
    arrays: dict[str, Any] = {"id": np.array([row["id"] for row in rows], np.str_), "embedding": vectors}
    arrays |= {name: _column([row[name] for row in rows], kind) for name, kind in COLUMNS}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _column(values: list[Any], kind: pa.DataType) -> NDArray[Any]:
    if pa.types.is_string(kind):
        return np.array([value or "" for value in values], np.str_)
    blank = float("nan") if pa.types.is_floating(kind) else 0
    return np.array([blank if value is None else value for value in values], kind.to_pandas_dtype())


class JsonLines:
    """A sink that writes each row as it comes and remembers nothing."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def state(self, path: str, content_sha256: str, retry_failed: bool) -> State:
        """Everything is new."""
        return State.NEW

    def begin(self, kind: TableKind) -> None:
        """Rows of JSON say all of themselves."""

    def holds(self, content_sha256: str) -> list[dict[str, Any]]:
        """Nothing is kept."""
        return []

    def put(self, rows: list[dict[str, Any]]) -> None:
        """Write the rows."""
        for row in rows:
            self._file.write(json_line(row) + "\n")
        self._file.flush()

    def flush_if_due(self) -> None:
        """Nothing waits."""
