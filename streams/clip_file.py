"""Pictures in, a short video file out: JPEG files with their times -> MP4; the one module that writes media."""

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

TIME_BASE = Fraction(1, 1000)
QUALITY = {"crf": "26", "preset": "veryfast"}  # of H.264


def clip_of(pictures: Sequence[tuple[float, bytes]]) -> bytes | None:
    """An MP4 file (H.264, no sound) of pictures and their times in seconds, rising; None where none can be read.

    The size is that of the first picture; others are scaled to it.
    """
    file = io.BytesIO()
    size: tuple[int, int] | None = None
    with av.open(file, "w", format="mp4") as container:
        stream: Any = None
        for seconds, data in pictures:
            picture = decoded(data)
            if picture is None:
                continue
            if stream is None or size is None:
                size = picture.shape[1] & ~1, picture.shape[0] & ~1  # even, as its colours are coded at half the size
                stream = container.add_stream("libx264", rate=25, options=QUALITY)
                stream.width, stream.height = size
                stream.pix_fmt, stream.codec_context.time_base = "yuv420p", TIME_BASE
                stream.codec_context.thread_count = 1
                first_seconds = seconds
            if (picture.shape[1], picture.shape[0]) != size:
                picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = round((seconds - first_seconds) / TIME_BASE), TIME_BASE
            container.mux(stream.encode(frame))
        if stream is None:
            return None
        container.mux(stream.encode())
    return file.getvalue()


def decoded(data: bytes) -> NDArray[np.uint8] | None:
    """A JPEG file as (H, W, 3) BGR; None where it is none."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    return None if picture is None else np.asarray(picture, np.uint8)
