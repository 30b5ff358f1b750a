"""Where rows come to lie, by what `-o` names: never over something else, and resumable whatever the form."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tristream.fusion.config import POCKET
from tristream.fusion.output import open_output
from tristream.fusion.parts import TableKind, is_table, read_rows
from tristream.fusion.run import Sink
from tristream.fusion.source import ModelSource
from tristream.fusion.state import State
from tristream.streams.errors import TableError, UsageError

sys.path.append(str(Path(__file__).parent))
from fake_rows import DIMS, WINDOWS, content_of, rows_for

SOURCE = ModelSource("fake", POCKET, {})
PATHS = ["/b.avi", "/a.avi"]


def _write(output: Path | str, *paths: str, overwrite: bool = False) -> None:
    with open_output(str(output), SOURCE, WINDOWS, PATHS, overwrite=overwrite) as sink:
        _put(sink, *paths)


def _put(sink: Sink, *paths: str) -> None:
    sink.begin(TableKind(SOURCE.model_id, "fake", WINDOWS, DIMS, dict.fromkeys(DIMS, 1.0)))
    for path in paths:
        sink.put(rows_for(path))


def test_a_folder_is_a_table_that_is_gone_on_with(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "table"
    _write(folder, "/a.avi")
    with open_output(str(folder), SOURCE, WINDOWS, PATHS, overwrite=False) as sink:
        assert sink.state("/a.avi", content_of("/a.avi"), False) is State.DONE
        _put(sink, "/b.avi")
    assert {row["path"] for row in read_rows(folder)} == {"/a.avi", "/b.avi"}


def test_overwrite_begins_a_table_anew_and_deletes_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    _write(folder, "/a.avi")
    _write(folder, "/b.avi", overwrite=True)
    assert {row["path"] for row in read_rows(folder)} == {"/b.avi"}
    (folder / "thesis.tex").write_text("ten years of work")
    with pytest.raises(TableError, match="is not an embedding table, so it is not overwritten"):
        _write(folder, "/b.avi", overwrite=True)
    assert (folder / "thesis.tex").read_text() == "ten years of work"


@pytest.mark.parametrize("suffix", [".npz", ".jsonl"])
def test_a_file_comes_whole_in_the_order_of_the_inputs(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    _write(path, "/a.avi", "/b.avi")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    if suffix == ".npz":
        with np.load(path) as file:
            paths = file["path"].tolist()
    else:
        paths = [json.loads(line)["path"] for line in path.read_text().splitlines()]
    assert paths == ["/b.avi"] * 3 + ["/a.avi"] * 3


def test_a_run_into_a_file_that_was_stopped_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with (
        pytest.raises(KeyboardInterrupt),
        open_output(str(path), SOURCE, WINDOWS, PATHS, overwrite=False) as sink,
    ):
        _put(sink, "/a.avi")
        raise KeyboardInterrupt
    assert not path.exists()
    assert is_table(tmp_path / "rows.jsonl.partial")
    with open_output(str(path), SOURCE, WINDOWS, PATHS, overwrite=False) as sink:
        assert sink.state("/a.avi", content_of("/a.avi"), False) is State.DONE
        _put(sink, "/b.avi")
    assert len(path.read_text().splitlines()) == 6
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("ok", [True, False])
def test_a_run_into_a_file_that_left_files_or_failed_goes_on(tmp_path: Path, ok: bool) -> None:
    path = tmp_path / "rows.jsonl"
    with open_output(str(path), SOURCE, WINDOWS, PATHS, overwrite=False) as sink:
        _put(sink, "/a.avi")
        if not ok:
            sink.put(rows_for("/b.avi", ok=False))
    assert len(path.read_text().splitlines()) == (3 if ok else 4)
    with open_output(str(path), SOURCE, WINDOWS, PATHS, overwrite=False) as sink:
        assert sink.state("/a.avi", content_of("/a.avi"), False) is State.DONE
        _put(sink, "/b.avi")
    assert [json.loads(line)["path"] for line in path.read_text().splitlines()] == ["/b.avi"] * 3 + ["/a.avi"] * 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]


def test_other_inputs_into_a_file_that_is_not_done_lose_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    _write(path, "/a.avi")
    with open_output(str(path), SOURCE, WINDOWS, ["/c.avi"], overwrite=False) as sink:
        _put(sink, "/c.avi")
    assert [json.loads(line)["path"] for line in path.read_text().splitlines()] == ["/c.avi"] * 3 + ["/a.avi"] * 3


@pytest.mark.parametrize("name", ["table", "rows.jsonl"])
def test_a_run_that_fails_or_has_nothing_to_do_overwrites_nothing(tmp_path: Path, name: str) -> None:
    output = tmp_path / name
    _write(output, *PATHS)
    before = _stamps(output) if output.is_dir() else output.read_bytes()
    with (
        pytest.raises(UsageError),
        open_output(str(output), SOURCE, WINDOWS, PATHS, overwrite=True),
    ):
        raise UsageError("no such backbone")
    with open_output(str(output), SOURCE, WINDOWS, [], overwrite=True):
        pass
    assert (_stamps(output) if output.is_dir() else output.read_bytes()) == before
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_overwrite_begins_a_partial_anew_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    _write(path, "/a.avi")
    with pytest.raises(UsageError), open_output(str(path), SOURCE, WINDOWS, PATHS, overwrite=True):
        raise UsageError("no such backbone")
    assert {row["path"] for row in read_rows(tmp_path / "rows.jsonl.partial")} == {"/a.avi"}
    _write(path, "/b.avi", overwrite=True)
    assert {json.loads(line)["path"] for line in path.read_text().splitlines()} == {"/b.avi"}


def test_an_existing_file_is_replaced_only_when_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    path.write_bytes(b"old")
    with pytest.raises(TableError, match=r"rows\.npz exists: use another -o, or --overwrite"):
        _write(path, "/a.avi")
    assert path.read_bytes() == b"old"
    _write(path, "/a.avi", overwrite=True)
    with np.load(path) as file:
        assert len(file["id"]) == 3


def test_a_suffix_that_is_not_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.csv is not written; use a folder, FILE\.npz"):
        _write(tmp_path / "rows.csv", "/a.avi")
    assert not list(tmp_path.iterdir())


def test_standard_output_is_pure_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    _write("-", "/a.avi")
    captured = capsys.readouterr()
    assert [json.loads(line)["level"] for line in captured.out.splitlines()] == ["video", "clip", "clip"]
    assert captured.err == ""


@pytest.mark.parametrize("name", ["table", "rows.npz"])
def test_looking_touches_nothing(tmp_path: Path, name: str) -> None:
    with open_output(str(tmp_path / name), SOURCE, WINDOWS, PATHS, overwrite=True, write=False) as sink:
        assert sink.state("/a.avi", content_of("/a.avi"), False) is State.NEW
    assert not list(tmp_path.iterdir())
    _write(tmp_path / "kept", "/a.avi")
    before = _stamps(tmp_path / "kept")
    for overwrite, state in [(False, State.DONE), (True, State.NEW)]:
        with open_output(str(tmp_path / "kept"), SOURCE, WINDOWS, PATHS, overwrite=overwrite, write=False) as sink:
            assert sink.state("/a.avi", content_of("/a.avi"), False) is state
    assert _stamps(tmp_path / "kept") == before


def _stamps(folder: Path) -> dict[str, Any]:
    return {entry.name: entry.stat().st_mtime_ns for entry in folder.iterdir()}
