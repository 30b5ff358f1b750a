"""Pictures become a video that anything plays."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tristream.streams.clip_file import clip_of, decoded
from tristream.streams.frame import Frame
from tristream.streams.media import MediaReader
from tristream.streams.picture import PictureFormat


def jpeg(value: int, height: int = 48, width: int = 64) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((height, width, 3), value, np.uint8))[1])


def test_it_has_the_pictures_at_their_times(tmp_path: Path) -> None:
    pictures = [(5.0, jpeg(20)), (5.1, jpeg(90)), (5.4, b"no picture"), (5.5, jpeg(160, 96, 100)), (5.6, jpeg(230))]
    data = clip_of(pictures)
    assert data is not None
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    with MediaReader(path) as reader:
        frames = [frame for frame in reader if isinstance(frame, Frame)]
        assert reader.info.video is not None
        assert (reader.info.video.codec, reader.info.video.width, reader.info.video.height) == ("h264", 64, 48)
        assert [frame.start_seconds for frame in frames] == pytest.approx([0, 0.1, 0.5, 0.6], abs=2e-3)
        middles = [frame.picture(PictureFormat(48, 64, "gray"))[24, 32] for frame in frames]
    assert middles == pytest.approx([20, 90, 160, 230], abs=4)


def test_of_nothing_there_is_no_file() -> None:
    assert clip_of([]) is None
    assert clip_of([(0.0, b"no picture"), (0.1, b"")]) is None
    assert decoded(b"no picture") is None
