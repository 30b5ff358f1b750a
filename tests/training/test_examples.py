"""Names of files in, groups out; and which files of a folder count."""

from pathlib import Path

import pytest

from tristream.training.examples import example, group_of, media_files


@pytest.mark.parametrize(
    ("path", "label", "group"),
    [
        ("Archery/v_Archery_g08_c01.avi", "Archery", "Archery/g08"),
        ("HandstandPushups/v_HandStandPushups_g25_c03.avi", "HandstandPushups", "HandstandPushups/g25"),
        ("basketball/v_shooting_07/v_shooting_07_02.mpg", "basketball", "basketball/g07"),
        ("boxing/person01_boxing_d1_uncomp.avi", "boxing", "person01"),
        ("walking/person01_walking_d4_uncomp.avi", "walking", "person01"),  # one person, across the classes
        ("brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "brush_hair", "April_09"),
        ("wave/#20_Rhythm_wave_l_cm_np2_fr_med_12.avi", "wave", "#20_Rhythm"),
        ("002 - Rain/2-18766-B.ogg", "002 - Rain", "recording 18766"),
        ("2-18766-A-10.wav", "rain", "recording 18766"),
    ],
)
def test_published_names_tell_the_group(path: str, label: str, group: str) -> None:
    assert group_of(Path(path), label) == group


@pytest.mark.parametrize("path", ["fight/fi079.mp4", "a/v_a_01_02.avi", "b/g01_c01.avi", "c/2024-10-A.avi", "x_g1.avi"])
def test_other_names_tell_none(path: str) -> None:
    assert group_of(Path(path), "a") is None


def test_a_clip_without_a_group_is_its_own() -> None:
    assert example(Path("set/train/run/a.avi"), "run", "train", Path("set")).group == "train/run/a.avi"


def test_media_files_are_sorted_and_hidden_ones_passed_over(tmp_path: Path) -> None:
    for name in ("b.avi", "deep/er/a.MP4", ".hidden.avi", ".trash/c.avi", "deep/notes.txt", "deep/a.ogg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert media_files(tmp_path) == [tmp_path / name for name in ("b.avi", "deep/a.ogg", "deep/er/a.MP4")]


def test_linked_folders_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.avi").touch()
    (tmp_path / "set" / "run").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "elsewhere")
    assert media_files(tmp_path / "set") == [tmp_path / "set" / "run" / "a.avi"]
