"""The one module that writes media: JPEG files with their times -> MP4, and files -> copies in a worse encoding."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

TIME_BASE = Fraction(1, 1000)
COPY_RATE_HZ = 16_000  # of the sound of a copy
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


def write_copy(path: Path, target: Path, crf: int, sound_bits_a_second: int) -> None:
    """Write the picture of a file anew in H.264, of quality `crf`, and its sound in AAC, mono, as Matroska.

    Raises:
        av.FFmpegError: the file cannot be read.
    """
    with av.open(str(path)) as source, av.open(str(target), "w", format="matroska") as container:
        inputs = [*source.streams.video[:1], *source.streams.audio[:1]]
        outputs: dict[str, Any] = {}  # of two kinds, each with frames of its own
        rate = Fraction(0)
        for stream in inputs:
            if isinstance(stream, av.VideoStream):
                rate = stream.average_rate or Fraction(25)
                video = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast"})
                video.width, video.height = (side // 2 * 2 for side in (stream.width, stream.height))
                video.pix_fmt = "yuv420p"
                outputs["video"] = video
            else:
                bits = sound_bits_a_second
                outputs["audio"] = container.add_stream("aac", rate=COPY_RATE_HZ, layout="mono", bit_rate=bits)
        resampler = AudioResampler("fltp", "mono", COPY_RATE_HZ)
        written = 0
        for frame in source.decode(*inputs):
            if isinstance(frame, av.VideoFrame):
                picture = frame.reformat(outputs["video"].width, outputs["video"].height, "yuv420p")
                picture.pts, picture.time_base = written, 1 / rate  # old files have no times, or not in order
                picture.pict_type = av.video.frame.PictureType.NONE  # else it would stay what it was, as I or B
                container.mux(outputs["video"].encode(picture))
                written += 1
            elif isinstance(frame, av.AudioFrame):
                for piece in resampler.resample(frame):
                    container.mux(outputs["audio"].encode(piece))
        for piece in resampler.resample(None) if "audio" in outputs else ():
            container.mux(outputs["audio"].encode(piece))
        for output in outputs.values():
            container.mux(output.encode(None))
