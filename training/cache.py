"""Step features on disk: one checked safetensors file for each (content, stream, settings, weights).

features (V, T, …) with the steps' times (T, 3) -> FOLDER/ab/abcdef….safetensors
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tristream.fusion.folder import write_atomically
from tristream.streams.errors import MediaError, UsageError

GIGABYTE = 10**9
LEFTOVER_SECONDS = 3600.0  # a temporary file that is older was left by a run that was killed
DIGEST = "digest"  # the name of the sha256 among a file's facts


def default_cache() -> Path:
    """Where features are kept unless a user says otherwise: the user's cache folder."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # A relative path is to be passed over (XDG Base Directory Specification).
        base = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # a user id without a home, as containers have them
        base = Path(tempfile.gettempdir())
    return base / "tristream" / "features"


DEFAULT_CACHE = default_cache()


@dataclass(frozen=True)
class StepFeatures:
    """What is kept of one stream of one file; a file that has not the stream has T = 0.

    `values` (V, T, …): V versions of the clip, the first as it is, the others augmented. For stacks of flow the
    fields (1, T, 2, H, W) are int8, each to be multiplied by its `scale` (T,). `times` (T, 3) are the seconds that
    decide which clip a step belongs to, its start and its end.
    """

    values: NDArray[Any]
    times: NDArray[np.float64]
    duration_seconds: float
    scale: NDArray[np.float32] | None = None
    warnings: tuple[str, ...] = ()


class FeatureCache:
    """A folder of step features, of which those not used for longest go when it is full.

    Files are written whole or not at all, and each is checked against its sha256 when it is first read. Several
    runs may share a folder.

    Args:
        folder: made when needed.
        limit_bytes: how much the folder may hold; None for no limit. What the present run needs is not removed.
    """

    def __init__(self, folder: Path, limit_bytes: int | None = None) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._checked: set[str] = set()

    def path_of(self, key: str) -> Path:
        """Where the features of a key are, if they are there."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def has(self, key: str) -> bool:
        """Whether the features of a key are there, and of their full length, which marks them as used.

        What is no such file is removed. A changed byte is found when it is read.
        """
        path = self.path_of(key)
        try:
            with safe_open(path, framework="np") as file:  # refuses a file that is cut or padded
                sound = DIGEST in (file.metadata() or {})
        except SafetensorError:
            sound = False
        except OSError:  # none, or one that cannot be opened now: no reason to remove it
            return False
        if not sound:
            _remove(path)
            return False
        with suppress(OSError):
            os.utime(path)
        return True

    def write(self, key: str, features: StepFeatures) -> int:
        """Keep features; how many bytes that takes.

        Raises:
            UsageError: the folder cannot be written.
        """
        tensors = {"values": features.values, "times": features.times}
        if features.scale is not None:
            tensors["scale"] = features.scale
        facts = {
            "duration_seconds": repr(features.duration_seconds),
            "warnings": json.dumps(features.warnings),
        }
        return self.write_arrays(key, tensors, facts)

    def write_arrays(self, key: str, arrays: dict[str, NDArray[Any]], facts: dict[str, str]) -> int:
        """Keep any arrays, as those of a network that was trained; how many bytes that takes.

        Raises:
            UsageError: the folder cannot be written.
        """
        # Of an array whose rows are not in order, safetensors would keep the bytes as they lie.
        arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        data = save(arrays, facts | {DIGEST: _digest(arrays, facts)})
        path = self.path_of(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)
        except OSError as error:
            raise UsageError(
                f"step features cannot be kept in {self.folder}: {error.strerror or error}; "
                "--cache DIR names another folder"
            ) from error
        return len(data)

    def read(self, key: str) -> StepFeatures:
        """The features of a key.

        Raises:
            MediaError: they are not there any more, or damaged, in which case they are removed.
        """
        tensors, facts = self.read_arrays(key)
        try:
            return StepFeatures(
                tensors["values"],
                tensors["times"],
                float(facts["duration_seconds"]),
                tensors.get("scale"),
                tuple(json.loads(facts["warnings"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._gone(key, error) from error

    def read_arrays(self, key: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """What `write_arrays` kept.

        Raises:
            MediaError: as `read`.
        """
        try:
            with safe_open(self.path_of(key), framework="np") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                facts: dict[str, str] = file.metadata() or {}
            digest = facts.pop(DIGEST, None)
            if key not in self._checked and digest != _digest(arrays, facts):
                raise ValueError("sha256 differs")
        except (SafetensorError, OSError, ValueError) as error:
            raise self._gone(key, error) from error
        self._checked.add(key)
        return arrays, facts

    def times(self, key: str) -> tuple[NDArray[np.float64], float]:
        """The times (T, 3) of the steps, and the file's duration in seconds; once checked, the values are not read.

        Raises:
            MediaError: as `read`.
        """
        self._check(key)
        try:
            with safe_open(self.path_of(key), framework="np") as file:
                return file.get_tensor("times"), float(file.metadata()["duration_seconds"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise self._gone(key, error) from error

    def read_steps(
        self, key: str, start: int, stop: int, version: int = 0
    ) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """The values (n, …) and scales (n,) of some steps of a version; once checked, no others are read.

        Raises:
            MediaError: as `read`.
        """
        self._check(key)
        try:
            with safe_open(self.path_of(key), framework="np") as file:
                values = file.get_slice("values")[version, start:stop]
                scale = file.get_slice("scale")[start:stop] if "scale" in file.keys() else None  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise self._gone(key, error) from error
        return values, scale

    def _check(self, key: str) -> None:
        """Read a file whole, once, to check it."""
        if key not in self._checked:
            self.read(key)

    def _gone(self, key: str, error: Exception) -> MediaError:
        path = self.path_of(key)
        if not isinstance(error, OSError):  # which says nothing of what the file holds
            _remove(path)
        self._checked.discard(key)
        return MediaError(
            f"step features in {path} are gone or damaged ({error}): run the same command again, "
            "which computes them anew"
        )

    def bytes_of(self, keys: Collection[str]) -> int:
        """How much the features of these keys take."""
        return sum(_size(self.path_of(key)) for key in keys)

    def trim(self, used: Collection[str]) -> None:
        """Remove what was not used for longest until the folder keeps its limit; `used` stays in any case."""
        kept = {self.path_of(key) for key in used}
        for leftover in self.folder.glob("*/.*.tmp"):
            if _seconds_old(leftover) > LEFTOVER_SECONDS:
                _remove(leftover)
        if self.limit_bytes is None:
            return
        files = [(path, _size(path)) for path in self.folder.glob("*/*.safetensors")]
        surplus = sum(size for _, size in files) - self.limit_bytes
        for path, size in sorted(files, key=lambda item: -_seconds_old(item[0])):
            if surplus <= 0:
                return
            if path not in kept:
                _remove(path)
                surplus -= size


def key_of(**facts: Any) -> str:
    """The key, 64 hex digits, of all that the features depend on, as plain JSON data."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _digest(arrays: dict[str, NDArray[Any]], facts: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    """Remove a file, where that is allowed: a folder of others' may be read only."""
    with suppress(OSError):
        path.unlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _seconds_old(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
