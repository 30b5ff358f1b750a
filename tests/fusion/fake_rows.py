"""Embeddings made from a path alone, and a process that writes them into a table until it is killed."""

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tristream.fusion.embedding import ClipEmbedding, VideoEmbedding
from tristream.fusion.parts import TableKind
from tristream.fusion.rows import rows_of
from tristream.fusion.state import State
from tristream.fusion.table import EmbeddingTable
from tristream.fusion.windows import Windows

MODEL_ID = "0123456789ab"
WINDOWS = Windows(2.0, 2.0)
DIMS = {"spatial": 3, "audio": 2}
KIND = TableKind(MODEL_ID, "fake", WINDOWS, DIMS, dict.fromkeys(DIMS, 1.0))
PATHS = [f"/videos/{i}.avi" for i in range(24)]


def content_of(text: str) -> str:
    """A sha256, as of a file that holds this text."""
    return hashlib.sha256(text.encode()).hexdigest()


def rows_for(path: str, content: str = "", *, ok: bool = True, clips: int = 2) -> list[dict[str, Any]]:
    """The rows of a file: of the video and its clips, or of its failure."""
    content = content or path
    seed = int(content_of(content)[:8], 16)
    if not ok:
        return rows_of(VideoEmbedding(path, MODEL_ID, error=f"{path} is damaged"), path, content_of(content))
    vectors = np.random.default_rng(seed).random((clips + 1, 5), np.float32)
    present = {"spatial": True, "audio": False}
    made = tuple(ClipEmbedding(2.0 * i, 2.0 * i + 2, vectors[i], present, DIMS) for i in range(clips))
    result = VideoEmbedding(
        path, MODEL_ID, vector=vectors[-1], present=present, dims=DIMS, clips=made, duration_seconds=2.0 * clips, fps=25
    )
    return rows_of(result, path, content_of(content))


def fill(folder: Path, on_flush: Callable[[], None] = lambda: None) -> None:
    """What a run does, with embeddings at no cost: every third file fails at first, and is tried again."""
    with EmbeddingTable(folder, MODEL_ID, WINDOWS) as table:
        table.begin(KIND)
        for retry_failed in (False, True):
            for number, path in enumerate(PATHS):
                if table.state(path, content_of(path), retry_failed) in (State.DONE, State.FAILED):
                    continue
                table.put(rows_for(path, ok=retry_failed or number % 3 > 0))
                if number % 2:
                    table.flush()
                    on_flush()
            table.flush()


def fill_and_die(folder: str, before: int, after: int) -> None:
    """Fill a table, and be killed before or after a part comes to its name, counted from 0; -1: not at all."""
    calls = {"replace": 0}
    replace = Path.replace

    def deadly(self: Path, target: Path) -> Path:
        if calls["replace"] == before:
            os.kill(os.getpid(), signal.SIGKILL)
        done = replace(self, target)
        if calls["replace"] == after:
            os.kill(os.getpid(), signal.SIGKILL)
        calls["replace"] += 1
        return done

    Path.replace = deadly  # type: ignore[assignment,method-assign]
    fill(Path(folder))


def fill_a_small_disk(folder: str) -> None:
    """Fail as a full disk makes it: no file may grow beyond 2 KiB."""
    import resource

    from tristream.streams.errors import TableError

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
    try:
        fill(Path(folder))
    except TableError as error:
        (Path(folder).parent / "said").write_text(str(error))
        os._exit(1)
