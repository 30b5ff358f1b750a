"""Folders of numbered pictures, read as videos: order, gaps, damage, and the same frames as of a file."""

from pathlib import Path

import pytest
from PIL import Image

from tristream.streams.errors import MediaError, UsageError
from tristream.streams.frame_folder import FrameFolder
from tristream.streams.inputs import find_inputs
from tristream.streams.numbered import content_of_folder, frames_of, is_frame_folder
from tristream.streams.picture import PictureFormat

FORM = PictureFormat(24, 32, "rgb24")


def fill(folder: Path, count: int = 5, name: str = "{:03d}.png", first: int = 0) -> Path:
    """Pictures, each of a grey of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        Image.new("RGB", (32, 24), (10 * number,) * 3).save(folder / name.format(number))
    return folder


def greys(folder: Path, fps: float = 10.0) -> list[int]:
    return [int(frame.picture(FORM)[0, 0, 0]) for frame in FrameFolder(folder, fps)]


@pytest.mark.parametrize("name", ["{:03d}.png", "frame{}.bmp", "a_1_{:04d}.tif", "{}.PNG"])
def test_pictures_are_frames_in_the_order_of_their_numbers(tmp_path: Path, name: str) -> None:
    folder = fill(tmp_path / "frames", 12, name, first=3)  # 9.png comes before 10.png
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden7.png").write_bytes(b"")
    with FrameFolder(folder, 4.0) as reader:
        frames = list(reader)
        assert reader.duration_seconds == 3.0
    assert [frame.start_seconds for frame in frames] == [number / 4 for number in range(12)]
    assert [int(frame.picture(FORM)[0, 0, 0]) for frame in frames] == [10 * number for number in range(3, 15)]
    video = reader.info.video
    assert video is not None
    assert (video.width, video.height, video.fps, video.frames) == (32, 24, 4.0, 12)
    assert reader.warnings == []


def test_a_gap_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = fill(tmp_path / "frames", 9)
    (folder / "004.png").unlink()
    (folder / "006.png").unlink()
    with pytest.raises(MediaError, match="lacks 2 of the frames 0 to 8, the first of them 4"):
        FrameFolder(folder, 10.0)


def test_two_pictures_of_one_number_are_an_error(tmp_path: Path) -> None:
    folder = fill(tmp_path / "frames")
    Image.new("L", (4, 4)).save(folder / "3.jpg")
    with pytest.raises(MediaError, match=r"two frames 3, 003\.png and 3\.jpg"):
        frames_of(folder)


def test_damage_is_left_out_and_told(tmp_path: Path) -> None:
    folder = fill(tmp_path / "frames", 6)
    (folder / "002.png").write_bytes((folder / "002.png").read_bytes()[:40])
    (folder / "004.png").write_bytes(b"no picture at all")
    reader = FrameFolder(folder, 10.0)
    assert [round(10 * frame.start_seconds) for frame in reader] == [0, 1, 3, 5]  # times stay
    assert reader.warnings == ["damaged: 2 video packets skipped"]
    for picture in folder.iterdir():
        picture.write_bytes(b"")
    with pytest.raises(MediaError, match="none of the 6 pictures"):
        FrameFolder(folder, 10.0)


def test_a_picture_that_is_something_else_is_not_opened(tmp_path: Path) -> None:
    """Pillow could run Ghostscript on a PostScript file whatever its name."""
    folder = fill(tmp_path / "frames", 3)
    (folder / "001.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    assert greys(folder) == [0, 20]


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_fps_that_cannot_be(tmp_path: Path, fps: float) -> None:
    with pytest.raises(UsageError, match="fps must be a positive number"):
        FrameFolder(fill(tmp_path / "frames"), fps)


def test_reading_from_a_time_on(tmp_path: Path) -> None:
    folder = fill(tmp_path / "frames", 20)
    first = next(iter(FrameFolder(folder, 10.0, skip_to_seconds=1.5)))
    assert first.start_seconds <= 1.5
    assert int(first.picture(FORM)[0, 0, 0]) == round(first.start_seconds * 10) * 10


def test_the_content_is_of_pictures_order_and_pace(tmp_path: Path) -> None:
    folder, same = fill(tmp_path / "a"), fill(tmp_path / "b", name="frame{}.png")
    assert content_of_folder(folder, 10.0) == content_of_folder(same, 10.0) != content_of_folder(folder, 5.0)
    (same / "frame0.png").rename(same / "frame5.png")
    assert content_of_folder(folder, 10.0) != content_of_folder(same, 10.0)


def test_inputs_are_folders_of_frames_where_a_pace_is_given(tmp_path: Path) -> None:
    fill(tmp_path / "clips" / "one")
    fill(tmp_path / "clips" / "two")
    (tmp_path / "clips" / "film.avi").write_bytes(b"")
    (tmp_path / "clips" / "empty").mkdir()
    names = [Path(path).name for path in find_inputs([str(tmp_path / "clips")], fps=10.0).paths]
    assert names == ["one", "two", "film.avi"]
    assert [Path(path).name for path in find_inputs([str(tmp_path / "clips" / "one")], fps=10.0).paths] == ["one"]
    without = find_inputs([str(tmp_path / "clips")])
    assert [Path(path).name for path in without.paths] == ["film.avi"]
    assert without.passed_over == 10
    assert not is_frame_folder(tmp_path / "clips" / "empty")
