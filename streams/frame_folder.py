"""A folder of numbered pictures, read as a video of so many frames a second: 000.jpg, 001.jpg, … -> Frames.

The pictures are not trusted: only formats of still pictures are opened, and none over MAX_PIXELS.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tristream.streams.errors import MediaError, UsageError
from tristream.streams.findings import Findings
from tristream.streams.frame import Frame
from tristream.streams.media_info import MediaInfo, VideoInfo
from tristream.streams.media_streams import MAX_PIXELS
from tristream.streams.numbered import frames_of
from tristream.streams.picture import PixelFormat

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


@dataclass(frozen=True, eq=False)
class _Still:
    """A picture as a Frame wants it."""

    picture: Image.Image
    rotation: int = 0

    @property
    def height(self) -> int:
        return self.picture.height

    @property
    def width(self) -> int:
        return self.picture.width


class _StillConverters:
    """Pixels of a still picture, as swscale gives them of a coded frame."""

    def convert(self, still: _Still, pixel_format: PixelFormat) -> NDArray[np.uint8]:
        return np.array(still.picture.convert("L" if pixel_format == "gray" else "RGB"), np.uint8)


class FrameFolder:
    """Reads numbered pictures as MediaReader reads a file: iterate for its Frames.

    Args:
        folder: of pictures whose names end with a number, each number there once and none missing.
        fps: pictures a second.

    Raises:
        UsageError: fps is not positive.
        MediaError: the folder cannot be read so; while it is iterated: no picture in it can.
    """

    def __init__(self, folder: str | Path, fps: float, skip_to_seconds: float = 0.0) -> None:
        if not 0 < fps < float("inf"):
            raise UsageError(f"fps must be a positive number of frames a second, got {fps}")
        self.path = Path(folder)
        self.warnings: list[str] = []
        self._fps = fps
        try:
            self._paths = frames_of(self.path)
        except OSError as error:
            raise MediaError(f"{self.path} cannot be read: {error.strerror or error}") from error
        self._first = min(max(0, int(skip_to_seconds * fps) - 1), len(self._paths))
        self._found = Findings(("video",))
        codec = self._paths[0].suffix.lower().lstrip(".")
        height, width = self._size()
        seconds = len(self._paths) / fps
        self.info = MediaInfo(
            str(self.path), "frames", seconds, VideoInfo(codec, width, height, fps, len(self._paths)), None
        )

    @property
    def duration_seconds(self) -> float:
        """Where what was decoded so far ends."""
        return self._found.duration_seconds

    def __enter__(self) -> "FrameFolder":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None: ...

    def __iter__(self) -> Iterator[Frame]:
        converters: Any = _StillConverters()
        for number, path in list(enumerate(self._paths))[self._first :]:
            picture = _decoded(path)
            self._found.lose("video", int(picture is None))
            if picture is not None:
                start_seconds = number / self._fps
                self._found.add("video", 1, start_seconds + 1 / self._fps)
                yield Frame(start_seconds, 1 / self._fps, _Still(picture), picture.width, False, converters)
        self.warnings += self._found.conclude(self.path, None, None, 0)

    def _size(self) -> tuple[int, int]:
        """Height and width of the first picture that can be decoded."""
        picture = next((picture for path in self._paths if (picture := _decoded(path)) is not None), None)
        if picture is None:
            raise MediaError(f"none of the {len(self._paths)} pictures in {self.path} can be decoded")
        return picture.height, picture.width


def _decoded(path: Path) -> Image.Image | None:
    """The picture, upright; None where it is damaged, too large, or has more than 8 bits a colour."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS or image.mode.startswith(("I", "F")):
                return None
            image.load()
            return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError):
        return None
