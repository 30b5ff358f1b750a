"""A table that is killed, filled up, damaged and reopened holds each path's rows exactly once."""

import errno
import io
import json
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tristream.fusion import table as table_module
from tristream.fusion.parts import is_table, read_rows
from tristream.fusion.state import State
from tristream.fusion.table import EmbeddingTable, remove_table
from tristream.fusion.windows import Windows
from tristream.streams.errors import TableError

sys.path.append(str(Path(__file__).parent))  # the processes below are given this path
from fake_rows import (
    KIND,
    MODEL_ID,
    PATHS,
    WINDOWS,
    content_of,
    fill,
    fill_a_small_disk,
    fill_and_die,
    rows_for,
)


def _open(folder: Path) -> EmbeddingTable:
    table = EmbeddingTable(folder, MODEL_ID, WINDOWS)
    table.begin(KIND)
    return table


def _put(folder: Path, *rows: list[dict[str, Any]]) -> None:
    with _open(folder) as table:
        for each in rows:
            table.put(each)


def _content(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What a table holds of each path, timings aside."""
    content: dict[str, list[tuple[Any, ...]]] = {}
    for row in read_rows(folder):
        vector = None if row["embedding"] is None else tuple(row["embedding"].tolist())
        shown = (row["id"], vector, row["level"], row["start_seconds"], row["status"], row["error"])
        content.setdefault(row["path"], []).append(shown)
    return content


def _expected(*rows: list[dict[str, Any]]) -> dict[str, list[tuple[Any, ...]]]:
    def vector(row: dict[str, Any]) -> tuple[float, ...] | None:
        return None if row["embedding"] is None else tuple(row["embedding"].tolist())

    return {
        each[0]["path"]: [
            (row["id"], vector(row), row["level"], row["start_seconds"], row["status"], row["error"]) for row in each
        ]
        for each in rows
    }


def _crash(table: EmbeddingTable) -> None:
    """What the death of its process does to a table: the lock goes, what waited is lost."""
    assert table._lock is not None
    os.close(table._lock)
    table._lock = None


# What others read


def test_pyarrow_reads_a_table_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    _put(folder, rows_for("/a.avi"), rows_for("/b.avi", ok=False))
    _put(folder, rows_for("/c.avi"))
    (folder / ".part-0.parquet.tmp").write_bytes(b"half a part")
    dataset = pa.dataset.dataset(folder)
    read = dataset.to_table()
    assert read.num_rows == 3 + 1 + 3
    assert dataset.schema.field("embedding").type == pa.list_(pa.float32(), 5)
    about = json.loads(dataset.schema.metadata[b"tristream"])
    assert about["streams"] == {
        "spatial": {"offset": 0, "length": 3, "weight": 1.0},
        "audio": {"offset": 3, "length": 2, "weight": 1.0},
    }
    assert (about["model_id"], about["window_seconds"], about["stride_seconds"]) == (MODEL_ID, 2.0, 2.0)
    failed = read.filter(pa.compute.field("status") == "error").to_pylist()[0]
    assert failed["embedding"] is None
    assert failed["error"] == "/b.avi is damaged"
    row = read.filter(pa.compute.field("path") == "/a.avi").to_pylist()[0]
    assert row["embedding"] == rows_for("/a.avi")[0]["embedding"].tolist()
    assert (row["level"], row["has_spatial"], row["has_audio"]) == ("video", True, False)


def test_rows_read_back_have_vectors_where_there_are_any(tmp_path: Path) -> None:
    _put(tmp_path, rows_for("/b.avi", ok=False), rows_for("/a.avi"))
    rows = read_rows(tmp_path, ["/b.avi", "/none.avi", "/a.avi"])
    assert [row["path"] for row in rows] == ["/b.avi", "/a.avi", "/a.avi", "/a.avi"]
    assert rows[0]["embedding"] is None
    for row, made in zip(rows[1:], rows_for("/a.avi"), strict=True):
        np.testing.assert_array_equal(row["embedding"], made["embedding"])


# What is to be done with a file


def test_states(tmp_path: Path) -> None:
    _put(tmp_path, rows_for("/ok.avi"), rows_for("/bad.avi", ok=False))
    with _open(tmp_path) as table:
        assert table.state("/ok.avi", content_of("/ok.avi"), False) is State.DONE
        assert table.state("/ok.avi", content_of("changed"), False) is State.AGAIN
        assert table.state("/copy.avi", content_of("/ok.avi"), False) is State.COPY
        assert table.state("/bad.avi", content_of("/bad.avi"), False) is State.FAILED
        assert table.state("/bad.avi", content_of("/bad.avi"), True) is State.AGAIN
        assert table.state("/new.avi", content_of("/new.avi"), False) is State.NEW


def test_a_retried_failure_is_replaced_in_its_place(tmp_path: Path) -> None:
    _put(tmp_path, rows_for("/a.avi"), rows_for("/bad.avi", ok=False))
    parts = sorted(tmp_path.iterdir())
    _put(tmp_path, rows_for("/bad.avi"))
    assert sorted(tmp_path.iterdir()) == parts
    assert _content(tmp_path) == _expected(rows_for("/a.avi"), rows_for("/bad.avi"))


def test_changed_content_replaces_the_rows_of_its_path(tmp_path: Path) -> None:
    _put(tmp_path, rows_for("/a.avi", "old", clips=5), rows_for("/b.avi"))
    _put(tmp_path, rows_for("/a.avi", "new", clips=1))
    assert _content(tmp_path) == _expected(rows_for("/a.avi", "new", clips=1), rows_for("/b.avi"))


def test_content_that_has_gone_is_not_handed_out_as_a_copy(tmp_path: Path) -> None:
    _put(tmp_path, rows_for("/a.avi", "old"))
    with _open(tmp_path) as table:
        assert len(table.holds(content_of("old"))) == 3
        table.put(rows_for("/a.avi", "new"))
        assert table.holds(content_of("old")) == []
        assert table.state("/b.avi", content_of("old"), False) is State.NEW
        assert table.holds(content_of("new"))[0]["content_sha256"] == content_of("new")


def test_copies_alone_keep_the_table_s_schema(tmp_path: Path) -> None:
    _put(tmp_path, rows_for("/a.avi"))
    with EmbeddingTable(tmp_path, MODEL_ID, WINDOWS) as table:  # no model was loaded: `begin` was not called
        table.put([row | {"path": "/copy.avi"} for row in table.holds(content_of("/a.avi"))])
    schemas = [pq.read_schema(part) for part in tmp_path.iterdir()]
    assert len(schemas) == 2
    assert schemas[0].equals(schemas[1], check_metadata=True)


def test_a_name_that_is_no_utf8_is_kept_and_known_again(tmp_path: Path) -> None:
    path = os.fsdecode(b"/videos/caf\xe9.avi")
    _put(tmp_path, rows_for(path, "content"), rows_for(os.fsdecode(b"/\xff.avi"), ok=False, content="bad"))
    with _open(tmp_path) as table:
        assert table.state(path, content_of("content"), False) is State.DONE
    assert [row["path"] for row in read_rows(tmp_path, [path])] == ["/videos/caf\\udce9.avi"] * 3


# Being killed

OPERATION = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("abcd"), st.sampled_from("xyz"), st.booleans()),
    st.sampled_from([("flush",), ("kill",), ("kill while writing",), ("close",)]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(OPERATION, max_size=14))
def test_any_history_gives_each_path_one_set_of_rows(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[Any, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("history")
    lasting: dict[str, list[dict[str, Any]]] = {}
    waiting: dict[str, list[dict[str, Any]]] = {}
    table = _open(folder)
    for name, *values in operations:
        if name == "put":
            path, content, ok = values
            waiting[path] = rows_for(path, content, ok=ok, clips=1 + ord(content) % 3)
            table.put(waiting[path])
            continue
        if name == "flush":
            table.flush()
        elif name == "close":
            table.__exit__(None, None, None)
        else:
            _crash(table)
            waiting.clear()
        if name == "kill while writing":
            (folder / ".part-1.parquet.tmp").write_bytes(b"PAR1")
        lasting |= waiting
        waiting.clear()
        if name != "flush":
            assert _content(folder) == _expected(*lasting.values())
            table = _open(folder)
    table.__exit__(None, None, None)
    assert _content(folder) == _expected(*(lasting | waiting).values())
    assert not list(folder.glob(".*"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[Any, ...]]]:
    """What an uninterrupted run leaves."""
    folder = tmp_path_factory.mktemp("whole") / "table"
    fill(folder)
    content = _content(folder)
    assert set(content) == set(PATHS)
    assert {row[4] for rows in content.values() for row in rows} == {"ok"}
    return content


@pytest.fixture(scope="module")
def fork() -> Any:
    """Processes that have everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tristream.fusion.table"])
    return context


def test_killed_at_every_rename_and_resumed(tmp_path: Path, fork: Any, whole: dict[str, Any]) -> None:
    kills = 0
    for before, after in [(n, -1) for n in range(10)] + [(-1, n) for n in range(10)]:
        folder = tmp_path / f"{before}{after}"
        process = fork.Process(target=fill_and_die, args=(str(folder), before, after))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        assert set(_content(folder)) <= set(whole)  # readable as it is
        fill(folder)
        assert _content(folder) == whole
        assert is_table(folder)
    assert kills == 20


def test_killed_at_random_and_resumed(tmp_path: Path, fork: Any, whole: dict[str, Any]) -> None:
    chance = np.random.default_rng(0)
    kills, folder, levels = 0, tmp_path / "table-0", set()
    while kills < 30:
        begun_with = _parts(folder)
        # A part here and there, then within the next: by what it has written, not by how fast the machine is.
        kill_at = begun_with + int(chance.integers(0, 6))
        process = fork.Process(target=fill_and_die, args=(str(folder), -1, -1))
        process.start()
        while process.is_alive() and (_parts(folder) < kill_at or not folder.exists()):
            time.sleep(0.0005)
        process.join(chance.uniform(0, 0.005))
        process.kill()
        process.join()
        if process.exitcode == 0:  # it was done before
            assert _content(folder) == whole
            folder = tmp_path / f"table-{kills}"
            continue
        kills += 1
        held = _content(folder)
        levels.add(len(held))
        assert all(len(rows) in (1, 3) and len(set(rows)) == len(rows) for rows in held.values())
    fill(folder)
    assert _content(folder) == whole
    assert len(levels) > 3  # it was killed here and there


def _parts(folder: Path) -> int:
    return len(list(folder.glob("*.parquet")))


# Disks that fail


class _Flaky(io.FileIO):
    """A file whose writes count."""

    tick: Any

    def write(self, data: Any) -> int:
        self.tick()
        return super().write(data) or 0


def _fail_at(monkeypatch: pytest.MonkeyPatch, call: int) -> list[str]:
    """Let the call-th open, write, fsync or rename fail as on a full disk; the list fills with the calls made."""
    calls: list[str] = []
    opened, synced, renamed = Path.open, os.fsync, Path.replace

    def tick(name: str) -> None:
        calls.append(name)
        if len(calls) - 1 == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def flaky_open(self: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if mode != "wb":
            return opened(self, mode, *rest, **named)
        tick("open")
        file = _Flaky(self, "w")
        file.tick = lambda: tick("write")
        return file

    def flaky_sync(descriptor: int) -> None:
        tick("fsync")
        synced(descriptor)

    def flaky_rename(self: Path, target: Path) -> Path:
        tick("rename")
        return renamed(self, target)

    monkeypatch.setattr(Path, "open", flaky_open)
    monkeypatch.setattr(os, "fsync", flaky_sync)
    monkeypatch.setattr(Path, "replace", flaky_rename)
    return calls


def test_whichever_write_fails_old_data_stays_whole(tmp_path: Path) -> None:
    failures = 0
    for call in range(1000):
        folder = tmp_path / str(call)
        _put(folder, rows_for("/old.avi"), rows_for("/bad.avi", ok=False))
        added = rows_for("/bad.avi"), rows_for("/new.avi")
        with pytest.MonkeyPatch.context() as monkeypatch:
            calls = _fail_at(monkeypatch, call)
            try:
                _put(folder, *added)
            except TableError as error:
                failures += 1
                assert "No space left on device" in str(error)
                assert "the same command goes on from there" in str(error)
            else:
                break
        assert not list(folder.glob(".*"))
        held = _content(folder)
        assert held["/old.avi"] == _expected(rows_for("/old.avi"))["/old.avi"]
        assert held["/bad.avi"] in (_expected(rows_for("/bad.avi", ok=ok))["/bad.avi"] for ok in (True, False))
        _put(folder, *added)
        assert _content(folder) == _expected(rows_for("/old.avi"), *added)
    assert failures == call
    assert {"open", "write", "fsync", "rename"} == set(calls)
    assert failures > 10


def test_a_disk_that_is_full_ends_with_a_clear_error(tmp_path: Path, fork: Any) -> None:
    folder = tmp_path / "table"
    process = fork.Process(target=fill_a_small_disk, args=(str(folder),))
    process.start()
    process.join()
    assert process.exitcode == 1
    assert f"cannot write to the table {folder}: File too large" in (tmp_path / "said").read_text()
    assert not folder.exists()  # it made the folder, and nothing came into it


def test_a_read_only_folder_is_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(TableError, match=r"cannot write to the table .*: Read-only file system"):
        _open(tmp_path)


# What a table refuses


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with _open(tmp_path):
        with pytest.raises(TableError, match="another process is writing to the table"):
            _open(tmp_path)
        with pytest.raises(TableError, match="another process is writing to the table"):
            remove_table(tmp_path)
        EmbeddingTable(tmp_path, MODEL_ID, WINDOWS, write=False)  # to look at it is no harm
    _open(tmp_path).__exit__(None, None, None)


def test_another_model_is_refused_and_named(tmp_path: Path) -> None:
    _put(tmp_path, rows_for("/a.avi"))
    with pytest.raises(TableError, match=rf"made with model {MODEL_ID} \(fake\), not with ba9876543210.*--overwrite"):
        EmbeddingTable(tmp_path, "ba9876543210", WINDOWS)
    _open(tmp_path).__exit__(None, None, None)  # the refusal kept no lock


def test_other_windows_are_refused_and_named(tmp_path: Path) -> None:
    _put(tmp_path, rows_for("/a.avi"))
    with pytest.raises(TableError, match="made with --window 2 --stride 2"):
        EmbeddingTable(tmp_path, MODEL_ID, Windows(2.0, 1.0))


def test_a_damaged_part_is_named_with_what_to_do(tmp_path: Path) -> None:
    _put(tmp_path, *(rows_for(f"/{i}.avi") for i in range(20)))
    (part,) = tmp_path.iterdir()
    good = part.read_bytes()
    for damaged in (b"", good[: len(good) // 2], good[:-1], b"text" * 100):
        part.write_bytes(damaged)
        with pytest.raises(TableError, match=rf"{part.name} is damaged .*: delete that file"):
            _open(tmp_path)


def test_a_changed_byte_of_a_vector_is_noticed(tmp_path: Path) -> None:
    _put(tmp_path, *(rows_for(f"/{i}.avi") for i in range(20)))
    (part,) = tmp_path.iterdir()
    column = pq.read_metadata(part).row_group(0).column(1)
    data = bytearray(part.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(TableError, match="is damaged"):
        read_rows(tmp_path)


def test_what_is_no_table_is_neither_written_to_nor_deleted(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(b"meow")
    for act in (_open, remove_table):
        with pytest.raises(TableError, match=r"no embedding table|not an embedding table"):
            act(photos)
    (photos / "cat.jpg").rename(photos / "cat.parquet")
    pq.write_table(pa.table({"cat": ["meow"]}), photos / "cat.parquet")
    for act in (_open, remove_table):
        with pytest.raises(TableError, match=r"not of an embedding table|not an embedding table"):
            act(photos)
    assert [path.name for path in photos.iterdir()] == ["cat.parquet"]
    with pytest.raises(TableError, match="is a file, not the folder of a table"):
        _open(photos / "cat.parquet")


def test_overwriting_keeps_the_old_rows_until_new_ones_are_written(tmp_path: Path) -> None:
    _put(tmp_path, rows_for("/a.avi"))
    _put(tmp_path, rows_for("/b.avi"))
    old = sorted(tmp_path.iterdir())
    (tmp_path / ".DS_Store").touch()
    with EmbeddingTable(tmp_path, "ba9876543210", Windows(4.0, 4.0), overwrite=True) as table:
        assert table.state("/a.avi", content_of("/a.avi"), False) is State.NEW
    assert sorted(tmp_path.glob("*")) == [tmp_path / ".DS_Store", *old]
    table = EmbeddingTable(tmp_path, "ba9876543210", WINDOWS, overwrite=True)
    table.begin(replace(KIND, model_id="ba9876543210"))
    table.put(rows_for("/c.avi"))
    _crash(table)
    assert sorted(tmp_path.glob("[!.]*")) == old
    with EmbeddingTable(tmp_path, "ba9876543210", WINDOWS, overwrite=True) as table:
        table.begin(replace(KIND, model_id="ba9876543210"))
        table.put(rows_for("/c.avi"))
    assert set(_content(tmp_path)) == {"/c.avi"}
    assert (tmp_path / ".DS_Store").exists()


def test_overwriting_that_is_killed_leaves_a_table_that_can_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(tmp_path, rows_for("/a.avi"))

    def die(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as dying:
        dying.setattr("tristream.fusion.table.replace_rows", die)
        table = EmbeddingTable(tmp_path, "ba9876543210", WINDOWS, overwrite=True)
        table.put(rows_for("/c.avi"))
        with pytest.raises(MemoryError):
            table.flush()
        _crash(table)
    EmbeddingTable(tmp_path, "ba9876543210", WINDOWS).__exit__(None, None, None)


def test_dot_files_of_the_system_are_no_part(tmp_path: Path) -> None:
    _put(tmp_path, rows_for("/a.avi"))
    (part,) = tmp_path.iterdir()
    for name in (".DS_Store", f"._{part.name}"):
        (tmp_path / name).write_bytes(b"Mac OS X")
    assert is_table(tmp_path)
    _put(tmp_path, rows_for("/b.avi"))
    assert set(_content(tmp_path)) == {"/a.avi", "/b.avi"}
    remove_table(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".DS_Store", f"._{part.name}"]


def test_rows_wait_for_a_minute_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("tristream.fusion.table.monotonic", lambda: now[0])
    with _open(tmp_path) as table:
        now[0] = 1e6  # a run of 12 days
        table.put(rows_for("/a.avi"))
        assert set(_content(tmp_path)) == {"/a.avi"}
        now[0] += 59
        table.put(rows_for("/b.avi"))
        assert set(_content(tmp_path)) == {"/a.avi"}
        now[0] += 2
        table.flush_if_due()
        assert set(_content(tmp_path)) == {"/a.avi", "/b.avi"}


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.warns(UserWarning, match="has no locks: see to it that no other run writes"):
        _put(tmp_path, rows_for("/a.avi"))
    _put(tmp_path, rows_for("/b.avi"))
    assert set(_content(tmp_path)) == {"/a.avi", "/b.avi"}


def test_copies_out_of_one_part_read_it_once_and_see_it_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _put(tmp_path, rows_for("/a.avi"), rows_for("/b.avi"), rows_for("/c.avi"))
    reads: list[Path] = []
    read = table_module.read_part
    with _open(tmp_path) as table:
        monkeypatch.setattr(table_module, "read_part", lambda part: reads.append(part) or read(part))
        for path in ("/a.avi", "/b.avi"):
            assert {row["path"] for row in table.holds(content_of(path))} == {path}
        assert len(reads) == 1
        table.put(rows_for("/b.avi", "new"))
        table.flush()
        assert {row["content_sha256"] for row in table.holds(content_of("new"))} == {content_of("new")}
        assert table.holds(content_of("/b.avi")) == []


def test_a_table_can_be_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    _put(folder, rows_for("/a.avi"))
    remove_table(folder)
    remove_table(folder)
    assert not folder.exists()


def test_looking_makes_nothing(tmp_path: Path) -> None:
    table = EmbeddingTable(tmp_path / "table", MODEL_ID, WINDOWS, write=False)
    assert table.state("/a.avi", content_of("/a.avi"), False) is State.NEW
    assert not (tmp_path / "table").exists()
