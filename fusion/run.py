"""A batch run: files in, rows out, with what is done left alone and every file accounted for.

paths -> content sha256 -> done already? -> workers -> rows -> table
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from tristream.fusion.batch import Job, Workers, as_completed
from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.folder import sha256_of
from tristream.fusion.rows import moved, rows_of
from tristream.fusion.state import State
from tristream.fusion.table import TableKind

PULSE_SECONDS = 1.0  # waiting for a slow file is interrupted so often, to make what is done last


class Sink(Protocol):
    """Where rows go: a table, or a stream that remembers nothing."""

    def state(self, path: str, content_sha256: str, retry_failed: bool) -> State:
        """What is to be done with a file."""

    def begin(self, kind: TableKind) -> None:
        """Say what the rows to come have in common."""

    def holds(self, content_sha256: str) -> list[dict[str, Any]]:
        """The rows of content embedded before."""

    def put(self, rows: list[dict[str, Any]]) -> None:
        """Take all rows of one path."""

    def flush_if_due(self) -> None:
        """A moment to make rows that wait last."""


@dataclass
class Summary:
    """How a run went; `total` is the sum of the five counts below it."""

    total: int = 0
    embedded: int = 0
    copied: int = 0
    done_before: int = 0
    failed: int = 0
    failed_before: int = 0
    left: int = 0  # beyond --limit
    warned: int = 0
    clips: int = 0
    media_seconds: float = 0.0
    seconds: float = 0.0
    errors: list[tuple[str, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: all have their embeddings; 2: some have not; 3: none has."""
        bad = self.failed + self.failed_before
        if not bad:
            return 0
        return 2 if self.embedded + self.copied + self.done_before else 3


@dataclass(frozen=True)
class Planned:
    """A file, its content, and what is to be done with it."""

    path: str
    content_sha256: str  # empty where the file cannot be read
    state: State


def plan(paths: Iterable[str], sink: Sink, *, retry_failed: bool) -> Iterator[Planned]:
    """What a run would do with each file."""
    for path in paths:
        content = _content_of(path)
        yield Planned(path, content, sink.state(path, content, retry_failed))


def run(
    paths: Iterable[str],
    sink: Sink,
    job: Job,
    *,
    jobs: int,
    timeout_seconds: float | None,
    retry_failed: bool = False,
    limit: int | None = None,
    on_result: Callable[[Summary], None] = lambda _: None,
) -> Summary:
    """Embed the files that need it and put their rows into the sink.

    Raises:
        ModelError, UsageError: the model cannot be loaded.
        TableError: the rows cannot be written.
    """
    batch = _Run(sink, job, jobs, timeout_seconds, on_result)
    try:
        for planned in plan(paths, sink, retry_failed=retry_failed):
            batch.take(planned, limit)
        batch.finish()
    except BaseException as error:
        batch.stop(error)
        raise
    batch.stop(None)
    return batch.summary


class _Run:
    """The files in flight of one run."""

    def __init__(
        self,
        sink: Sink,
        job: Job,
        jobs: int,
        timeout_seconds: float | None,
        on_result: Callable[[Summary], None],
    ) -> None:
        self.summary = Summary()
        self._sink = sink
        self._job = job
        self._jobs = jobs
        self._timeout_seconds = timeout_seconds
        self._on_result = on_result
        self._workers: Workers | None = None  # started when there is something to do
        self._running: dict[Future[VideoEmbedding], Planned] = {}
        self._twins: defaultdict[str, list[Planned]] = defaultdict(list)  # content in flight -> its other paths
        self._taken = 0
        self._began = monotonic()

    def take(self, planned: Planned, limit: int | None) -> None:
        """Deal with one file; returns when there is room for the next."""
        self.summary.total += 1
        if planned.state is State.DONE:
            self.summary.done_before += 1
        elif planned.state is State.FAILED:
            self.summary.failed_before += 1
        elif limit is not None and self._taken >= limit:
            self.summary.left += 1
        else:
            self._taken += 1
            self._start(planned)
        self._report()

    def finish(self) -> None:
        """Wait for the files still in flight."""
        while self._running:
            self._collect()

    def stop(self, error: BaseException | None) -> None:
        """End the workers, at once where there was an error."""
        if self._workers is not None:
            self._workers.__exit__(type(error) if error else None, error, None)

    def _start(self, planned: Planned) -> None:
        content = planned.content_sha256
        if any(other.content_sha256 == content for other in self._running.values() if content):
            self._twins[content].append(planned)
        elif content and (rows := self._sink.holds(content)):
            self._copy(rows, planned)
        else:
            workers = self._open()
            self._running[workers.embed(planned.path)] = planned
            while len(self._running) >= workers.room:
                self._collect()

    def _open(self) -> Workers:
        if self._workers is None:
            self._workers = Workers(self._job, jobs=self._jobs, timeout_seconds=self._timeout_seconds)
            dims = self._workers.dims()
            source = self._job.source
            self._sink.begin(TableKind(source.model_id, source.name, self._job.windows, dims))
        return self._workers

    def _collect(self) -> None:
        """Take in the files that are done, after a while at most."""
        self._sink.flush_if_due()
        for future in as_completed(self._running, PULSE_SECONDS):
            planned = self._running.pop(future)
            result = future.result()
            rows = rows_of(result, planned.path, planned.content_sha256)
            self._count(result, planned.path)
            self._sink.put(rows)
            for twin in self._twins.pop(planned.content_sha256, []):
                self._copy(rows, twin)
            self._report()

    def _copy(self, rows: list[dict[str, Any]], planned: Planned) -> None:
        self._sink.put(moved(rows, planned.path))
        if rows[0]["status"] == "ok":
            self.summary.copied += 1
        else:
            self.summary.failed += 1
            self.summary.errors.append((planned.path, rows[0]["error"]))

    def _count(self, result: VideoEmbedding, path: str) -> None:
        summary = self.summary
        summary.media_seconds += result.duration_seconds or 0.0
        summary.clips += len(result.clips)
        if result.error is not None:
            summary.failed += 1
            summary.errors.append((path, result.error))
        else:
            summary.embedded += 1
            summary.warned += len(result.warnings) > bool(self._job.source.warning)

    def _report(self) -> None:
        self.summary.seconds = monotonic() - self._began
        self._on_result(self.summary)


def _content_of(path: str) -> str:
    """The sha256 of a file; empty where it cannot be read, which its worker will say."""
    try:
        return sha256_of(Path(path)) if Path(path).is_file() else ""
    except OSError:
        return ""
