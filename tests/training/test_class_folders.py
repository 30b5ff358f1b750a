"""KTH, UCF-11, UCF50 and folders of classes, in small."""

from pathlib import Path

import pytest

from tristream.streams.errors import UsageError
from tristream.training.datasets import Dataset, read_dataset


def plant(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def groups(dataset: Dataset, part: str) -> set[str]:
    return {one.group for one in dataset.examples if one.part == part}


@pytest.mark.parametrize("folder", ["{action}/", ""])
def test_kth_trains_on_16_persons_and_tests_on_9(folder: str, tmp_path: Path) -> None:
    names = [
        f"{folder.format(action=action)}person{person:02}_{action}_d{scene}_uncomp.avi"
        for action in ("boxing", "handclapping", "walking")
        for person in range(1, 26)
        for scene in (1, 2)
    ]
    dataset = read_dataset(plant(tmp_path, *names))
    assert (dataset.layout, dataset.classes) == ("kth", ("boxing", "handclapping", "walking"))
    assert groups(dataset, "test") == {f"person{person:02}" for person in (22, 2, 3, 5, 6, 7, 8, 9, 10)}
    trained = (11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 1, 4)
    assert groups(dataset, "train") == {f"person{person:02}" for person in trained}
    assert len(dataset.part("train")) == 16 * 3 * 2


def test_kth_in_parts_of_ones_own_keeps_them(tmp_path: Path) -> None:
    names = [f"{part}/boxing/person{person}_boxing_d1_uncomp.avi" for part, person in (("train", "02"), ("test", "11"))]
    dataset = read_dataset(plant(tmp_path, *names))
    assert (dataset.layout, groups(dataset, "train"), groups(dataset, "test")) == (
        "folders",
        {"person02"},
        {"person11"},
    )


def ucf11(root: Path) -> Path:
    names = [("basketball", "shooting"), ("biking", "biking")]
    clips = [f"{label}/v_{name}_{i:02}/v_{name}_{i:02}_{j:02}.mpg" for label, name in names for i in range(1, 26)
             for j in (1, 2)]  # fmt: skip
    return plant(root, *clips, "basketball/Annotation/v_shooting_01_01.xgtf")


def ucf50(root: Path, classes: int = 50) -> Path:
    labels = [f"Class{number:02}" for number in range(classes)]
    return plant(root, *(f"{label}/v_{label}_g{group:02}_c01.avi" for label in labels for group in (1, 7, 8, 25)))


def test_ucf11_tests_on_the_groups_1_to_7(tmp_path: Path) -> None:
    dataset = read_dataset(ucf11(tmp_path))
    assert (dataset.layout, dataset.classes, dataset.notes) == ("ucf11", ("basketball", "biking"), ())
    assert groups(dataset, "test") == {f"{x}/g{i:02}" for x in ("basketball", "biking") for i in range(1, 8)}
    assert len(dataset.part("train")) == 2 * 18 * 2


def test_ucf11_leaves_one_group_out(tmp_path: Path) -> None:
    dataset = read_dataset(ucf11(tmp_path), test_group=25)
    assert groups(dataset, "test") == {"basketball/g25", "biking/g25"}
    assert len(dataset.part("train")) == 2 * 24 * 2


def test_ucf50_tests_on_the_groups_1_to_7(tmp_path: Path) -> None:
    dataset = read_dataset(ucf50(tmp_path))
    assert (dataset.layout, len(dataset.classes)) == ("ucf50", 50)
    assert {group[-3:] for group in groups(dataset, "test")} == {"g01", "g07"}
    assert {group[-3:] for group in groups(dataset, "train")} == {"g08", "g25"}


def test_some_classes_of_ucf50_are_open_unless_a_group_is_left_out(tmp_path: Path) -> None:
    dataset = read_dataset(ucf50(tmp_path, classes=3))
    assert (dataset.layout, {one.part for one in dataset.examples}) == ("folders", {None})
    assert len({one.group for one in dataset.examples}) == 3 * 4
    left_out = read_dataset(tmp_path, test_group=8)
    assert (left_out.layout, groups(left_out, "test")) == ("ucf50", {f"Class0{i}/g08" for i in range(3)})
    named = read_dataset(tmp_path, layout="ucf50")
    assert len(named.part("test")) == len(named.part("train")) == 6


def test_a_group_that_no_clip_has_cannot_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no clip of group 9 in"):
        read_dataset(ucf50(tmp_path, classes=2), test_group=9)


@pytest.mark.parametrize("layout", ["kth", "ucf11", "ucf50"])
def test_files_of_other_names_are_reported(layout: str, tmp_path: Path) -> None:
    clips = {"kth": "boxing/person01_boxing_d1_uncomp.avi", "ucf11": "a/v_b_01/v_b_01_01.avi",
             "ucf50": "A/v_A_g01_c01.avi"}  # fmt: skip
    dataset = read_dataset(plant(tmp_path, clips[layout], "intro.avi", "a/teaser.avi"), layout=layout)
    assert [one.path for one in dataset.examples] == [tmp_path / clips[layout]]
    assert dataset.notes[0].startswith("2 video or sound files left out: not named as ")


def test_a_folder_a_class_is_open(tmp_path: Path) -> None:
    plant(tmp_path, "run/b.avi", "run/deeper/a.mkv", "bark/c.ogg", "bark/.d.ogg", "bark/notes.txt", ".git/run/e.avi")
    dataset = read_dataset(tmp_path)
    assert [(one.path.relative_to(tmp_path).as_posix(), one.label, one.part) for one in dataset.examples] == [
        ("bark/c.ogg", "bark", None),
        ("run/b.avi", "run", None),
        ("run/deeper/a.mkv", "run", None),
    ]
    assert [one.group for one in dataset.examples] == ["bark/c.ogg", "run/b.avi", "run/deeper/a.mkv"]


def test_folders_of_parts(tmp_path: Path) -> None:
    dataset = read_dataset(plant(tmp_path, "Train/run/a.avi", "val/run/b.avi", "test/walk/c.avi", "docs/d.txt"))
    assert {one.path.name: (one.label, one.part) for one in dataset.examples} == {
        "a.avi": ("run", "train"),
        "b.avi": ("run", "validation"),
        "c.avi": ("walk", "test"),
    }
    assert dataset.notes == (f"{tmp_path / 'docs'} is no part (train, val, test) and was left out",)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    dataset = read_dataset(plant(tmp_path, "train/a.avi", "plane/b.avi"))
    assert {one.label: one.part for one in dataset.examples} == {"train": None, "plane": None}


def test_parts_without_class_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1 video or sound files left out: in no class's folder of .*train"):
        read_dataset(plant(tmp_path, "train/a.avi", "test/b.avi"))


def test_empty_classes_and_stray_files_are_reported(tmp_path: Path) -> None:
    plant(tmp_path, "train/run/a.avi", "train/walk/notes.txt", "train/intro.avi", "train/list.txt")
    assert read_dataset(tmp_path).notes == (
        f"1 video or sound files left out: in no class's folder of {tmp_path / 'train'}",
        f"no video or sound in the class's folder {tmp_path / 'train' / 'walk'}",
    )
