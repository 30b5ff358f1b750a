"""Rows out in other forms than Parquet: JSON Lines and npz, whole or not at all."""

import io
import json
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from tristream.fusion.folder import write_atomically
from tristream.fusion.state import State
from tristream.fusion.table import TableKind
from tristream.streams.errors import TableError


def json_line(row: dict[str, Any]) -> str:
    """A row as one line of JSON; floats of the embedding in as few digits as give them back exactly."""
    vector = row["embedding"]
    numbers = None if vector is None else [float(f"{value:.9g}") for value in vector]
    return json.dumps(row | {"embedding": numbers})


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as `.jsonl` or `.npz`, by the suffix.

    Raises:
        TableError: the file cannot be written.
    """
    data = "".join(f"{json_line(row)}\n" for row in rows).encode() if path.suffix == ".jsonl" else _npz(rows)
    try:
        write_atomically(path, data)
    except OSError as error:
        raise TableError(f"cannot write {path}: {error.strerror or error}") from error


def _npz(rows: list[dict[str, Any]]) -> bytes:
    """An array for each column; absent text is empty, absent numbers are NaN or 0, absent embeddings NaN."""
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
    size = max((len(vector) for vector in columns.get("embedding", []) if vector is not None), default=0)
    arrays: dict[str, Any] = {}
    for name, values in columns.items():
        if name == "embedding":
            blank = np.full(size, np.nan, np.float32)
            arrays[name] = np.array([blank if value is None else value for value in values], np.float32)
        elif name in ("width", "height"):
            arrays[name] = np.array([value or 0 for value in values], np.int32)
        elif any(isinstance(value, str) for value in values):
            arrays[name] = np.array([value or "" for value in values])
        elif any(isinstance(value, float) for value in values):
            arrays[name] = np.array([np.nan if value is None else value for value in values], np.float64)
        else:
            arrays[name] = np.array(["" if value is None else value for value in values])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


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
