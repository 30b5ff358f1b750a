"""The embedding table: a Parquet data set, one row a clip or video, that survives being killed.

Parts are written to a temporary name, flushed and renamed. A path has one set of rows: when it is embedded
again (its content changed, or it had failed), its new rows replace the old ones in the same rename.
"""

import fcntl
import json
import os
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tristream.fusion.folder import sync_folder
from tristream.fusion.state import State
from tristream.fusion.windows import Windows
from tristream.streams.errors import TableError

METADATA_KEY = b"tristream"
FLUSH_SECONDS = 5.0  # results wait no longer than this, or
FLUSH_SHARE = 0.02  # this share of the run so far: few parts in a long run, little lost in a short one

_COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("level", pa.string()),
    ("path", pa.string()),
    ("content_sha256", pa.string()),
    ("start_seconds", pa.float64()),
    ("end_seconds", pa.float64()),
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

    def schema(self) -> pa.Schema:
        """The columns, and in the metadata where each stream's vector begins in `embedding`."""
        offsets, begin = {}, 0
        for stream, size in self.dims.items():
            offsets[stream] = {"offset": begin, "length": size}
            begin += size
        about = {
            "model_id": self.model_id,
            "model": self.model_name,
            "window_seconds": self.windows.window_seconds,
            "stride_seconds": self.windows.stride_seconds,
            "streams": offsets,
        }
        columns = [("id", pa.string()), ("embedding", pa.list_(pa.float32(), begin)), *_COLUMNS]
        return pa.schema(columns, metadata={METADATA_KEY: json.dumps(about).encode()})


@dataclass(frozen=True)
class PathState:
    """What a table holds of one path."""

    content_sha256: str
    ok: bool
    part: Path


class EmbeddingTable:
    """A table opened for adding to; one writer at a time.

    Args:
        folder: the data set, made if it is not there.
        model_id: of the model whose embeddings go in.
        windows: how videos are cut into clips.
        write: whether rows will be put in; without it nothing is made, locked or cleaned up.

    Raises:
        TableError: the folder holds something else, a damaged part, another model's or other windows' rows,
            or another process is writing to it.
    """

    def __init__(self, folder: Path, model_id: str, windows: Windows, *, write: bool = True) -> None:
        self.folder = folder
        self.paths: dict[str, PathState] = {}
        self._content: dict[str, str] = {}  # sha256 -> a path that holds it, embedded
        self._waiting: list[dict[str, Any]] = []
        self._began = self._flushed = monotonic()
        self._schema: pa.Schema | None = None
        self._lock: int | None = None
        try:
            if write:
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = _lock(folder)
            if write or folder.exists():
                self._read(model_id, windows)
        except OSError as error:
            raise TableError(f"cannot write to the table {folder}: {error.strerror or error}") from error

    def __enter__(self) -> "EmbeddingTable":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self.flush()
        finally:
            if self._lock is not None:
                os.close(self._lock)

    def state(self, path: str, content_sha256: str, retry_failed: bool) -> State:
        """What is to be done with a file."""
        known = self.paths.get(path)
        if known is not None and known.content_sha256 == content_sha256:
            if known.ok:
                return State.DONE
            return State.AGAIN if retry_failed else State.FAILED
        if content_sha256 in self._content:
            return State.COPY
        return State.NEW if known is None else State.AGAIN

    def begin(self, kind: TableKind) -> None:
        """Say what the rows to come have in common; before the first `put`."""
        self._schema = kind.schema()

    def holds(self, content_sha256: str) -> list[dict[str, Any]]:
        """The rows of content that has been embedded, from under whatever path; empty if it has not."""
        path = self._content.get(content_sha256)
        if path is None:
            return []
        waiting = [row for row in self._waiting if row["path"] == path]
        return waiting or _rows(self.paths[path].part, path)

    def put(self, rows: list[dict[str, Any]]) -> None:
        """Add all rows of one path; they are on the disk after the next flush."""
        self._waiting.extend(rows)
        if rows[0]["status"] == "ok":
            self._content[rows[0]["content_sha256"]] = rows[0]["path"]
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Flush where rows have waited long enough."""
        now = monotonic()
        if self._waiting and now - self._flushed > max(FLUSH_SECONDS, FLUSH_SHARE * (now - self._began)):
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait.

        Raises:
            TableError: the disk is full or the folder cannot be written to; what was there stays whole.
        """
        parts: defaultdict[Path, list[dict[str, Any]]] = defaultdict(list)
        new = self.folder / f"part-{uuid.uuid4().hex}.parquet"
        for row in self._waiting:
            known = self.paths.get(row["path"])
            parts[known.part if known else new].append(row)
        for part, rows in parts.items():
            self._write(part, rows)
            for row in rows:
                self.paths[row["path"]] = PathState(row["content_sha256"], row["status"] == "ok", part)
        self._waiting.clear()
        self._flushed = monotonic()

    def _write(self, part: Path, rows: list[dict[str, Any]]) -> None:
        """Write a part anew with these rows in place of what it held of their paths."""
        added = pa.Table.from_pylist(rows, schema=self._schema)
        if part.exists():
            old = _read_part(part)
            replaced = pa.array(sorted({row["path"] for row in rows}))
            kept = old.filter(pc.invert(pc.is_in(old["path"], value_set=replaced)))
            added = pa.concat_tables([kept, added.cast(old.schema)])
        temporary = part.with_name(f".{part.name}.tmp")
        try:
            with temporary.open("wb") as file:
                pq.write_table(added, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(part)
            sync_folder(self.folder)
        except (OSError, pa.ArrowException) as error:
            temporary.unlink(missing_ok=True)
            raise TableError(f"cannot write {part}: {error}; what was written before is whole") from error

    def _read(self, model_id: str, windows: Windows) -> None:
        for entry in sorted(self.folder.iterdir()):
            if _is_left_over(entry):
                if self._lock is not None:
                    entry.unlink()  # of a run that was killed
            elif entry.suffix == ".parquet":
                self._know(entry, model_id, windows)
            else:
                raise TableError(f"{self.folder} holds {entry.name}, so it is no embedding table: use another -o")

    def _know(self, part: Path, model_id: str, windows: Windows) -> None:
        about = _about(part)
        if about["model_id"] != model_id:
            raise TableError(
                f"the table {self.folder} was made with model {about['model_id']} ({about['model']}), "
                f"not with {model_id}: use another -o, or --overwrite to begin it anew"
            )
        cut = Windows(about["window_seconds"], about["stride_seconds"])
        if cut != windows:
            raise TableError(
                f"the table {self.folder} was made with --window {cut.window_seconds:g} --stride "
                f"{cut.stride_seconds:g}: use the same, another -o, or --overwrite to begin it anew"
            )
        columns = _read_part(part, ["path", "content_sha256", "status"])
        for row in columns.to_pylist():
            ok = row["status"] == "ok"
            self.paths[row["path"]] = PathState(row["content_sha256"], ok, part)
            if ok:
                self._content[row["content_sha256"]] = row["path"]


def is_table(folder: Path) -> bool:
    """Whether a folder holds the parts of an embedding table and nothing else."""
    try:
        return all(_is_left_over(entry) or bool(_about(entry)) for entry in folder.iterdir())
    except (TableError, NotADirectoryError):
        return False


def read_rows(folder: Path, paths: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """All rows of a table, or of these paths in their order."""
    rows: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for part in sorted(folder.glob("*.parquet")):
        for row in _read_part(part).to_pylist():
            rows[row["path"]].append(row)
    return [row for path in (sorted(rows) if paths is None else dict.fromkeys(paths)) for row in rows.get(path, [])]


def _lock(folder: Path) -> int:
    """A descriptor whose lock on the folder lasts until it is closed, or its process dies."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise TableError(f"another process is writing to the table {folder}") from error
    return descriptor


def _is_left_over(entry: Path) -> bool:
    """Whether a file was being written when its run was killed."""
    return entry.name.startswith(".part-") and entry.name.endswith(".tmp")


def _rows(part: Path, path: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _read_part(part).filter(pc.field("path") == path).to_pylist()
    return rows


def _read_part(part: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        return pq.ParquetFile(part).read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"{part} is damaged: {error}; delete it to embed its videos again") from error


def _about(part: Path) -> dict[str, Any]:
    try:
        metadata = pq.read_schema(part).metadata or {}
        about: dict[str, Any] = json.loads(metadata[METADATA_KEY])
        return about
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise TableError(f"{part} is not part of an embedding table, or damaged: {error}") from error
