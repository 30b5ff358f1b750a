"""Which streams of an opened container are decoded, what they say of themselves, and what is beyond the limits.

The containers and streams are PyAV's, which only media.py and live.py open.
"""

from pathlib import Path
from typing import Any

from tristream.streams.errors import MediaError
from tristream.streams.media_info import AudioInfo, MediaInfo, VideoInfo

MAX_PIXELS = 8192 * 4320  # a picture of 8K video
MAX_STREAMS = 32
MAX_SIDE_RATIO = 64  # a thinner strip would be scaled to a huge picture
MAX_CHANNELS = 64  # more than swresample mixes
MIN_SOUND_HZ, MAX_SOUND_HZ = 1_000, 768_000  # at 1 Hz a packet becomes gigabytes, at 2 GHz the filter does
ATTACHED_PICTURE = 1 << 10  # AV_DISPOSITION_ATTACHED_PIC: the cover of a piece of music
TIME_BASE = 1_000_000  # AV_TIME_BASE: a container's times are in microseconds

# The decoders of FFmpeg that export their motion vectors.
CODECS_WITH_VECTORS = frozenset(
    "h261 h263 h263p flv h264 mpeg1video mpeg2video mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4 rv10 rv20 wmv1 wmv2".split()
)


def best_stream(container: Any, kind: str) -> Any:
    """FFmpeg's choice among the streams of a kind, cover pictures left out; None where there is none."""
    best = container.streams.best(kind)
    if best is not None and kind == "video" and best.disposition & ATTACHED_PICTURE:
        best = next((s for s in container.streams.video if not s.disposition & ATTACHED_PICTURE), None)
    return best if best is not None and best.codec_context is not None else None


def describe(path: Path | str, container: Any) -> MediaInfo:
    video, audio = best_stream(container, "video"), best_stream(container, "audio")
    duration_seconds = container.duration / TIME_BASE if container.duration else None
    return MediaInfo(
        path=str(path),
        container=container.format.name,
        duration_seconds=duration_seconds,
        video=video
        and VideoInfo(codec_name(video), video.width, video.height, frame_rate(video), video.frames or None),
        audio=audio and AudioInfo(codec_name(audio), audio.rate or 0, audio.channels or 0),
    )


def codec_name(stream: Any) -> str:
    name: str = stream.codec_context.name
    return name


def frame_rate(stream: Any) -> float:
    """Frames a second, as far as the file says; 25 where it says nothing usable."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0.01 < rate < 1000:
            return float(rate)
    return 25.0


def pixel_aspect(stream: Any) -> float:
    """How wide a pixel is for its height; 1 where the file says nothing, or nonsense."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 0.2 < aspect < 5 else 1.0


def is_strip(height: int, width: int) -> bool:
    return height > 0 and width > 0 and max(height, width) > MAX_SIDE_RATIO * min(height, width)


def excess_of(rate_hz: int | None, channels: int) -> str | None:
    """What of this sound is beyond the limits; a rate that is not known yet is not."""
    if channels > MAX_CHANNELS:
        return f"{channels} channels, more than {MAX_CHANNELS}"
    if rate_hz is not None and not MIN_SOUND_HZ <= rate_hz <= MAX_SOUND_HZ:
        return f"{rate_hz} samples a second, outside {MIN_SOUND_HZ} to {MAX_SOUND_HZ}"
    return None


def sound_excess(stream: Any) -> str | None:
    """What of an audio stream is beyond the limits, or None."""
    return excess_of(stream.rate or None, stream.channels)


def refuse_excess(path: Path | str, container: Any, video: Any, audio: Any) -> None:
    """Refuse what cannot be decoded within the limits.

    Raises:
        MediaError: no stream or too many, a picture too large or too thin, or nothing but sound beyond the limits.
    """
    if len(container.streams) > MAX_STREAMS:
        raise MediaError(f"{path} has more than {MAX_STREAMS} streams: not decoded")
    if video is None and audio is None:
        others = {best_stream(container, kind) and kind for kind in ("video", "audio")} - {None}
        if others:
            raise MediaError(f"{path} holds {others.pop()} only, which the streams that were asked for do not take")
        raise MediaError(f"{path} has no video or audio stream that can be decoded")
    if video is None and (excess := sound_excess(audio)):
        raise MediaError(f"{path} has sound of {excess}: not decoded")
    if video is not None and video.height * video.width > MAX_PIXELS:
        raise MediaError(f"{path} has {video.width}x{video.height} pixels; at most {MAX_PIXELS} in all are decoded")
    if video is not None and is_strip(video.height, video.width):
        raise MediaError(f"{path} has {video.width}x{video.height} pixels: so thin a strip is not decoded")
