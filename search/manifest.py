"""The index folder: `index.json` names its segments and the sha256 of every file; what it does not name is no part.

A segment is never changed: an update writes new ones and then replaces `index.json`, in one rename. So a reader sees
the index as it was before or as it is after, and a run that is killed leaves files that nothing names.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tristream.fusion.folder import FileRecord, sha256_of, write_atomically
from tristream.streams.config import from_json, to_json
from tristream.streams.errors import SearchError, TristreamError

Kind = Literal["flat", "hnsw", "ivfpq"]
KINDS: tuple[Kind, ...] = get_args(Kind)

INDEX_FILE = "index.json"
VECTORS, ROWS, DELETED = "vectors", "rows.arrow", "deleted.npy"  # endings of a segment's files, beside KINDS
FORMAT_VERSION = 2
MAX_JSON_BYTES = 64 * 1024 * 1024
_SEGMENT_FILE = re.compile(rf"[0-9a-f]{{32}}\.([0-9a-f]{{8}}\.)?({'|'.join((VECTORS, ROWS, DELETED, *KINDS))})")
_LEFT_OVER = re.compile(rf"\.{INDEX_FILE}\.\d+\.tmp")  # of a manifest that was being written


@dataclass(frozen=True)
class SegmentRecord:
    """What `index.json` says of a segment: rows of one level that have the same streams."""

    name: str
    level: str  # clip or video
    streams: tuple[str, ...]  # that its rows have, in the order of the index's dims
    rows: int
    files: dict[str, Any]  # ending -> FileRecord as JSON
    deleted: int = 0  # of the rows
    kind: Kind = "flat"  # or that of its approximate index
    effort: int = 0  # of a search in an approximate one: efSearch, or nprobe
    recall: float = 1.0  # at 10, as measured when it was built

    @property
    def live(self) -> int:
        """How many rows can be found."""
        return self.rows - self.deleted

    def file(self, ending: str) -> str:
        """The name of one of its files."""
        return f"{self.name}.{ending}"


@dataclass(frozen=True)
class IndexManifest:
    """The content of `index.json`."""

    format_version: int = FORMAT_VERSION
    model_id: str = ""
    model: str = ""  # its name
    asked: dict[str, Any] = field(default_factory=dict)  # with which `find_again` finds the model for queries
    dims: dict[str, int] = field(default_factory=dict)  # stream -> D_s, in the order they are joined
    weights: dict[str, float] = field(default_factory=dict)  # stream -> its weight where none are asked for
    window_seconds: float = 0.0
    stride_seconds: float = 0.0
    table: str = ""  # the folder it was made from
    centre: dict[str, Any] = field(default_factory=dict)  # stream -> list of D_s numbers
    centre_rows: int = 0  # of the table when it was found
    kind: str = "auto"  # as asked for
    segments: tuple[SegmentRecord, ...] = ()

    @property
    def live(self) -> int:
        """How many rows can be found."""
        return sum(segment.live for segment in self.segments)

    def centres(self) -> dict[str, NDArray[np.float64]]:
        """The centre (D_s,) of each stream's vectors."""
        return {stream: np.array(self.centre.get(stream, np.zeros(size))) for stream, size in self.dims.items()}

    def files(self) -> Iterator[tuple[str, FileRecord]]:
        """All files and what is known of them."""
        for segment in self.segments:
            for ending, record in segment.files.items():
                yield segment.file(ending), from_json(FileRecord, record, f"files.{ending}")


class IndexFormatError(SearchError):
    """An index that another version of tristream wrote."""


def read_manifest(folder: Path) -> IndexManifest:
    """`index.json` of a folder; the files it names are not looked at.

    Raises:
        IndexFormatError: another version of tristream wrote it.
        SearchError: there is none, or it is damaged.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        raise SearchError(
            f"{folder} is no search index: it has no {INDEX_FILE}; index-video TABLE -o {folder} makes one"
        )
    if path.stat().st_size > MAX_JSON_BYTES:
        raise SearchError(f"{path} is larger than the {MAX_JSON_BYTES} bytes that it may have")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data.get("format_version")
        if isinstance(version, int) and version != FORMAT_VERSION:
            raise IndexFormatError(
                f"{path} has format {version}; this version reads {FORMAT_VERSION}: update tristream"
            )
        if data.pop("sha256") != _sha256(data):
            raise ValueError("its sha256 differs")
        return from_json(IndexManifest, data, INDEX_FILE)
    except SearchError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, TristreamError) as error:
        raise SearchError(f"{path} is damaged ({error}): index-video makes the index anew from its table") from error


def write_manifest(folder: Path, manifest: IndexManifest) -> None:
    """Replace `index.json`, whole or not at all."""
    data = to_json(manifest)
    write_atomically(folder / INDEX_FILE, (json.dumps(data | {"sha256": _sha256(data)}, indent=1) + "\n").encode())


def check_file(folder: Path, name: str, record: FileRecord) -> None:
    """Compare a file with what the manifest says of it.

    Raises:
        SearchError: it is not there, cannot be read, or is another.
    """
    path = folder / name
    try:
        if path.stat().st_size == record.bytes and sha256_of(path) == record.sha256:
            return
        why = "its sha256 differs"
    except OSError as error:
        why = error.strerror or str(error)
    raise SearchError(f"{path} is damaged ({why}): index-video makes what is damaged anew from the table")


def is_index(folder: Path) -> bool:
    """Whether a folder holds an index, or what was left of one, and nothing else but dot files, as `.DS_Store`."""
    return all(is_ours(entry.name) or entry.name.startswith(".") for entry in folder.iterdir())


def is_ours(name: str) -> bool:
    """Whether a file of an index may have this name."""
    return name == INDEX_FILE or _SEGMENT_FILE.fullmatch(name) is not None or _LEFT_OVER.fullmatch(name) is not None


def record_of(path: Path) -> dict[str, Any]:
    """What a manifest says of a file."""
    return to_json(FileRecord(sha256_of(path), path.stat().st_size))


def _sha256(data: dict[str, Any]) -> str:
    canonical = json.dumps(json.loads(json.dumps(data)), sort_keys=True)  # tuples are lists once they are read
    return hashlib.sha256(canonical.encode()).hexdigest()
