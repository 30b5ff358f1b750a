"""One decoded frame, and pictures of it on demand: coded picture -> upright (H, W, 3) or (H, W) uint8."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tristream.streams.motion_vectors import VECTOR_DTYPE, MotionVectors
from tristream.streams.picture import PictureFormat, PixelFormat
from tristream.streams.scaling import scale

PICTURE_KINDS = ("NONE", "I", "P", "B", "S", "SI", "SP", "BI")  # FFmpeg's AVPictureType, from 0 on


class Converters:
    """One converter (PyAV's VideoReformatter) for each pixel format, kept from frame to frame."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._converters: dict[PixelFormat, Any] = {}

    def convert(self, frame: Any, pixel_format: PixelFormat) -> NDArray[np.uint8]:
        """The whole coded picture in its own size, (H, W, 3) or (H, W)."""
        if pixel_format not in self._converters:
            self._converters[pixel_format] = self._make()
        converted = self._converters[pixel_format].reformat(
            frame,
            format=pixel_format,
            interpolation="BICUBIC",  # of the colours, which are coded at half the size
            threads=1,  # the other cores are at work on the CNN
        )
        return cast(NDArray[np.uint8], converted.to_ndarray())


@dataclass(frozen=True)
class Frame:
    """One decoded frame: its time on the file's clock, and pictures of it on demand."""

    start_seconds: float
    duration_seconds: float
    _frame: Any
    _square_width: int  # the coded picture's width in pixels as high as they are wide
    _has_vectors: bool
    _converters: Converters

    @property
    def quarter_turns(self) -> int:
        """Counter-clockwise quarter turns that bring the coded picture upright."""
        turns: int = round(self._frame.rotation / 90) % 4
        return turns

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the upright picture, in pixels as high as they are wide."""
        return upright(self._frame.height, self._square_width, self.quarter_turns)

    def picture(self, form: PictureFormat) -> NDArray[np.uint8]:
        """The frame upright, scaled and cut to `form`: (H, W, 3) for rgb24, (H, W) for gray, uint8."""
        turns = self.quarter_turns
        height, width = form.scaled_size(*self.size)
        coded = self._converters.convert(self._frame, form.pixel_format)
        picture = np.rot90(scale(coded, *upright(height, width, turns), form.interpolation), turns)
        top, left = form.crop(height, width)
        return np.ascontiguousarray(picture[top : top + form.height, left : left + form.width])

    def motion_vectors(self) -> MotionVectors | None:
        """The motion vectors of the bit stream, or None where the codec has none."""
        if not self._has_vectors:
            return None
        side_data = self._frame.side_data.get("MOTION_VECTORS")
        vectors = np.zeros(0, VECTOR_DTYPE) if side_data is None else side_data.to_ndarray()
        kind = PICTURE_KINDS[self._frame.pict_type]
        return MotionVectors(vectors, self._frame.height, self._frame.width, kind, self.quarter_turns)


def upright(height: int, width: int, quarter_turns: int) -> tuple[int, int]:
    """Height and width after turning; turned back, they are the same."""
    return (height, width) if quarter_turns % 2 == 0 else (width, height)
