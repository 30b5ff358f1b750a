"""What a media file is made of and what it gives, in plain data: no decoder, no arrays but the sound's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class VideoInfo:
    """The video stream of a file; width and height are those of its pixels, upright once a frame was decoded."""

    codec: str
    width: int
    height: int
    fps: float
    frames: int | None  # as the container declares


@dataclass(frozen=True)
class AudioInfo:
    """The audio stream of a file."""

    codec: str
    sample_rate_hz: int
    channels: int


@dataclass(frozen=True)
class MediaInfo:
    """What a file says of itself before anything is decoded."""

    path: str
    container: str
    duration_seconds: float | None
    video: VideoInfo | None
    audio: AudioInfo | None


@dataclass(frozen=True)
class AudioBlock:
    """A run of sound: `samples` (S,) float32 at SAMPLE_RATE_HZ, mono, from `start_seconds`."""

    start_seconds: float
    samples: NDArray[np.float32]
