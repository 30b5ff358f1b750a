"""Thumbnails of moments: (path, seconds) -> JPEG bytes, decoded in processes that a bad file cannot take along."""

import base64
import io
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path

from pebble import ProcessPool
from PIL import Image

from tristream.fusion.batch import cores
from tristream.streams.errors import TristreamError
from tristream.streams.frame_folder import FrameFolder
from tristream.streams.media import Frame, MediaReader
from tristream.streams.picture import PictureFormat

HEIGHT_PIXELS = 120
WIDEST = 3.0  # times as wide as high
JPEG_QUALITY = 80
TIMEOUT_SECONDS = 60.0

Place = tuple[str, float]  # path, seconds


def thumbnail(place: Place, fps: float | None = None) -> bytes | None:
    """The frame shown at a time of a video, or the last one before it, as a JPEG; None where there is no picture."""
    path, seconds = place
    last: Frame | None = None
    try:
        with _reader(path, seconds, fps) as reader:
            for item in reader:
                if isinstance(item, Frame):
                    last = item
                    if item.start_seconds + item.duration_seconds > seconds:
                        break
            return None if last is None else _jpeg(last)
    except TristreamError:
        return None


def thumbnails(
    places: Sequence[Place],
    progress: Callable[[int, int], None] = lambda done, total: None,
    fps: float | None = None,
) -> list[bytes | None]:
    """The thumbnail of each place; None where the file is gone, has no picture, or takes its decoder down.

    `fps` is that of folders of frames.
    """
    pictures: list[bytes | None] = []
    if not places:
        return pictures
    with ProcessPool(min(cores(), len(places)), context=get_context("spawn")) as pool:
        futures = [pool.schedule(thumbnail, (place, fps), timeout=TIMEOUT_SECONDS) for place in places]
        for future in futures:
            pictures.append(None if future.exception() else future.result())
            progress(len(pictures), len(places))
    return pictures


def _reader(path: str, seconds: float, fps: float | None) -> MediaReader | FrameFolder:
    if fps is not None and Path(path).is_dir():
        return FrameFolder(path, fps, seconds)
    return MediaReader(path, audio=False, threads=1, skip_to_seconds=seconds)


def data_url(picture: bytes) -> str:
    """A JPEG as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode()


def _jpeg(frame: Frame) -> bytes:
    height, width = frame.size
    width = round(HEIGHT_PIXELS * min(max(width / height, 1 / WIDEST), WIDEST))
    picture = frame.picture(PictureFormat(HEIGHT_PIXELS, width, interpolation="area"))
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
