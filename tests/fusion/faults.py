"""Jobs whose files are orders to misbehave, for tests of the workers; imported by the worker processes too."""

import ctypes
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tristream.fusion.config import POCKET
from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.source import ModelSource
from tristream.fusion.windows import Windows
from tristream.fusion.worker import EmbedFile, Job, bound_memory
from tristream.streams.errors import ModelError

SOURCE = ModelSource("fake", POCKET, {})
WHOLE = Windows()
GIB = 1 << 30


class StrangeError(Exception):
    """Neither printable nor fit to be sent to another process."""

    def __init__(self, needed: str, also: str) -> None:
        super().__init__(needed)

    def __str__(self) -> str:
        raise RuntimeError(self.args[0])


@dataclass(frozen=True)
class FaultyJob(Job):
    """Does what the path says."""

    source: ModelSource = SOURCE
    windows: Windows = WHOLE
    batch_size: int = 1
    load_seconds: float = 0.0
    load_fault: str = ""
    dims: tuple[tuple[str, int], ...] = (("spatial", 2),)  # none where no vectors are made, but features

    def open(self) -> tuple[dict[str, int], EmbedFile]:
        """As slow or faulty as the job says."""
        time.sleep(self.load_seconds)
        if self.load_fault == "error":
            raise ModelError("weights are missing")
        if self.load_fault:
            obey(self.load_fault)
        bound_memory(GIB // 8)
        return dict(self.dims), embed


def embed(path: str) -> VideoEmbedding:
    """An embedding that tells the process, or whatever the path orders."""
    obey(path)
    return VideoEmbedding(path, SOURCE.model_id, vector=np.array([os.getpid(), 0], np.float32))


def obey(order: str) -> None:
    """Do as told: an order, and what it needs, apart by a colon."""
    name, _, value = order.partition(":")
    if name == "segfault":
        ctypes.string_at(0)
    elif name == "exit":
        os._exit(int(value))
    elif name == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "loop":
        while True:
            pass
    elif name == "hog":
        hoard = []
        while True:
            hoard.append(np.ones(GIB // 512))  # 16 MiB
    elif name == "sleep":
        time.sleep(float(value))
    elif name == "pid":
        Path(value).write_text(str(os.getpid()))
    elif name == "pid-loop":
        Path(value).write_text(str(os.getpid()))
        obey("loop")
    elif name == "system-exit":
        raise SystemExit(3)
    elif name == "strange":
        raise StrangeError("a", "b")
    elif name == "model-error":
        raise ModelError("no RAFT weights")
