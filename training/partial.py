"""The folder that a training works in, `MODEL.partial`, and how the model that comes out takes its place."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tristream.fusion.folder import read_manifest, sync_folder, write_atomically
from tristream.fusion.lock import lock_folder
from tristream.streams.errors import ModelError, UsageError

RUN_FILE = "run.json"
REPLACED = "replaced"  # where the model that was there before is, for the moment between two renames


@dataclass(frozen=True)
class PartialFolder:
    """What a training has done so far, so that one that was stopped goes on.

    A model that is to be replaced stays where it is until the new one is whole.

    Args:
        model: the folder that the model goes into.
        overwrite: replace a model that is there, and drop another training that was not finished.

    Raises:
        UsageError: the folder is there and may not be replaced, or is no model's.
    """

    model: Path
    overwrite: bool = False

    def __post_init__(self) -> None:
        self._check_free()

    def _check_free(self) -> None:
        if file := next((folder for folder in self.model.parents if folder.is_file()), None):
            raise UsageError(f"{file} is a file: no model can be put into it")
        if not self.model.exists():
            return
        if not self.overwrite:
            raise UsageError(f"{self.model} is there already: --overwrite replaces it, or choose another folder")
        if not self.model.is_dir():
            raise UsageError(f"{self.model} is no model folder, so --overwrite leaves it alone")
        try:
            read_manifest(self.model)
        except ModelError as error:
            if any(self.model.iterdir()):
                raise UsageError(f"{self.model} is no model folder, so --overwrite leaves it alone: {error}") from error

    @property
    def path(self) -> Path:
        """Where the training works, beside the model."""
        return self.model.with_name(f"{self.model.name}.partial")

    @contextmanager
    def claimed(self, facts: dict[str, Any]) -> Iterator[None]:
        """Begin in the folder, or go on in it where it is of a training of the same facts; alone in either case.

        Raises:
            UsageError: it holds another training, or what is none, or another process trains in it now.
            ModelError: it cannot be written.
        """
        text = json.dumps(facts, indent=1, sort_keys=True) + "\n"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = lock_folder(self.path)
        except BlockingIOError as error:
            raise UsageError(
                f"another process is training in {self.path}: wait for it, or choose another folder"
            ) from error
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._check_free()  # another process may have been faster
            self._begin(text)
            yield
        finally:
            os.close(descriptor)
            with suppress(OSError):
                self.path.rmdir()  # where nothing is in it, nothing was begun

    def _begin(self, text: str) -> None:
        try:
            if (self.path / REPLACED).exists() and not self.model.exists():
                (self.path / REPLACED).rename(self.model)  # a run was killed between the two renames
            if not self._is_of(text):
                # The folder itself is locked, and its first file says whose it is, until it is written anew.
                for entry in [entry for entry in self.path.iterdir() if entry.name != RUN_FILE]:
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            write_atomically(self.path / RUN_FILE, text.encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ModelError:
        return ModelError(f"{self.path} cannot be written: {error.strerror or error}")

    def _is_of(self, text: str) -> bool:
        """Whether nothing was done there yet, or by the same training; False where it is to be dropped."""
        names = {path.name for path in self.path.iterdir() if not path.name.startswith(".")}
        if not names <= {RUN_FILE}:
            if RUN_FILE not in names:
                raise UsageError(f"{self.path} is in the way, and no training's: remove it, or choose another folder")
            if (self.path / RUN_FILE).read_text(encoding="utf-8", errors="replace") != text:
                if not self.overwrite:
                    raise UsageError(
                        f"{self.path} holds another training that was not finished: --overwrite drops it, "
                        "or give the command that began it"
                    )
                return False
        return True

    def publish(self, fresh: Path) -> None:
        """Put a whole model folder into its place, and remove what the training worked with.

        Raises:
            ModelError: it cannot be put there.
        """
        old = self.path / REPLACED
        try:
            if self.model.exists():
                shutil.rmtree(old, ignore_errors=True)
                self.model.rename(old)
            fresh.rename(self.model)
            sync_folder(self.model.parent)
            shutil.rmtree(self.path)
        except OSError as error:
            raise ModelError(f"{self.model} cannot be written: {error.strerror or error}") from error
