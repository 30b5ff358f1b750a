"""What runs inside a worker process: the model, loaded once, then one path after another.

path -> VideoEmbedding, with `error` set where it failed
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.source import ModelSource
from tristream.fusion.windows import Windows
from tristream.streams.errors import ModelError, TristreamError, UsageError

if TYPE_CHECKING:
    from tristream.fusion.model import Model
    from tristream.streams.placement import DtypeName  # needs torch

FOLLOW_SECONDS = 0.5  # a worker outlives its parent by no more than this
GIB = 1 << 30

EmbedFile = Callable[[str], VideoEmbedding]


@dataclass(frozen=True)
class Job:
    """What a worker needs to embed files; small and plain, as it travels to another process."""

    source: ModelSource
    windows: Windows
    batch_size: int
    device: str = "auto"
    dtype: "DtypeName" = "auto"
    threads: int = 1
    moment: tuple[float, float] | None = None  # of the files; None for all of them
    fps: float | None = None  # of folders of frames
    memory_bytes: int | None = None  # the most a worker may take beside its loaded model; None for no bound

    def load_model(self) -> "Model":
        """Load the model, with this worker's share of the machine."""
        import cv2
        import torch

        from tristream.fusion.model import open_model

        torch.set_num_threads(self.threads)
        cv2.setNumThreads(self.threads)
        model = open_model(self.source, device=self.device, dtype=self.dtype)
        model.threads = self.threads
        if model.device == "cpu":  # CUDA maps far more than it uses
            bound_memory(self.memory_bytes)
        return model

    def open(self) -> tuple[dict[str, int], EmbedFile]:
        """Load the model: the length of each of its streams' vectors, and what embeds a file."""
        model = self.load_model()

        def embed_file(path: str) -> VideoEmbedding:
            return model.embed(
                path,
                window=self.windows.window_seconds,
                stride=self.windows.stride_seconds,
                grid=self.windows.grid,
                fps=self.fps,
                batch_size=self.batch_size,
                moment=self.moment,
            )

        return {str(name): size for name, size in model.dims.items()}, embed_file


class ProbeJob(Job):
    """What a file says of itself, as a VideoEmbedding without vectors; loads no model."""

    def open(self) -> tuple[dict[str, int], EmbedFile]:
        """No vectors, and what probes a file."""
        return {}, probe_file


def probe_file(path: str) -> VideoEmbedding:
    """The duration, frame rate, size and streams that a file states."""
    from tristream.streams.media import probe

    info = probe(path)
    video = info.video
    return VideoEmbedding(
        path,
        "",
        present={"spatial": video is not None, "audio": info.audio is not None},
        duration_seconds=info.duration_seconds,
        fps=video.fps if video else None,
        width=video.width if video else None,
        height=video.height if video else None,
    )


@dataclass(frozen=True)
class Loaded:
    """A worker's word that it is ready."""

    pid: int
    dims: dict[str, int]  # length of each stream's vector


# A process is one worker: what it holds is its own.
_job: Job
_embed_file: EmbedFile


def start(job: Job, parent: int) -> None:
    """Make this process the worker of a job, and of that parent's."""
    global _job
    _job = job
    # Threads that wait by spinning made a file take 9 times as long where other processes want the cores too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # OpenMP reads it when torch is imported
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # at once, even in native code; pebble's own handler would wait
    threading.Thread(target=_follow_parent, args=(parent,), daemon=True).start()
    with suppress(OSError):  # where memory runs out, Linux is to end a worker, not the parent or a neighbour
        Path("/proc/self/oom_score_adj").write_text("500")


def load() -> Loaded:
    """Load the model.

    Raises:
        ModelError, UsageError: it cannot be loaded.
    """
    global _embed_file
    try:
        dims, _embed_file = _job.open()
    except TristreamError:
        raise
    except Exception as error:  # as it is, it might not survive the way to the parent
        raise ModelError(f"the model could not be loaded: {_in_words(error)}") from error
    return Loaded(os.getpid(), dims)


def embed(path: str) -> VideoEmbedding:
    """Embed a file; whatever it makes a decoder trip over is its `error`.

    Raises:
        ModelError, UsageError: what would befall every file.
    """
    try:
        return _embed_file(path)
    except (ModelError, UsageError):
        raise
    except BaseException as error:
        return VideoEmbedding(path, _job.source.model_id, error=_in_words(error))


def bound_memory(allowance_bytes: int | None) -> None:
    """Refuse this process more memory than it has now and so many bytes, where the system can do that."""
    if allowance_bytes is None:
        return
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[5])  # data and stack, as RLIMIT_DATA counts them
        bound_bytes = pages * resource.getpagesize() + allowance_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (bound_bytes, bound_bytes))


def _in_words(error: BaseException) -> str:
    """What an exception says, even one that fails to say it."""
    try:
        text = str(error)
    except Exception:
        text = ""
    if isinstance(error, MemoryError) or "allocate memory" in text or "Insufficient memory" in text:
        bound_bytes = _job.memory_bytes
        share = "" if bound_bytes is None else f" than the {bound_bytes / GIB:.1f} GiB of this worker"
        return f"needs more memory{share or ' than there is'}; fewer --jobs give each worker more"
    return text if isinstance(error, TristreamError) else f"{type(error).__name__}: {text}"


def _follow_parent(parent: int) -> None:
    """End this process when its parent has been killed, whatever it is busy with."""
    while os.getppid() == parent:
        time.sleep(FOLLOW_SECONDS)
    os._exit(1)
