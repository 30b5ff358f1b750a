"""The model folder: `model.json`, one safetensors file a stream, a model card; needs no torch to read."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tristream.fusion.config import ModelConfig
from tristream.streams.config import from_json, to_json
from tristream.streams.errors import ModelError

FORMAT_VERSION = 1
CLASSIFIER_FILE = "classifier.safetensors"
MAX_JSON_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class FileRecord:
    """What `model.json` says of a file beside it."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class ModelManifest:
    """The content of `model.json`."""

    format_version: int = FORMAT_VERSION
    name: str = ""
    trained: bool = False  # all of it
    untrained: list[str] = field(default_factory=list)  # the parts whose weights do not come from training
    architecture: ModelConfig = field(default_factory=ModelConfig)
    dims: dict[str, int] = field(default_factory=dict)  # stream -> D_s, in the order they are joined
    files: dict[str, Any] = field(default_factory=dict)  # file name -> FileRecord as JSON
    classes: list[str] = field(default_factory=list)
    classifier: str = ""  # its kind, where the model was trained to classify
    normalisation: dict[str, Any] = field(default_factory=dict)
    trained_on: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)


def read_manifest(folder: Path) -> ModelManifest:
    """`model.json` of a folder, with every file it names checked against its sha256 and length.

    Raises:
        ModelError: no such folder, a damaged or unknown manifest, a file missing or changed.
    """
    path = folder / "model.json"
    if not path.is_file():
        raise ModelError(f"{folder} is not a model folder: it has no model.json")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ModelError(f"{path} is {path.stat().st_size} bytes, more than the {MAX_JSON_BYTES} a manifest may have")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data.get("format_version", FORMAT_VERSION) if isinstance(data, dict) else FORMAT_VERSION
        if version != FORMAT_VERSION:
            raise ModelError(f"{path} has format {version}; this version reads {FORMAT_VERSION}: update tristream")
        manifest = from_json(ModelManifest, data, "model.json")
        records = {name: from_json(FileRecord, record, f"files.{name}") for name, record in manifest.files.items()}
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    for name, record in records.items():
        _check_file(folder, name, record)
    return manifest


def _check_file(folder: Path, name: str, record: FileRecord) -> None:
    if Path(name).name != name:
        raise ModelError(f"model.json of {folder} names a file outside the folder: {name!r}")
    path = folder / name
    if not path.is_file():
        raise ModelError(f"{path} is missing: model.json names it; copy the whole folder again")
    if path.stat().st_size != record.bytes or sha256_of(path) != record.sha256:
        raise ModelError(f"{path} is not the file that model.json describes (sha256 differs); copy the folder again")


def write_manifest(folder: Path, manifest: ModelManifest, card: str) -> None:
    """Write `model.json` and `README.md` beside the weights already in `folder`, recording their sha256."""
    write_atomically(folder / "README.md", card.encode())
    files = (path for path in sorted(folder.iterdir()) if path.name != "model.json" and not path.name.startswith("."))
    records = {path.name: to_json(FileRecord(sha256_of(path), path.stat().st_size)) for path in files}
    data = to_json(manifest) | {"files": records}
    write_atomically(folder / "model.json", (json.dumps(data, indent=2) + "\n").encode())


def model_id_of(config: ModelConfig, weights: Mapping[str, str]) -> str:
    """First 12 hex digits of the sha256 of an architecture and its weights (part -> sha256 or origin)."""
    canonical = json.dumps({"architecture": to_json(config), "weights": dict(weights)}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, even after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
