"""Data sets as their users meet them: real folders, parts, and what cannot be trained on."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tristream.streams.errors import UsageError
from tristream.training.datasets import Dataset, Example, check_trainable, read_dataset
from tristream.training.splits import part_off


def labelled(*labels: str) -> list[Example]:
    return [Example(Path(f"{index}.avi"), label, str(index), "train") for index, label in enumerate(labels)]


def test_parts_and_classes() -> None:
    examples = (*labelled("b", "a", "b"), Example(Path("x.avi"), "c", "x", "test"))
    dataset = Dataset("set", "folders", examples)
    assert dataset.classes == ("a", "b", "c")
    assert dataset.part("test") == examples[3:]
    assert dataset.part("validation") == ()


def test_examples_are_sorted_by_path_and_a_folder_here_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b/2.avi", "b/10.avi", "a/1.avi"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).touch()
    monkeypatch.chdir(tmp_path / "set")
    dataset = read_dataset(".")
    assert dataset.name == "set"
    assert [str(one.path) for one in dataset.examples] == ["a/1.avi", "b/10.avi", "b/2.avi"]


def test_a_data_set_that_can_be_trained_on() -> None:
    check_trainable(labelled("a", "b", "a", "b"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("", "no clip to train on"),
        ("aaa", "all 3 clips to train on are of one class, 'a'"),
        ("aabcc", "2 clips or more to train on, besides those to test on; only one is there of 'b'"),
        ("dacc", "only one is there of 'a', 'd'"),
    ],
)
def test_what_cannot_be_trained_on(labels: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_trainable(labelled(*labels))


def test_reading_needs_no_torch() -> None:
    code = "import sys, tristream.training.datasets, tristream.training.splits; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.reference
def test_six_classes_of_ucf101(shared: Path) -> None:
    dataset = read_dataset(shared / "data" / "ucf101-6c")
    train, test = dataset.part("train"), dataset.part("test")
    assert (dataset.layout, len(dataset.classes), len(train), len(test)) == ("folders", 6, 108, 83)
    for examples, groups in ((train, range(8, 26)), (test, range(1, 8))):
        assert {one.group for one in examples} == {f"{label}/g{i:02}" for label in dataset.classes for i in groups}
    rest, held_out = part_off(train)
    assert {one.label for one in rest} == {one.label for one in held_out} == set(dataset.classes)
    assert 18 <= len(held_out) <= 26  # about 0.2 of 108
    check_trainable(rest)


@pytest.mark.reference
def test_six_classes_of_ucf101_by_their_csv(shared: Path) -> None:
    dataset = read_dataset(shared / "data" / "ucf101-6c" / "labels.csv")
    assert (len(dataset.examples), dataset.missing) == (191, ())
    assert {one.group for one in dataset.examples} == {str(number) for number in range(1, 26)}


@pytest.mark.reference
def test_esc10(shared: Path) -> None:
    dataset = read_dataset(shared / "data" / "esc10")
    assert (dataset.layout, dataset.notes) == ("folders", ())
    assert set(Counter(one.label for one in dataset.examples).values()) == {24}
    assert len(dataset.classes) == 10
    assert len({one.group for one in dataset.examples}) < 240  # takes of one recording


@pytest.mark.reference
def test_surveillance_fights(shared: Path) -> None:
    dataset = read_dataset(shared / "data" / "surveillance-fights")
    assert Counter(one.label for one in dataset.examples) == {"fight": 40, "noFight": 40}
    assert {one.part for one in dataset.examples} == {None}


def test_a_class_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    """It could not be written into the model, after hours."""
    for name in (b"caf\xe9", b"tea"):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        (folder / "a.avi").touch()
    with pytest.raises(UsageError, match=r"the class name caf\\udce9 is no UTF-8: rename it"):
        read_dataset(tmp_path)
