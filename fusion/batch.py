"""Many files, each in a worker process that may crash, hang or run out of memory at the cost of that one.

paths -> workers -> VideoEmbedding each, with `error` set where it failed; needs no torch in this process
"""

import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any, Generic, NoReturn, TypeVar

from pebble import ProcessExpired, ProcessPool

from tristream.fusion import worker
from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.worker import Job
from tristream.streams.errors import ModelError, UsageError

__all__ = ["Job", "Workers", "cores", "embed_files", "in_order"]

MEMORY_SHARE = 0.9  # of the machine's memory that the workers may take together
LEAST_MEMORY_BYTES = 2 << 30  # beside its model, that a worker may take in any case
PULSE_SECONDS = 1.0  # a worker that died in an unforeseen way is noticed so soon
RESULTS_AHEAD = 4  # results held for each worker while one that comes before them is awaited

K = TypeVar("K")
T = TypeVar("T")


class Workers(Generic[K]):
    """Worker processes, each of which loads the model once and then takes one file at a time.

    Each is a pool of one: whatever happens to a worker, in whatever moment, no lock or pipe of another is
    touched, and its own go with it. `K` is what the caller knows a file by.

    Args:
        jobs: the most processes, each with its share of the cores and the memory.
        timeout_seconds: that a file may take, not counting the loading of the model; None for no bound.

    Raises:
        UsageError: jobs or timeout_seconds that cannot be.
    """

    def __init__(self, job: Job, *, jobs: int, timeout_seconds: float | None) -> None:
        if jobs < 1:
            raise UsageError(f"jobs must be at least 1, got {jobs}")
        if timeout_seconds is not None and not timeout_seconds > 0:
            raise UsageError(f"timeout must be more than 0 seconds, got {timeout_seconds}")
        self.jobs = jobs
        self.job = replace(job, threads=max(1, cores() // jobs), memory_bytes=memory_share_bytes(jobs))
        self._loaded = False  # whether a worker has loaded the model, and fetched what it lacked
        self.dims: dict[str, int] = {}  # length of each stream's vector, known once a file is done
        self._timeout_seconds = timeout_seconds
        self._all: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._busy: dict[Future[VideoEmbedding], tuple[_Worker, K, str]] = {}

    def __enter__(self) -> "Workers[K]":
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers, whatever they are busy with."""
        for each in self._all:
            each.tell_to_stop()
        for each in self._all:
            each.wait_for_end()

    def __len__(self) -> int:
        """How many files are in work."""
        return len(self._busy)

    @property
    def free(self) -> bool:
        """Whether a worker could begin with a file now."""
        # One worker alone fetches what a hub gives; the others find it in the cache.
        fetching = not self._loaded and any(weights.hub for weights in self.job.source.weights.values())
        return len(self._busy) < (1 if fetching else self.jobs)

    def start(self, key: K, path: str) -> None:
        """Begin with a file, where a worker is free."""
        if not self._idle:
            self._idle.append(_Worker(self.job))
            self._all.append(self._idle[0])
        each = self._idle.pop()
        self._busy[each.embed(path, self._timeout_seconds)] = each, key, path

    def collect(self, wait_seconds: float | None = None) -> list[tuple[K, VideoEmbedding]]:
        """Wait until a file is done, at most so long; those that are, with `error` set where they failed.

        Raises:
            ModelError, UsageError: the model cannot be loaded.
        """
        wait(self._busy, PULSE_SECONDS if wait_seconds is None else wait_seconds, FIRST_COMPLETED)
        results = []
        for future, (each, key, path) in list(self._busy.items()):
            loss = None if future.done() else each.loss()
            if future.done() or loss is not None:
                del self._busy[future]
                if (result := self._settle(future, loss, each, path)) is not None:
                    results.append((key, result))
                else:
                    self.start(key, path)
        return results

    def _know(self, each: "_Worker") -> None:
        """Take in what a worker that has loaded the model knows of it."""
        self.dims = each.dims()
        self._loaded = True

    def _settle(
        self, future: "Future[VideoEmbedding]", loss: Exception | None, each: "_Worker", path: str
    ) -> VideoEmbedding | None:
        """What became of a file; None where its worker was gone before it began with it."""
        error = loss or future.exception()
        if error is None:
            self._idle.append(each)
            self._know(each)
            return future.result()
        self._know(each)  # raises where the model could not be loaded
        each.tell_to_stop()
        each.wait_for_end()
        self._all.remove(each)
        blank = VideoEmbedding(path, self.job.source.model_id)
        if isinstance(error, TimeoutError):
            return replace(blank, error=f"not done after {self._timeout_seconds:g} s; --timeout gives it more")
        if isinstance(error, ProcessExpired):
            return replace(blank, error=f"the worker process {_death(error)}")
        if isinstance(error, BrokenProcessPool):
            return None
        raise error


class _Worker:
    """One process, from its start to its end."""

    def __init__(self, job: Job) -> None:
        self._pool: Any = ProcessPool(
            max_workers=1,
            context=get_context("spawn"),  # torch's and FFmpeg's threads do not survive a fork
            initializer=worker.start,
            initargs=(job, os.getpid()),
        )
        # Ctrl-C in a terminal goes to every process; blocked here, it is in the threads and the process begun here.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._loading: Future[worker.Loaded] = self._pool.schedule(worker.load)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._gone_since: float | None = None

    def embed(self, path: str, timeout_seconds: float | None) -> "Future[VideoEmbedding]":
        """Begin with a file; the time counts from when the worker takes it up."""
        try:
            future: Future[VideoEmbedding] = self._pool.schedule(worker.embed, (path,), timeout=timeout_seconds)
        except RuntimeError:  # the process was ended while it had nothing to do
            future = Future()
            future.set_exception(BrokenProcessPool())
        return future

    def loss(self) -> Exception | None:
        """How the process has ended, where it has in a way that leaves its file unanswered for good."""
        if not self._pool.active:
            return BrokenProcessPool()
        if not self._loading.done() or self._loading.exception() or _is_alive(self._loading.result().pid):
            return None
        # pebble may be on its way to notice, but takes exit code 0 for the end of a worker with nothing to do.
        self._gone_since = self._gone_since or monotonic()
        if monotonic() - self._gone_since < PULSE_SECONDS:
            return None
        return ProcessExpired("", 0)  # type: ignore[no-untyped-call]

    def dims(self) -> dict[str, int]:
        """The length of each stream's vector, as the loaded model says."""
        try:
            return self._loading.result(0).dims
        except ProcessExpired as error:
            _not_loaded(f"its process {_death(error)}")
        except (BrokenProcessPool, CancelledError, TimeoutError):
            # The commonest reason: a script without that guard is run again by the process it starts.
            _not_loaded('its process ended as it began; does the script start with `if __name__ == "__main__"`?')

    def tell_to_stop(self) -> None:
        self._pool.stop()

    def wait_for_end(self) -> None:
        self._pool.join()


def embed_files(
    job: Job, paths: Iterable[str], *, jobs: int, timeout_seconds: float | None
) -> Iterator[VideoEmbedding]:
    """The embeddings of files, in their order.

    Raises:
        ModelError, UsageError: the model cannot be loaded, or an argument cannot be.
    """
    with Workers[int](job, jobs=jobs, timeout_seconds=timeout_seconds) as workers:
        for _, result in in_order(workers, ((None, path) for path in paths)):
            yield result


def in_order(workers: Workers[int], items: Iterable[tuple[T, str]]) -> Iterator[tuple[T, VideoEmbedding]]:
    """Whatever comes with each path, and the path's result, in the order of the paths."""
    waiting: dict[int, T] = {}
    done: dict[int, VideoEmbedding] = {}
    for number, (item, path) in enumerate(items):
        while not workers.free or len(waiting) >= workers.jobs * RESULTS_AHEAD:
            done.update(workers.collect())
            yield from _ripe(waiting, done)
        waiting[number] = item
        workers.start(number, path)
    while waiting:
        done.update(workers.collect())
        yield from _ripe(waiting, done)


def _ripe(waiting: dict[int, T], done: dict[int, VideoEmbedding]) -> Iterator[tuple[T, VideoEmbedding]]:
    """The results before which nothing is awaited."""
    while (first := next(iter(waiting), None)) in done:
        yield waiting.pop(first), done.pop(first)


def _not_loaded(why: str) -> NoReturn:
    raise ModelError(f"the model could not be loaded: {why}")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _death(error: ProcessExpired) -> str:
    """How a worker ended, in words."""
    code = error.exitcode
    if code is not None and code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return f"was ended by {name}" + (" (out of memory?)" if name in ("SIGKILL", "SIGABRT") else "")
    return f"ended with exit code {code}"


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_share_bytes(jobs: int) -> int | None:
    """Bytes of memory that each of so many workers may take beside its model; None where the machine does not tell."""
    try:
        total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):  # of a container
        with suppress(OSError, ValueError):
            total_bytes = min(total_bytes, int(Path(limit).read_text()))
    return max(int(total_bytes * MEMORY_SHARE / jobs), LEAST_MEMORY_BYTES)
