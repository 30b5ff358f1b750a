"""UCF101 and HMDB-51 trees as they are published, in small."""

from pathlib import Path

import pytest

from tristream.streams.errors import UsageError
from tristream.training.datasets import Dataset, read_dataset

ARCHERY = [f"v_Archery_g{group:02}_c01.avi" for group in (1, 8, 9)]
SURFING = [f"v_Surfing_g{group:02}_c02.avi" for group in (2, 8, 9)]


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def parts(dataset: Dataset) -> dict[str, str | None]:
    return {one.path.name: one.part for one in dataset.examples}


def ucf101(root: Path, videos: str = "UCF-101/{label}", lists: str = "ucfTrainTestlist") -> Path:
    """Three clips of two classes: groups 1 and 2 test, 8 and 9 train."""
    clips = [("Archery", name) for name in ARCHERY] + [("Surfing", name) for name in SURFING]
    for label, name in clips:
        write(root / videos.format(label=label) / name)
    train = [f"{label}/{name} {1 + (label == 'Surfing')}" for label, name in clips if "g08" in name or "g09" in name]
    test = [f"{label}/{name}" for label, name in clips if "g01" in name or "g02" in name]
    write(root / lists / "trainlist01.txt", "\r\n".join(train) + "\r\n")
    write(root / lists / "testlist01.txt", "\n".join(test) + "\n")
    write(root / lists / "classInd.txt", "1 Archery\n2 Surfing\n")
    return root


@pytest.mark.parametrize("videos", ["UCF-101/{label}", "{label}", "UCF-101", "."])
@pytest.mark.parametrize("lists", ["ucfTrainTestlist", "."])
def test_ucf101_as_published_beside_or_flat(videos: str, lists: str, tmp_path: Path) -> None:
    dataset = read_dataset(ucf101(tmp_path, videos, lists))
    assert dataset.layout == "ucf101"
    assert dataset.classes == ("Archery", "Surfing")
    expected = dict(zip(ARCHERY + SURFING, ["test", "train", "train"] * 2, strict=True))
    assert parts(dataset) == expected
    assert {one.group for one in dataset.part("test")} == {"Archery/g01", "Surfing/g02"}
    assert (dataset.missing, dataset.notes) == ((), ())


def test_the_folder_of_the_videos_finds_the_lists_beside_it(tmp_path: Path) -> None:
    dataset = read_dataset(ucf101(tmp_path) / "UCF-101")
    assert (dataset.layout, dataset.name, len(dataset.examples)) == ("ucf101", "UCF-101", 6)


def test_files_that_a_list_names_and_that_are_gone_are_reported(tmp_path: Path) -> None:
    (ucf101(tmp_path) / "UCF-101" / "Archery" / ARCHERY[1]).unlink()
    dataset = read_dataset(tmp_path)
    assert dataset.missing == (f"Archery/{ARCHERY[1]}",)
    assert len(dataset.examples) == 5


@pytest.mark.parametrize("name", ["trainlist01.txt", "testlist01.txt"])
def test_a_missing_list_is_named_with_its_place(name: str, tmp_path: Path) -> None:
    (ucf101(tmp_path) / "ucfTrainTestlist" / name).unlink()
    with pytest.raises(UsageError, match=rf"no {name} in .*ucfTrainTestlist"):
        read_dataset(tmp_path)


def test_the_videos_of_ucf101_without_any_list_miss_it(tmp_path: Path) -> None:
    write(tmp_path / "UCF-101" / "Archery" / ARCHERY[0])
    with pytest.raises(UsageError, match=r"no trainlist01\.txt"):
        read_dataset(tmp_path)


def test_lists_of_another_split_are_missed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no trainlist02\.txt"):
        read_dataset(ucf101(tmp_path), split=2)


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    write(ucf101(tmp_path) / "ucfTrainTestlist" / "testlist01.txt", "Archery/a.avi\n\nv_Archery_g01_c01.avi\n")
    with pytest.raises(UsageError, match=r"testlist01\.txt, line 3: expected Class/"):
        read_dataset(tmp_path)


def test_a_clip_on_both_lists_is_refused(tmp_path: Path) -> None:
    write(ucf101(tmp_path) / "ucfTrainTestlist" / "testlist01.txt", f"Archery/{ARCHERY[1]}\n")
    with pytest.raises(UsageError, match=r"twice: as Archery \(train\) and as Archery \(test\)"):
        read_dataset(tmp_path)


def test_lists_that_name_no_file_are_refused(tmp_path: Path) -> None:
    ucf101(tmp_path, videos="other/{label}")
    for name in ARCHERY + SURFING:
        next((tmp_path / "other").glob(f"*/{name}")).rename(tmp_path / f"x_{name}")
    with pytest.raises(UsageError, match=r"none of the 6 files .* labels is there: Archery/v_Archery_g08_c01\.avi"):
        read_dataset(tmp_path)


BRUSH = [f"April_09_brush_hair_u_nm_np1_ba_goo_{number}.avi" for number in range(3)]
WAVE = ["#20_Rhythm_wave_u_nm_np1_fr_goo_8.avi", "21_wave_u_nm_np1_fr_goo_5.avi", "winKen_wave_u_cm_np1_ri_bad_1.avi"]


def hmdb51(root: Path, videos: str = "{label}", lists: str = "testTrainMulti_7030_splits") -> Path:
    """Three clips a class: train, test, not used."""
    for label, names in (("brush_hair", BRUSH), ("wave", WAVE)):
        lines = [f"{name} {mark} " for name, mark in zip(names, (1, 2, 0), strict=True)]
        write(root / lists / f"{label}_test_split1.txt", "\n".join(lines) + "\n")
        for name in names:
            write(root / videos.format(label=label) / name)
    return root


@pytest.mark.parametrize("videos", ["{label}", "hmdb51_org/{label}", "hmdb51_org", "."])
@pytest.mark.parametrize("lists", ["testTrainMulti_7030_splits", "."])
def test_hmdb51_as_published_beside_or_flat(videos: str, lists: str, tmp_path: Path) -> None:
    dataset = read_dataset(hmdb51(tmp_path, videos, lists))
    assert (dataset.layout, dataset.missing) == ("hmdb51", ())
    assert dataset.classes == ("brush_hair", "wave")
    # A film stands on both sides where the published split has it so; the clips marked 0 are not used.
    assert parts(dataset) == {BRUSH[0]: "train", BRUSH[1]: "test", WAVE[0]: "train", WAVE[1]: "test"}
    assert {one.group for one in dataset.examples} == {"April_09", "#20_Rhythm", "21"}


def test_clips_of_one_name_in_two_classes_are_told_apart(tmp_path: Path) -> None:
    for label in ("hit", "wave"):
        write(tmp_path / label / "a.avi")
        write(tmp_path / f"{label}_test_split1.txt", f"a.avi {1 + (label == 'wave')} \n")
    dataset = read_dataset(tmp_path)
    assert {one.path: one.label for one in dataset.examples} == {tmp_path / x / "a.avi": x for x in ("hit", "wave")}


def test_a_class_without_its_split_file_is_an_error(tmp_path: Path) -> None:
    (hmdb51(tmp_path) / "testTrainMulti_7030_splits" / "wave_test_split1.txt").unlink()
    with pytest.raises(UsageError, match=r"no wave_test_split1\.txt in .*testTrainMulti_7030_splits"):
        read_dataset(tmp_path)


def test_a_split_without_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no brush_hair_test_split3\.txt .* 2 of 2 are not there"):
        read_dataset(hmdb51(tmp_path), split=3)
    write(tmp_path / "other" / "a.avi")
    with pytest.raises(UsageError, match=r"no \*_test_split1\.txt in .*other"):
        read_dataset(tmp_path / "other", layout="hmdb51")


@pytest.mark.parametrize("line", ["a.avi 3", "a.avi", "1"])
def test_a_malformed_split_line_is_named(line: str, tmp_path: Path) -> None:
    write(hmdb51(tmp_path) / "testTrainMulti_7030_splits" / "wave_test_split1.txt", f"{WAVE[0]} 1 \n{line}\n")
    with pytest.raises(UsageError, match=r"wave_test_split1\.txt, line 2: expected a file name and 0, 1 or 2"):
        read_dataset(tmp_path)
