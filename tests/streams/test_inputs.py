"""Names of files, folders, globs and lists in, the files that they stand for out."""

import io
import os
from pathlib import Path

import pytest

from tristream.streams.errors import UsageError
from tristream.streams.inputs import find_inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three videos, one of them deeper, and three other files."""
    (tmp_path / "deep").mkdir()
    for name in ("b.avi", "a.MP4", "deep/c.mkv", "notes.md", ".hidden.avi", "table.parquet"):
        (tmp_path / name).touch()
    return tmp_path


def found(*names: str | Path) -> list[str]:
    return [os.path.relpath(path, Path.cwd()) for path in find_inputs(str(name) for name in names).paths]


def test_a_folder_gives_its_media_in_order_and_counts_the_rest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    inputs = find_inputs(["."])
    assert inputs.paths == tuple(str(folder / name) for name in ("a.MP4", "b.avi", "deep/c.mkv"))
    assert inputs.passed_over == 2  # hidden files do not count


def test_a_file_that_is_named_is_taken_whatever_its_suffix(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert found("notes.md", ".hidden.avi") == ["notes.md", ".hidden.avi"]


def test_each_file_comes_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert found("b.avi", folder, "*.avi") == ["b.avi", "a.MP4", "deep/c.mkv"]


def test_globs_reach_into_folders_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert found("**/*.mkv", "[ab].*") == ["deep/c.mkv", "a.MP4", "b.avi"]
    assert found("d*") == ["deep/c.mkv"]


def test_a_name_with_glob_signs_that_exists_is_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "cam[1].avi").touch()
    assert found("cam[1].avi") == ["cam[1].avi"]


def test_a_text_list_is_relative_to_itself_with_comments(folder: Path, tmp_path: Path) -> None:
    names = folder / "list.txt"
    names.write_text("\ufeff# the good ones\nb.avi\n\n  deep/c.mkv  \ngone.avi\n", encoding="utf-8")
    expected = [folder / "b.avi", folder / "deep/c.mkv", folder / "gone.avi"]  # a missing one becomes a failed row
    assert find_inputs([str(names)]).paths == tuple(map(str, expected))


@pytest.mark.parametrize(
    "text",
    [
        "path,label\nb.avi,x\ndeep/c.mkv,y\n",
        "label,path\nx,b.avi\ny,deep/c.mkv\n",
        "b.avi,1\ndeep/c.mkv,2\n",
        "video,label\nb.avi,x\ndeep/c.mkv,y\n",
    ],
)
def test_a_csv_list_gives_its_path_column_or_the_first(text: str, folder: Path) -> None:
    (folder / "list.csv").write_text(text)
    assert find_inputs([str(folder / "list.csv")]).paths == (str(folder / "b.avi"), str(folder / "deep/c.mkv"))


@pytest.mark.parametrize(
    ("text", "names"),
    [("gone.avi\n", ["gone.avi"]), ("gone.avi\nlost.avi\nb.avi\n", ["gone.avi", "lost.avi", "b.avi"]), ("", [])],
)
def test_a_csv_row_is_no_header_just_because_its_file_is_gone(text: str, names: list[str], folder: Path) -> None:
    (folder / "list.csv").write_text(text)
    assert find_inputs([str(folder / "list.csv")]).paths == tuple(str(folder / name) for name in names)


def test_standard_input_is_a_list(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.stdin", io.StringIO("b.avi\n# no\nnone.avi\n"))
    assert found("-") == ["b.avi", "none.avi"]


@pytest.mark.parametrize("name", ["none.avi", "*.wmv", "none/"])
def test_a_name_that_stands_for_nothing_is_an_error(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match=r"no (such )?file"):
        find_inputs([name])


def test_a_list_that_is_no_text_is_an_error(folder: Path) -> None:
    (folder / "list.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UsageError, match=r"list\.txt is not a text list"):
        find_inputs([str(folder / "list.txt")])


def test_one_file_has_one_path_however_it_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.avi").touch()
    monkeypatch.chdir(tmp_path / "sub")
    found = find_inputs(["../a.avi", str(tmp_path / "a.avi"), "../sub/../a.avi"])
    assert found.paths == (str(tmp_path.resolve() / "a.avi"),)
