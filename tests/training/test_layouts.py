"""Which layout a path is told to have, and the choices that are refused; the layouts' own tests tell the rest."""

from pathlib import Path
from typing import get_args

import pytest

from tristream.streams.errors import UsageError
from tristream.training.layouts import LAYOUTS, LayoutName, check_choice, layout_of


def plant(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_every_layout_has_a_reader() -> None:
    assert tuple(LAYOUTS) == get_args(LayoutName)


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (["trainlist01.txt", "A/v_A_g01_c01.avi"], "ucf101"),
        (["lists/testlist03.txt", "A/v_A_g01_c01.avi"], "ucf101"),
        (["UCF-101/A/v_A_g01_c01.avi"], "ucf101"),
        (["splits/wave_test_split2.txt", "wave/a.avi"], "hmdb51"),
        (["boxing/person01_boxing_d1_uncomp.avi"], "kth"),
        (["a/v_b_01/v_b_01_01.mpg"], "ucf11"),
        (["A/v_A_g01_c01.avi"], "folders"),
        (["a/v_b_01/v_b_01_01.mpg", "a/teaser.mpg"], "folders"),
        (["train/a/b.wav"], "folders"),
    ],
)
def test_signs(names: list[str], layout: str, tmp_path: Path) -> None:
    assert layout_of(plant(tmp_path, *names)) == layout


def test_a_named_layout_is_taken_at_its_word(tmp_path: Path) -> None:
    assert layout_of(plant(tmp_path, "boxing/person01_boxing_d1_uncomp.avi"), "folders") == "folders"
    assert layout_of(plant(tmp_path, "labels.txt") / "labels.txt", "csv") == "csv"


@pytest.mark.parametrize(
    ("names", "layout", "message"),
    [
        (["a/b.avi"], "imagenet", "layout must be one of auto, ucf101, .* got 'imagenet'"),
        (["a/b.txt"], "auto", "no video or sound file in"),
        (["a.avi", "b.avi"], "auto", "cannot tell the layout of .* name one of ucf101, hmdb51"),
        (["a/b.avi", "trainlist01.txt", "a_test_split1.txt"], "auto", "could be ucf101 or hmdb51: name its layout"),
        (["a/b.avi"], "csv", r"layout csv is a \.csv file, got the folder"),
    ],
)
def test_what_cannot_be_told(names: list[str], layout: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        layout_of(plant(tmp_path, *names), layout)


def test_paths_of_the_wrong_kind(tmp_path: Path) -> None:
    plant(tmp_path, "a.avi", "labels.csv")
    with pytest.raises(UsageError, match=r"a folder or a \.csv file, got the file .*a\.avi"):
        layout_of(tmp_path / "a.avi")
    with pytest.raises(UsageError, match=r"layout kth is a folder, got the file .*labels\.csv"):
        layout_of(tmp_path / "labels.csv", "kth")
    with pytest.raises(UsageError, match="no such data set"):
        layout_of(tmp_path / "none")


@pytest.mark.parametrize(
    ("layout", "split", "test_group", "message"),
    [
        ("ucf101", 4, None, "layout ucf101 has splits 1 to 3, got split 4"),
        ("hmdb51", 0, None, "layout hmdb51 has splits 1 to 3, got split 0"),
        ("folders", 2, None, "layout folders has no more than split 1, got split 2"),
        ("ucf101", 1, 3, "for ucf11 and ucf50, not for layout ucf101"),
        ("ucf50", 1, 26, "from 1 to 25, got 26"),
        ("ucf11", 1, 0, "from 1 to 25, got 0"),
    ],
)
def test_splits_that_are_not_published(layout: LayoutName, split: int, test_group: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_choice(layout, split, test_group)
