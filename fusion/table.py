"""The embedding table: a Parquet data set, one row a clip or video, that survives being killed.

Parts are written to a temporary name, flushed and renamed. A path has one set of rows: when it is embedded
again (its content changed, or it had failed), its new rows replace the old ones in the same rename.
"""

import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tristream.fusion.lock import lock_folder
from tristream.fusion.parts import (
    TableKind,
    about_part,
    is_left_over,
    is_table,
    new_part,
    parts_of,
    read_part,
    replace_rows,
    to_rows,
    windows_of,
)
from tristream.fusion.rows import text_of
from tristream.fusion.state import State
from tristream.fusion.windows import Windows
from tristream.streams.errors import TableError

FLUSH_SECONDS = 5.0  # results wait no longer than this, or
FLUSH_SHARE = 0.02  # this share of the run so far: few parts in a long run, little lost in a short one; but
FLUSH_MOST_SECONDS = 60.0  # never longer than this


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
        overwrite: whether to begin anew. What the table holds, of whatever model, is then not known here, but it
            stays on the disk until the first new rows are written: a run that comes to nothing deletes nothing.

    Raises:
        TableError: the folder holds something else, a damaged part, another model's or other windows' rows,
            or another process is writing to it.
    """

    def __init__(
        self, folder: Path, model_id: str, windows: Windows, *, write: bool = True, overwrite: bool = False
    ) -> None:
        self.folder = folder
        self.paths: dict[str, PathState] = {}
        self._content: dict[str, str] = {}  # sha256 -> a path that holds it, embedded
        self._waiting: dict[str, list[dict[str, Any]]] = {}  # path -> its rows
        self._to_delete: list[Path] = []  # parts that the first new one replaces
        self._last_read: tuple[Path, pa.Table] | None = None
        self._began = self._flushed = monotonic()
        self._schema: pa.Schema | None = None
        self._lock: int | None = None
        self._made = write and not folder.exists()
        if folder.exists() and not folder.is_dir():
            raise TableError(f"{folder} is a file, not the folder of a table: use another -o")
        try:
            if write:
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = _lock(folder)
                _check_writable(folder)
            if write or folder.exists():
                self._tidy()
                if overwrite:
                    self._to_delete = _parts_to_delete(folder)
                else:
                    self._read(model_id, windows)
        except BaseException as error:
            self._unlock()
            if isinstance(error, OSError):
                raise TableError(f"cannot write to the table {folder}: {error.strerror or error}") from error
            raise

    def __enter__(self) -> "EmbeddingTable":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if not isinstance(error, TableError):  # else the same write would fail again
                self.flush()
        finally:
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is None:
            return
        if self._made:
            with suppress(OSError):
                self.folder.rmdir()  # where nothing was put into it
        os.close(self._lock)
        self._lock = None

    def state(self, path: str, content_sha256: str, retry_failed: bool) -> State:
        """What is to be done with a file."""
        known = self.paths.get(text_of(path))
        if known is not None and known.content_sha256 == content_sha256:
            if known.ok:
                return State.DONE
            return State.AGAIN if retry_failed else State.FAILED
        if content_sha256 in self._content:
            return State.COPY
        return State.NEW if known is None else State.AGAIN

    def holds_path(self, path: str) -> bool:
        """Whether a path has been embedded, and its rows are on the disk."""
        known = self.paths.get(text_of(path))
        return known is not None and known.ok

    def begin(self, kind: TableKind) -> None:
        """Say what the rows to come have in common; before the first `put`."""
        self._schema = kind.schema()

    def holds(self, content_sha256: str) -> list[dict[str, Any]]:
        """The rows of content that has been embedded, from under whatever path; empty if it has not."""
        path = self._content.get(content_sha256)
        if path is None:
            return []
        return self._waiting.get(path) or to_rows(self._part(self.paths[path].part).filter(pc.field("path") == path))

    def _part(self, part: Path) -> pa.Table:
        """A part's rows; the last one is kept, as copies of a folder's files mostly lie in one part."""
        if self._last_read is None or self._last_read[0] != part:
            self._last_read = part, read_part(part)
        return self._last_read[1]

    def put(self, rows: list[dict[str, Any]]) -> None:
        """Add all rows of one path; they are on the disk after the next flush."""
        path, content_sha256 = rows[0]["path"], rows[0]["content_sha256"]
        known = self.paths.get(path)
        if known is not None and self._content.get(known.content_sha256) == path:
            del self._content[known.content_sha256]  # the rows that go
        self._waiting[path] = rows
        if rows[0]["status"] == "ok":
            self._content[content_sha256] = path
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Flush where rows have waited long enough."""
        now = monotonic()
        wait_seconds = min(max(FLUSH_SECONDS, FLUSH_SHARE * (now - self._began)), FLUSH_MOST_SECONDS)
        if self._waiting and now - self._flushed > wait_seconds:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait.

        Raises:
            TableError: the disk is full or the folder cannot be written to; what was there stays whole.
        """
        if self._waiting:
            self._delete_old()
        self._last_read = None
        parts: defaultdict[Path, list[dict[str, Any]]] = defaultdict(list)
        new = new_part(self.folder)
        for path, rows in self._waiting.items():
            known = self.paths.get(path)
            parts[known.part if known else new].extend(rows)
        for part, rows in parts.items():
            replace_rows(part, rows, self._schema)
            for row in rows:
                self.paths[row["path"]] = PathState(row["content_sha256"], row["status"] == "ok", part)
        self._waiting.clear()
        self._flushed = monotonic()

    def _delete_old(self) -> None:
        """Delete what is overwritten: before the first new part, as parts of two models could not be opened again."""
        try:
            while self._to_delete:
                self._to_delete[-1].unlink(missing_ok=True)
                self._to_delete.pop()
        except OSError as error:
            raise TableError(f"cannot delete {self._to_delete[-1]}: {error.strerror or error}") from error

    def _tidy(self) -> None:
        """Delete what runs that were killed have left half written."""
        if self._lock is not None:
            for entry in filter(is_left_over, list(self.folder.iterdir())):
                entry.unlink()

    def _read(self, model_id: str, windows: Windows) -> None:
        for entry in sorted(self.folder.iterdir()):
            if entry.name.startswith("."):  # of the system, as `.DS_Store`
                continue
            if entry.suffix == ".parquet":
                self._know(entry, model_id, windows)
            else:
                raise TableError(f"{self.folder} holds {entry.name}, so it is no embedding table: use another -o")
        if self.paths:
            self._schema = pq.read_schema(next(iter(self.paths.values())).part)

    def _know(self, part: Path, model_id: str, windows: Windows) -> None:
        about = about_part(part)
        if about["model_id"] != model_id:
            raise TableError(
                f"the table {self.folder} was made with model {about['model_id']} ({about['model']}), "
                f"not with {model_id}: use another -o, or --overwrite to begin it anew"
            )
        cut = windows_of(about)
        if cut != windows:
            raise TableError(
                f"the table {self.folder} was made with --window {cut.window_seconds:g} --stride "
                f"{cut.stride_seconds:g} --grid {cut.grid}: use the same, another -o, or --overwrite to begin it anew"
            )
        columns = read_part(part, ["path", "content_sha256", "status"])
        for row in columns.to_pylist():
            ok = row["status"] == "ok"
            self.paths[row["path"]] = PathState(row["content_sha256"], ok, part)
            if ok:
                self._content[row["content_sha256"]] = row["path"]


def remove_table(folder: Path) -> None:
    """Delete a table, where there is one, and nothing that is not one.

    Raises:
        TableError: the folder holds something else, or another process is writing to it.
    """
    if not folder.exists():
        return
    parts = _parts_to_delete(folder)
    try:
        descriptor = _lock(folder)
        try:
            for part in [*parts, *filter(is_left_over, list(folder.iterdir()))]:
                part.unlink()
            with suppress(OSError):  # a `.DS_Store` is in it
                folder.rmdir()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise TableError(f"cannot delete the table {folder}: {error.strerror or error}") from error


def _parts_to_delete(folder: Path) -> list[Path]:
    if not is_table(folder):
        raise TableError(f"{folder} is not an embedding table, so it is not overwritten: use another -o")
    return parts_of(folder)


def _lock(folder: Path) -> int:
    """A descriptor that holds the folder's lock."""
    try:
        return lock_folder(folder)
    except BlockingIOError as error:
        raise TableError(f"another process is writing to the table {folder}: wait for it, or use another -o") from error


def _check_writable(folder: Path) -> None:
    """Find out before hours of work, not after, that a folder is read-only."""
    trial = folder / ".part-trial.tmp"
    trial.touch()
    trial.unlink()
