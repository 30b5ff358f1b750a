"""A run accounts for every file, embeds no content twice and leaves alone what is done."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tristream.fusion import run as run_module
from tristream.fusion.batch import Job
from tristream.fusion.config import POCKET
from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.parts import TableKind
from tristream.fusion.run import Planned, Summary, run
from tristream.fusion.source import ModelSource
from tristream.fusion.state import State
from tristream.fusion.windows import Windows

JOB = Job(ModelSource("fake", POCKET, {}), Windows(), 1)


class FakeWorkers:
    """Workers that finish files in an order of their own, and fail those whose path says so."""

    order: Sequence[int] = ()
    started: list[str]

    def __class_getitem__(cls, _: object) -> type:
        return cls

    def __init__(self, job: Job, *, jobs: int, timeout_seconds: float | None) -> None:
        self.job, self.jobs = job, jobs
        self.dims = {"spatial": 1}
        self._busy: list[tuple[Planned, str]] = []
        self._order = iter(FakeWorkers.order)
        FakeWorkers.started = []

    def __enter__(self) -> "FakeWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        self._busy.clear()

    def __len__(self) -> int:
        return len(self._busy)

    @property
    def free(self) -> bool:
        return len(self._busy) < self.jobs

    def start(self, key: Planned, path: str) -> None:
        assert self.free
        FakeWorkers.started.append(path)
        self._busy.append((key, path))

    def collect(self) -> list[tuple[Planned, VideoEmbedding]]:
        turn = next(self._order, 0)
        if turn == 3:  # nothing was done in time
            return []
        key, path = self._busy.pop(turn % len(self._busy))
        blank = VideoEmbedding(path, "m", duration_seconds=2.0)
        if Path(path).read_text().startswith("bad"):
            return [(key, replace(blank, error="is damaged"))]
        return [(key, replace(blank, warnings=("cut off",) if "cut" in Path(path).read_text() else ()))]


class MemorySink:
    """A table in memory, which asserts what a table may expect."""

    def __init__(self, before: Sequence[dict[str, Any]] = ()) -> None:
        self.rows = {row["path"]: row for row in before}
        self.begun = bool(before)

    def state(self, path: str, content_sha256: str, retry_failed: bool) -> State:
        known = self.rows.get(path)
        if known is not None and known["content_sha256"] == content_sha256:
            if known["status"] == "ok":
                return State.DONE
            return State.AGAIN if retry_failed else State.FAILED
        return State.NEW

    def begin(self, kind: TableKind) -> None:
        assert kind.dims == {"spatial": 1}
        self.begun = True

    def holds(self, content_sha256: str) -> list[dict[str, Any]]:
        rows = self.rows.values()
        return [row for row in rows if row["content_sha256"] == content_sha256 and row["status"] == "ok"][:1]

    def put(self, rows: list[dict[str, Any]]) -> None:
        assert self.begun
        self.rows[rows[0]["path"]] = rows[0]

    def flush_if_due(self) -> None:
        """Nothing waits."""


@pytest.fixture(autouse=True)
def _fake_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "Workers", FakeWorkers)


def _run(paths: list[str], sink: MemorySink, **options: Any) -> Summary:
    return run(paths, sink, JOB, jobs=options.pop("jobs", 2), timeout_seconds=None, **options)


@dataclass(frozen=True)
class Case:
    """Files by their content, and how a run over them goes."""

    contents: list[str]
    order: list[int]
    jobs: int
    limit: int | None
    again: bool


CASES = st.builds(
    Case,
    st.lists(st.sampled_from(["good-1", "good-2", "good-cut", "bad-1", "bad-2"]), max_size=10),
    st.lists(st.integers(0, 3), max_size=20),
    st.integers(1, 3),
    st.none() | st.integers(1, 4),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(CASES)
def test_every_file_is_accounted_for_and_no_content_is_embedded_twice(
    tmp_path_factory: pytest.TempPathFactory, case: Case
) -> None:
    folder = tmp_path_factory.mktemp("run")
    paths = []
    for number, content in enumerate(case.contents):
        path = folder / f"{number}.avi"
        path.write_text(content)
        paths.append(str(path))
    FakeWorkers.order = case.order
    seen: list[int] = []
    sink = MemorySink()
    first = _run(
        paths, sink, jobs=case.jobs, limit=case.limit, on_result=lambda summary: seen.append(summary.accounted)
    )
    assert first.accounted == first.total == len(paths)
    assert seen == sorted(seen)
    assert len(sink.rows) == first.embedded + first.copied + first.failed
    assert first.left == (max(0, len(paths) - case.limit) if case.limit else 0)
    embedded = [Path(path).read_text() for path in FakeWorkers.started if not Path(path).read_text().startswith("bad")]
    assert len(embedded) == len(set(embedded)) == first.embedded
    assert first.media_seconds == 2.0 * first.embedded
    assert first.warned == embedded.count("good-cut")
    for path in sink.rows:
        assert (sink.rows[path]["status"] == "ok") == (not Path(path).read_text().startswith("bad"))
        assert sink.rows[path]["path"] == path

    FakeWorkers.order = case.order
    second = _run(paths, sink, jobs=case.jobs, retry_failed=case.again)
    assert second.accounted == second.total == len(paths)
    assert second.done_before == first.embedded + first.copied
    assert (second.failed_before == 0) if case.again else (second.failed_before == first.failed)
    bad = sum(content.startswith("bad") for content in case.contents)
    assert second.exit_code == (0 if not bad else 3 if bad == len(paths) else 2)


def test_a_file_that_is_not_there_is_a_failed_row_and_not_a_copy_of_another(tmp_path: Path) -> None:
    class Missing(FakeWorkers):
        def collect(self) -> list[tuple[Planned, VideoEmbedding]]:
            key, path = self._busy.pop()
            return [(key, VideoEmbedding(path, "m", error=f"no file at {path}"))]

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(run_module, "Workers", Missing)
        sink = MemorySink()
        summary = _run([str(tmp_path / "a.avi"), str(tmp_path / "b.avi")], sink)
    assert (summary.failed, summary.exit_code) == (2, 3)
    assert len({row["id"] for row in sink.rows.values()}) == 2
    assert sorted(error for _, error in summary.errors) == [f"no file at {tmp_path}/{name}.avi" for name in "ab"]


def test_a_copy_of_a_failed_file_names_itself_in_its_error(tmp_path: Path) -> None:
    class Failing(FakeWorkers):
        def collect(self) -> list[tuple[Planned, VideoEmbedding]]:
            key, path = self._busy.pop()
            return [(key, VideoEmbedding(path, "m", error=f"{path} is damaged"))]

    paths = [str(tmp_path / "a.avi"), str(tmp_path / "b.avi")]
    for path in paths:
        Path(path).write_text("bad")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(run_module, "Workers", Failing)
        sink = MemorySink()
        summary = _run(paths, sink)
    assert [sink.rows[path]["error"] for path in paths] == [f"{path} is damaged" for path in paths]
    assert summary.errors == [(path, f"{path} is damaged") for path in paths]


def test_files_beyond_the_limit_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(tmp_path / f"{name}.avi") for name in "abcd"]
    for path in paths:
        Path(path).write_text(path)
    read: list[Path] = []
    monkeypatch.setattr(run_module, "sha256_of", lambda path: read.append(path) or str(path))
    sink = MemorySink([{"path": paths[0], "content_sha256": paths[0], "status": "ok"}])
    summary = _run(paths, sink, limit=1)
    assert (summary.total, summary.done_before, summary.embedded, summary.left) == (4, 1, 1, 2)
    assert read == [Path(path) for path in paths[:2]]


def test_nothing_to_do_starts_no_worker(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    path.write_text("good")
    content = hashlib.sha256(b"good").hexdigest()
    summary = _run([str(path)], MemorySink([{"path": str(path), "content_sha256": content, "status": "ok"}]))
    assert (summary.done_before, summary.total, summary.exit_code) == (1, 1, 0)
    assert FakeWorkers.started == []


def test_an_error_ends_the_workers_and_reaches_the_caller(tmp_path: Path) -> None:
    class Broken(MemorySink):
        def put(self, rows: list[dict[str, Any]]) -> None:
            raise KeyboardInterrupt

    ended: list[object] = []

    class Workers(FakeWorkers):
        def __exit__(self, kind: object, *_: object) -> None:
            ended.append(kind)

    (tmp_path / "a.avi").write_text("good")
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(KeyboardInterrupt):
        monkeypatch.setattr(run_module, "Workers", Workers)
        _run([str(tmp_path / "a.avi")], Broken())
    assert ended == [KeyboardInterrupt]


@pytest.mark.parametrize(
    ("counts", "code"),
    [
        ({}, 0),
        ({"embedded": 2}, 0),
        ({"embedded": 1, "failed": 1}, 2),
        ({"done_before": 1, "failed_before": 1}, 2),
        ({"failed": 1}, 3),
        ({"failed_before": 2}, 3),
        ({"failed": 1, "left": 5}, 3),
    ],
)
def test_exit_codes(counts: dict[str, int], code: int) -> None:
    assert Summary(**counts).exit_code == code  # type: ignore[arg-type]
