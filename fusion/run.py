"""A batch run: files in, rows out, with what is done left alone and every file accounted for.

paths -> content sha256 -> done already? -> workers -> rows -> table
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from tristream.fusion.batch import Job, Workers
from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.folder import sha256_of
from tristream.fusion.parts import TableKind
from tristream.fusion.rows import moved, rows_of
from tristream.fusion.state import State
from tristream.streams.errors import MediaError
from tristream.streams.numbered import content_of_folder


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
    """How a run went; `total` is the sum of the six counts below it."""

    total: int = 0
    embedded: int = 0
    copied: int = 0
    done_before: int = 0
    failed: int = 0
    failed_before: int = 0
    left: int = 0  # beyond --limit, not looked at
    warned: int = 0
    clips: int = 0
    media_seconds: float = 0.0
    seconds: float = 0.0
    errors: list[tuple[str, str]] = field(default_factory=list)

    @property
    def accounted(self) -> int:
        """How many files it is clear what became of; `total` once the run is over."""
        return self.embedded + self.copied + self.done_before + self.failed + self.failed_before + self.left

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


def plan(paths: Iterable[str], sink: Sink, *, retry_failed: bool, fps: float | None = None) -> Iterator[Planned]:
    """What a run would do with each file; `fps` is that of folders of frames."""
    for path in paths:
        content = _content_of(path, fps)
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

    Args:
        limit: how many files to embed or copy at most; those after them are not even read, and count as left.

    Raises:
        ModelError, UsageError: the model cannot be loaded.
        TableError: the rows cannot be written.
    """
    with Workers[Planned](job, jobs=jobs, timeout_seconds=timeout_seconds) as workers:
        batch = _Run(sink, workers, on_result)
        rest = iter(paths)
        for planned in plan(rest, sink, retry_failed=retry_failed, fps=job.fps):
            batch.take(planned)
            if batch.taken == limit:
                break
        batch.leave(sum(1 for _ in rest))
        batch.finish()
    return batch.summary


class _Run:
    """The files in flight of one run."""

    def __init__(self, sink: Sink, workers: Workers[Planned], on_result: Callable[[Summary], None]) -> None:
        self.summary = Summary()
        self.taken = 0  # files that were not done before
        self._sink = sink
        self._workers = workers
        self._on_result = on_result
        self._twins: dict[str, list[Planned]] = {}  # content in flight -> its other paths
        self._begun = False
        self._began = monotonic()

    def take(self, planned: Planned) -> None:
        """Deal with one file; returns once a worker has it."""
        self.summary.total += 1
        if planned.state is State.DONE:
            self.summary.done_before += 1
        elif planned.state is State.FAILED:
            self.summary.failed_before += 1
        else:
            self.taken += 1
            self._start(planned)
        self._report()

    def leave(self, count: int) -> None:
        """Count files for which there is another run."""
        self.summary.total += count
        self.summary.left += count
        self._report()

    def finish(self) -> None:
        """Wait for the files still in flight."""
        while len(self._workers):
            self._collect()

    def _start(self, planned: Planned) -> None:
        content = planned.content_sha256
        if content in self._twins:
            self._twins[content].append(planned)
        elif content and (rows := self._sink.holds(content)):
            self._copy(rows, planned)
        else:
            while not self._workers.free:
                self._collect()
            if content:
                self._twins[content] = []
            self._workers.start(planned, planned.path)

    def _collect(self) -> None:
        """Take in the files that are done, after a while at most."""
        results = self._workers.collect()
        if results and not self._begun:
            job = self._workers.job
            source = job.source
            dims, weights = self._workers.dims, source.config.stream_weights
            kind = TableKind(source.model_id, source.name, job.windows, dims, weights, source.asked)
            self._sink.begin(kind)
            self._begun = True
        for planned, result in results:
            rows = rows_of(result, planned.path, planned.content_sha256)
            self._count(result, planned.path)
            self._sink.put(rows)
            for twin in self._twins.pop(planned.content_sha256, []):
                self._copy(rows, twin)
        self._sink.flush_if_due()
        self._report()

    def _copy(self, rows: list[dict[str, Any]], planned: Planned) -> None:
        rows = moved(rows, planned.path)
        self._sink.put(rows)
        if rows[0]["status"] == "ok":
            self.summary.copied += 1
        else:
            self.summary.failed += 1
            self.summary.errors.append((planned.path, rows[0]["error"]))

    def _count(self, result: VideoEmbedding, path: str) -> None:
        summary = self.summary
        if result.error is not None:
            summary.failed += 1
            summary.errors.append((path, result.error))
            return
        summary.embedded += 1
        summary.clips += len(result.clips)
        summary.media_seconds += result.duration_seconds or 0.0
        summary.warned += len(result.warnings) > bool(self._workers.job.source.warning)  # that one is on every row

    def _report(self) -> None:
        self.summary.seconds = monotonic() - self._began
        self._on_result(self.summary)


def _content_of(path: str, fps: float | None) -> str:
    """The sha256 of a file or folder of frames; empty where it cannot be read, which its worker will say."""
    try:
        if fps is not None and Path(path).is_dir():
            return content_of_folder(Path(path), fps)
        return sha256_of(Path(path)) if Path(path).is_file() else ""
    except (OSError, MediaError):
        return ""
