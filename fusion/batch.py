"""Many files, each in a worker process that may crash, hang or run out of memory at the cost of that one.

paths -> workers -> VideoEmbedding each, with `error` set where it failed; needs no torch in this process
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.source import ModelSource
from tristream.fusion.windows import Windows
from tristream.streams.errors import MediaError, ModelError, TristreamError, UsageError

FILES_AHEAD = 2  # files handed to the pool for each worker
MEMORY_SHARE = 0.9  # of the machine's memory that the workers may take together

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """What a worker needs to embed files; small and plain, as it travels to another process."""

    source: ModelSource
    windows: Windows
    batch_size: int
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 1
    memory_bytes: int | None = None  # the most a worker may take


class Workers:
    """A pool of worker processes, each of which loads the model once.

    Args:
        jobs: processes, each with its share of the cores and the memory.
        timeout_seconds: that a file may take before its worker is ended; None for no bound.
    """

    def __init__(self, job: Job, *, jobs: int, timeout_seconds: float | None) -> None:
        if jobs < 1:
            raise UsageError(f"jobs must be at least 1, got {jobs}")
        if timeout_seconds is not None and timeout_seconds <= 0:
            raise UsageError(f"timeout must be more than 0 seconds, got {timeout_seconds}")
        self.job = replace(job, threads=max(1, cores() // jobs), memory_bytes=_memory_share(jobs))
        self.room = jobs * FILES_AHEAD
        self._timeout_seconds = timeout_seconds
        self._pool: Any = ProcessPool(
            max_workers=jobs,
            context=multiprocessing.get_context("spawn"),  # torch's and FFmpeg's threads do not survive a fork
            initializer=_start_worker,
            initargs=(self.job, os.getpid()),
        )

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._pool.close()
        else:
            self._pool.stop()
        self._pool.join()

    def dims(self) -> dict[str, int]:
        """Load the model in a worker; the length of each of its streams' vectors.

        Raises:
            ModelError, UsageError: the model cannot be loaded.
        """
        try:
            dims: dict[str, int] = self._pool.schedule(_worker_dims).result()
        except ProcessExpired as error:
            raise ModelError(f"the model could not be loaded: its process {_death(error)}") from error
        return dims

    def embed(self, path: str) -> "Future[VideoEmbedding]":
        """Embed a file in a worker; failures come as `VideoEmbedding.error`."""
        return self._answer(_worker_embed, path, VideoEmbedding(path, self.job.source.model_id))

    def probe(self, path: str) -> "Future[VideoEmbedding]":
        """What a file says of itself, as a VideoEmbedding without vectors; loads no model."""
        return self._answer(_worker_probe, path, VideoEmbedding(path, self.job.source.model_id))

    def _answer(
        self, task: Callable[[str], VideoEmbedding], path: str, blank: VideoEmbedding
    ) -> "Future[VideoEmbedding]":
        answer: Future[VideoEmbedding] = Future()
        running = self._pool.schedule(task, args=(path,), timeout=self._timeout_seconds)
        running.add_done_callback(lambda done: _settle(answer, done, blank, self._timeout_seconds))
        return answer


def embed_files(
    job: Job, paths: Iterable[str], *, jobs: int, timeout_seconds: float | None
) -> Iterator[VideoEmbedding]:
    """The embeddings of files, in their order."""
    with Workers(job, jobs=jobs, timeout_seconds=timeout_seconds) as workers:
        waiting: list[Future[VideoEmbedding]] = []
        for path in paths:
            waiting.append(workers.embed(path))
            if len(waiting) > workers.room:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()


def as_completed(futures: "dict[Future[T], Any]", timeout_seconds: float) -> "set[Future[T]]":
    """Wait until at least one of the futures is done, or the time is over; those that are done."""
    return wait(futures, timeout_seconds, FIRST_COMPLETED).done


def _settle(answer: "Future[VideoEmbedding]", done: Any, blank: VideoEmbedding, timeout_seconds: float | None) -> None:
    """Turn a task's end, whatever it was, into a VideoEmbedding; errors of the model itself are raised."""
    if done.cancelled():
        answer.cancel()
        return
    error = done.exception()
    if error is None:
        answer.set_result(done.result())
    elif isinstance(error, TimeoutError):
        answer.set_result(replace(blank, error=f"not done after {timeout_seconds:g} s; see --timeout"))
    elif isinstance(error, ProcessExpired):
        answer.set_result(replace(blank, error=f"the worker process {_death(error)}"))
    else:
        answer.set_exception(error)


def _death(error: ProcessExpired) -> str:
    """How a worker ended, in words."""
    code = error.exitcode
    if code is not None and code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended with exit code {code}"


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_share(jobs: int) -> int | None:
    """Bytes of memory for each worker; None where the machine does not tell."""
    try:
        total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    return int(total_bytes * MEMORY_SHARE / jobs)


# What follows runs in the worker.

_job: Job | None = None
_model: Any = None


def _start_worker(job: Job, parent: int) -> None:
    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_follow_parent, args=(parent,), daemon=True).start()
    if job.memory_bytes is not None and job.device == "cpu":  # CUDA maps far more than it uses
        with suppress(ImportError, ValueError, OSError):
            import resource

            resource.setrlimit(resource.RLIMIT_DATA, (job.memory_bytes, job.memory_bytes))


def _follow_parent(parent: int) -> None:
    """End this process when its parent has been killed, whatever it is busy with."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _loaded_model() -> Any:
    """The model, loaded by the first task so that its errors reach the caller."""
    global _model
    if _model is None and _job is not None:
        import cv2
        import torch

        from tristream.fusion.model import open_model

        torch.set_num_threads(_job.threads)
        cv2.setNumThreads(_job.threads)
        _model = open_model(_job.source, device=_job.device, dtype=_job.dtype)  # type: ignore[arg-type]
        _model.threads = _job.threads
    return _model


def _worker_dims() -> dict[str, int]:
    dims: dict[str, int] = _loaded_model().dims
    return dims


def _worker_probe(path: str) -> VideoEmbedding:
    from tristream.streams.media import probe

    try:
        info = probe(path)
    except MediaError as error:
        return VideoEmbedding(path, "", error=str(error))
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


def _worker_embed(path: str) -> VideoEmbedding:
    model = _loaded_model()
    if _job is None:
        raise ModelError("the worker was started without a job")
    windows = _job.windows
    try:
        result: VideoEmbedding = model.embed(
            path, window=windows.window_seconds, stride=windows.stride_seconds, batch_size=_job.batch_size
        )
        return result
    except (ModelError, UsageError):
        raise
    except TristreamError as error:
        return VideoEmbedding(path, model.model_id, error=str(error))
    except MemoryError:
        return VideoEmbedding(path, model.model_id, error=f"needs more than {_job.memory_bytes} bytes of memory")
    except Exception as error:  # one file must not end the run, whatever a decoder or network trips over
        return VideoEmbedding(path, model.model_id, error=f"{type(error).__name__}: {error}")
