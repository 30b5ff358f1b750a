"""A CSV of labels in, examples out."""

from pathlib import Path

import pytest

from tristream.streams.errors import UsageError
from tristream.training.datasets import Dataset, read_dataset


def read(folder: Path, text: str, encoding: str = "utf-8") -> Dataset:
    for name in ("a.avi", "b.avi", "c.avi", "v_Run_g03_c01.avi"):
        (folder / name).touch()
    (folder / "labels.csv").write_text(text, encoding=encoding)
    return read_dataset(folder / "labels.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_paths_are_relative_to_the_csv_and_columns_in_any_order(encoding: str, tmp_path: Path) -> None:
    dataset = read(tmp_path, f" Label ,fps,path\nRun,25,a.avi\n\n Läufe ,,{tmp_path / 'b.avi'}\n", encoding)
    assert (dataset.name, dataset.layout, dataset.missing) == ("labels.csv", "csv", ())
    assert [(one.path, one.label, one.group, one.part) for one in dataset.examples] == [
        (tmp_path / "a.avi", "Run", "a.avi", None),
        (tmp_path / "b.avi", "Läufe", "b.avi", None),
    ]


def test_split_and_group_columns(tmp_path: Path) -> None:
    text = "path,label,split,group\na.avi,x,train,7\nb.avi,y,Test,8\nc.avi,y,validation,\nv_Run_g03_c01.avi,x,train,\n"
    dataset = read(tmp_path, text)
    assert [one.part for one in dataset.examples] == ["train", "test", "validation", "train"]
    assert [one.group for one in dataset.examples] == ["7", "8", "c.avi", "x/g03"]


def test_an_empty_split_column_leaves_the_split_open(tmp_path: Path) -> None:
    assert {one.part for one in read(tmp_path, "path,label,split\na.avi,x,\nb.avi,y,\n").examples} == {None}


def test_missing_files_are_reported(tmp_path: Path) -> None:
    dataset = read(tmp_path, "path,label\na.avi,x\ngone.avi,y\n")
    assert (len(dataset.examples), dataset.missing) == (1, ("gone.avi",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels\.csv, line 1: no column 'path' in an empty line"),
        ("file,label\na.avi,x\n", r"labels\.csv, line 1: no column 'path' in file, label"),
        ("path\na.avi\n", "line 1: no column 'label' in path"),
        ("path,label\na.avi,x\nb.avi,\n", "line 3: no label"),
        ("path,label\na.avi,x\n\nb.avi\n", "line 4: no label"),
        ("path,label\n,x\n", "line 2: no path"),
        ("path,label,split\na.avi,x,dev\n", "line 2: split must be one of train, val, test, got 'dev'"),
        ("path,label,split\na.avi,x,train\nb.avi,y,\n", "line 3: split must be .* got ''"),
        ("path,label,split,group\na.avi,x,train,1\nb.avi,y,test,1\n", "line 3: group '1' is in train and test"),
        ("path,label\na.avi,x\na.avi,y\n", r"lists .*a\.avi twice: as x \(None\) and as y"),
        ("path,label\ngone.avi,x\nlost.avi,y\n", r"none of the 2 files .* is there: gone\.avi"),
        ("path,label\n", "no video or sound file of layout csv"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, text)


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"path,label\n\xff\xfe,x\n")
    with pytest.raises(UsageError, match=r"labels\.csv is not a CSV"):
        read_dataset(tmp_path / "labels.csv")
