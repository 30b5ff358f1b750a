"""What a stage of a training goes on from after a stop: one safetensors file, JSON in its metadata, no pickle."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tristream.fusion.folder import write_atomically
from tristream.streams.errors import ModelError

Tensors = dict[str, Tensor]
# How much work a stop may cost at most, beside the epoch it falls into: so much for each second that writing takes, so
# that no more than a twentieth of the time goes to it. The motion CNN's 2.4 GB take several.
DUE_SECONDS = 20.0
DIGEST = "digest"  # the name of the sha256 in the metadata


@dataclass
class Checkpoint:
    """The file of one stage; `due_seconds` (for each second that writing takes) pass between two times of it.

    Attributes:
        facts: what the stage depends on; a file of other facts is not gone on from.
    """

    path: Path
    facts: dict[str, Any] = field(default_factory=dict)
    due_seconds: float = DUE_SECONDS
    _saved_at: float = field(default_factory=time.monotonic)
    _took_seconds: float = 1.0

    def save_if_due(self, tensors: Callable[[], Tensors], state: Callable[[], dict[str, Any]], *, last: bool) -> None:
        """Write the file, where the last time is long ago, or nothing comes after this.

        Raises:
            ModelError: it cannot be written.
        """
        began = time.monotonic()
        if not last and began - self._saved_at < self.due_seconds * self._took_seconds:
            return
        held = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors().items()}
        metadata = {"state": json.dumps(state()), "facts": json.dumps(self.facts, sort_keys=True)}
        metadata[DIGEST] = _digest(held, metadata["state"])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, save(held, metadata))
        except OSError as error:
            raise ModelError(f"the checkpoint {self.path} cannot be written: {error.strerror or error}") from error
        self._saved_at = time.monotonic()
        self._took_seconds = max(1.0, self._saved_at - began)

    def load(self) -> tuple[Tensors, dict[str, Any]] | None:
        """What was kept, or None where there is nothing, or nothing of these facts.

        Raises:
            ModelError: the file is damaged, be it by one byte.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("facts") != json.dumps(self.facts, sort_keys=True):
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if metadata[DIGEST] != _digest(tensors, metadata["state"]):
                raise ValueError("sha256 differs")
            return tensors, json.loads(metadata["state"])
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise ModelError(f"the checkpoint {self.path} is damaged ({error}): remove it to begin anew") from error


def _digest(tensors: Tensors, state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()
