"""A camera at this machine in, time-stamped frames out: /dev/video0, through OpenCV, as PyAV's wheels lack devices.

device -> Frame.picture(format) (H, W, 3) or (H, W) uint8
"""

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tristream.streams.errors import SourceError
from tristream.streams.frame import Frame
from tristream.streams.media_info import MediaInfo, VideoInfo
from tristream.streams.media_streams import MAX_PIXELS, is_strip
from tristream.streams.picture import PixelFormat

DEVICES = "/dev/video"
USUAL_FPS = 30.0  # of a device that does not tell
CONVERSIONS = {"gray": cv2.COLOR_BGR2GRAY, "rgb24": cv2.COLOR_BGR2RGB}


@dataclass(frozen=True, eq=False)
class _Grabbed:
    """A picture (H, W, 3) BGR as a Frame wants it."""

    pixels: NDArray[np.uint8]
    rotation: int = 0

    @property
    def height(self) -> int:
        return len(self.pixels)

    @property
    def width(self) -> int:
        return len(self.pixels[0])


class _GrabbedConverters:
    """Pixels of a grabbed picture, as swscale gives them of a coded frame."""

    def convert(self, grabbed: _Grabbed, pixel_format: PixelFormat) -> NDArray[np.uint8]:
        return np.asarray(cv2.cvtColor(grabbed.pixels, CONVERSIONS[pixel_format]), np.uint8)


class DeviceReader:
    """Reads a device as LiveReader reads a camera on the network: iterate for its Frames, until it is lost.

    Times are those at which frames come, from the first one on. OpenCV gives up on a device that is silent for 10 s.

    Args:
        name: of the device, as `/dev/video0`.

    Raises:
        SourceError: it cannot be opened; while iterated: it is lost.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self._capture: Any = cv2.VideoCapture(name, cv2.CAP_V4L2)
        except cv2.error as error:
            raise SourceError(f"{name} cannot be opened: {error.err}") from error
        if not self._capture.isOpened():
            raise SourceError(f"{name} cannot be opened: there is no such camera, or another program uses it")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 2)  # so that what is read is new
        width, height = (int(self._capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        fps = fps if 0.01 < fps < 1000 else USUAL_FPS
        self.info = MediaInfo(name, "device", None, VideoInfo("device", width, height, fps, None), None)
        self._period_seconds = 1 / fps

    def __enter__(self) -> "DeviceReader":
        return self

    def __exit__(self, *error: object) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        converters: Any = _GrabbedConverters()
        first = None
        while True:
            try:
                there, pixels = self._capture.read()
            except cv2.error:
                there, pixels = False, None
            now = monotonic()
            if not there:
                raise SourceError(f"{self.name} sends no pictures any more")
            first = now if first is None else first
            height, width = pixels.shape[:2]
            if not is_strip(height, width) and height * width <= MAX_PIXELS:
                yield Frame(now - first, self._period_seconds, _Grabbed(pixels), width, False, converters)
