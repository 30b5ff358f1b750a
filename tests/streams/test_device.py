"""A camera at this machine: there is none in a test, so OpenCV's part is played."""

from typing import Any

import cv2
import numpy as np
import pytest

from tristream.streams.device import DeviceReader
from tristream.streams.errors import SourceError
from tristream.streams.frame import Frame
from tristream.streams.picture import PictureFormat

PICTURE = np.dstack([np.full((48, 64), value, np.uint8) for value in (200, 100, 50)])  # BGR


class Capture:
    """Three pictures, then nothing."""

    def __init__(self, name: str, backend: int) -> None:
        assert backend == cv2.CAP_V4L2
        self.left, self.released, self.opened = 3, False, "nothing" not in name

    def isOpened(self) -> bool:
        return self.opened

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 64.0, cv2.CAP_PROP_FRAME_HEIGHT: 48.0}.get(what, 0.0)

    def set(self, what: int, value: float) -> bool:
        return True

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return (True, PICTURE.copy()) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


@pytest.fixture(autouse=True)
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Capture)


def test_pictures_come_in_the_right_colours_until_it_is_lost() -> None:
    frames: list[Frame] = []
    with pytest.raises(SourceError, match="/dev/video9 sends no pictures any more"), DeviceReader("/dev/video9") as it:
        assert it.info.video is not None
        assert (it.info.video.width, it.info.video.fps) == (64, 30.0)
        for frame in it:
            frames.append(frame)
    assert len(frames) == 3
    assert frames[0].start_seconds == 0 <= frames[1].start_seconds <= frames[2].start_seconds
    assert frames[0].picture(PictureFormat(24, 32, "rgb24", None, "area"))[0, 0].tolist() == [50, 100, 200]
    assert frames[0].picture(PictureFormat(48, 64, "gray", None, "area")).shape == (48, 64)
    assert it._capture.released


def test_one_that_is_not_there() -> None:
    with pytest.raises(SourceError, match="no such camera"):
        DeviceReader("/dev/video-nothing")
