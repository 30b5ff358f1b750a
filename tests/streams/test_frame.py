"""Decoded frames in, upright pictures of true colours out."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tristream.streams.media import Frame, MediaReader
from tristream.streams.picture import PictureFormat

MakeVideo = Callable[..., Path]


def read(path: Path) -> tuple[MediaReader, list[Frame]]:
    with MediaReader(path, audio=False, threads=1) as reader:
        return reader, [item for item in reader if isinstance(item, Frame)]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_rotated_picture_comes_upright(rotation: int, tmp_path: Path, make_video: MakeVideo) -> None:
    coded = np.zeros((10, 64, 96, 3), np.uint8)
    coded[:, :16, :24] = 255  # the coded picture's top left
    path = make_video(tmp_path / "phone.mp4", codec="libx264", frames=coded, rotation=rotation)
    reader, frames = read(path)
    upright = frames[0].picture(PictureFormat(*((96, 64) if rotation != 180 else (64, 96)), "gray"))
    expected = np.rot90(coded[0, :, :, 0], rotation // 90)
    assert np.abs(upright.astype(int) - expected).mean() < 8
    assert (reader.info.video.height, reader.info.video.width) == expected.shape


def test_odd_sizes_are_whole_to_the_last_row(tmp_path: Path) -> None:
    picture = np.zeros((10, 121, 161, 3), np.uint8)
    picture[:, -1], picture[:, :, -1] = 255, 255
    path = tmp_path / "odd.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 121, 161, "bgr0"
        for one in picture:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(one, format="rgb24")))
        container.mux(stream.encode())
    _, frames = read(path)
    assert len(frames) == 10
    np.testing.assert_array_equal(frames[0].picture(PictureFormat(121, 161)), picture[0])


@pytest.mark.parametrize(("matrix", "luma"), [(1, 63), (5, 81)])  # BT.709, BT.601: the luma of pure red
def test_colours_follow_the_matrix_that_the_file_names(matrix: int, luma: int, tmp_path: Path) -> None:
    planes = np.full((96, 64), 128, np.uint8)
    planes[:64], planes[64:80], planes[80:] = luma, 102 if matrix == 1 else 90, 240
    path = tmp_path / "red.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.colorspace = matrix
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.colorspace = matrix
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    _, frames = read(path)
    assert np.abs(frames[0].picture(PictureFormat(64, 64)).astype(int) - [255, 0, 0]).max() <= 4
