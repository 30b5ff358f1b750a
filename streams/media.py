"""A file in, time-stamped frames and sound out; the one module that opens media.

file -> Frame.picture(format) (H, W, 3) or (H, W) uint8, AudioBlock.samples (S,) float32 at 16 kHz mono

Files are not trusted. Only listed containers on the local disk are opened, pictures, streams and
probing are bounded, every error of the decoder becomes a MediaError, and a file that ends early says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from tristream.streams.clock import Clock
from tristream.streams.errors import MediaError
from tristream.streams.log_mel import SAMPLE_RATE_HZ
from tristream.streams.motion_vectors import VECTOR_DTYPE, MotionVectors
from tristream.streams.picture import PictureFormat

# Playlists and scripts (concat, hls, dash, image sequences, …) are left out on purpose: they open other files.
CONTAINERS = (
    "aac,ac3,aiff,amr,asf,au,avi,caf,dv,flac,flv,gif,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mp3,mpeg,mpegts,"
    "mpegvideo,mxf,nut,ogg,rm,vc1,w64,wav,webm,wtv,wv,y4m,yuv4mpegpipe"
)
MAX_PIXELS = 8192 * 4320  # a picture of 8K video
MAX_STREAMS = 32
PROBE_BYTES = 5_000_000
DECLARED_SLACK_SECONDS = 10.0  # a time stamp this far past the declared end is a broken one
# The decoders of FFmpeg that export their motion vectors.
CODECS_WITH_VECTORS = frozenset(
    "h261 h263 h263p flv h264 mpeg1video mpeg2video mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4 rv10 rv20 wmv1 wmv2".split()
)
_INTERPOLATIONS: dict[str, Interpolation] = {
    "nearest": Interpolation.POINT,
    "bilinear": Interpolation.BILINEAR,
    "bicubic": Interpolation.BICUBIC,
    "lanczos": Interpolation.LANCZOS,
    "area": Interpolation.AREA,
}


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


@dataclass(frozen=True)
class Frame:
    """One decoded frame: its time on the file's clock, and pictures of it on demand."""

    start_seconds: float
    duration_seconds: float
    _frame: Any
    _square_width: int  # the coded picture's width in pixels as high as they are wide
    _has_vectors: bool
    _scalers: "Scalers"

    @property
    def quarter_turns(self) -> int:
        """Counter-clockwise quarter turns that bring the coded picture upright."""
        turns: int = round(self._frame.rotation / 90) % 4
        return turns

    def picture(self, form: PictureFormat) -> NDArray[np.uint8]:
        """The frame upright, scaled and cut to `form`: (H, W, 3) for rgb24, (H, W) for gray, uint8."""
        turns = self.quarter_turns
        height, width = form.scaled_size(*_upright(self._frame.height, self._square_width, turns))
        picture = np.rot90(self._scalers.scale(self._frame, form, *_upright(height, width, turns)), turns)
        top, left = form.crop(height, width)
        return np.ascontiguousarray(picture[top : top + form.height, left : left + form.width])

    def motion_vectors(self) -> MotionVectors | None:
        """The motion vectors of the bit stream, or None where the codec has none."""
        if not self._has_vectors:
            return None
        side_data = self._frame.side_data.get("MOTION_VECTORS")
        vectors = np.zeros(0, VECTOR_DTYPE) if side_data is None else side_data.to_ndarray()
        kind = PictureType(self._frame.pict_type).name
        return MotionVectors(vectors, self._frame.height, self._frame.width, kind, self.quarter_turns)


class Scalers:
    """One swscale context for each picture format, kept from frame to frame."""

    def __init__(self) -> None:
        self._scalers: dict[PictureFormat, VideoReformatter] = {}

    def scale(self, frame: Any, form: PictureFormat, height: int, width: int) -> NDArray[np.uint8]:
        scaler = self._scalers.setdefault(form, VideoReformatter())
        scaled = scaler.reformat(
            frame,
            width=width,
            height=height,
            format=form.pixel_format,
            interpolation=_INTERPOLATIONS[form.interpolation],
            threads=1,  # frames are small; the other cores are at work on the CNN
        )
        return cast(NDArray[np.uint8], scaled.to_ndarray())


class MediaReader:
    """Decodes one file from start to end: iterate for its Frames and AudioBlocks in the order of the file.

    After the last one, `duration_seconds`, `frames` and `warnings` tell what was found.

    Args:
        path: a media file on the local disk.
        video: whether to decode the picture; audio: whether to decode the sound.
        motion_vectors: export the bit stream's motion vectors with each frame.
        threads: decoder threads; 0 lets FFmpeg choose.

    Raises:
        MediaError: no such file, not a media file, refused for its size, or nothing in it can be decoded.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        video: bool = True,
        audio: bool = True,
        motion_vectors: bool = False,
        threads: int = 0,
    ) -> None:
        self.path = Path(path)
        self.frames = 0
        self.duration_seconds = 0.0
        self.warnings: list[str] = []
        self._container = _open(self.path)
        try:
            self._video = _best(self._container, "video") if video else None
            self._audio = _best(self._container, "audio") if audio else None
            self.info = _describe(self.path, self._container)
            self._prepare(motion_vectors, threads)
        except BaseException:
            self._container.close()
            raise

    def _prepare(self, motion_vectors: bool, threads: int) -> None:
        if self._video is None and self._audio is None:
            raise MediaError(f"{self.path} has no video or audio stream that can be decoded")
        options = {"max_pixels": str(MAX_PIXELS)}
        if self._video is not None:
            context = self._video.codec_context
            context.options = options | ({"flags2": "+export_mvs"} if motion_vectors else {})
            context.thread_type = "AUTO"
            context.thread_count = threads
        self._has_vectors = motion_vectors and self._video is not None and _codec(self._video) in CODECS_WITH_VECTORS
        self._damaged = {"video": 0, "audio": 0}
        self._first_dts: int | None = None
        self._packets = 0
        self._samples = 0

    def __enter__(self) -> "MediaReader":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame | AudioBlock]:
        streams = [stream for stream in (self._video, self._audio) if stream is not None]
        start_seconds = (self._container.start_time or 0) / av.time_base
        limit_seconds = (self.info.duration_seconds or float("inf")) + DECLARED_SLACK_SECONDS
        clocks = {stream.index: Clock(start_seconds, limit_seconds) for stream in streams}
        sound = _Resampler()
        scalers = Scalers()
        for packet in self._packets_of(streams):
            clock = clocks[packet.stream.index]
            for decoded in self._decode(packet):
                if packet.stream is self._video:
                    yield self._frame(decoded, clock, scalers)
                else:
                    yield from self._blocks(sound, decoded, clock)
        if self._audio is not None:
            yield from self._blocks(sound, None, clocks[self._audio.index])
        self._conclude(sum(clock.repaired for clock in clocks.values()))

    def _packets_of(self, streams: list[Any]) -> Iterator[Any]:
        """The packets of `streams`, up to where the file can be read; an error there ends it with a warning."""
        try:
            for packet in self._container.demux(streams):
                self._packets += packet.stream is self._video and packet.size > 0
                yield packet
        except _DECODER_ERRORS as error:
            self.warnings.append(f"truncated: reading stopped at {self.duration_seconds:.2f} s ({_reason(error)})")

    def _decode(self, packet: Any) -> list[Any]:
        """The intact frames of a packet; damaged ones are counted and left out."""
        kind = packet.stream.type
        try:
            frames = packet.decode()
        except _DECODER_ERRORS:
            self._damaged[kind] += 1
            return []
        intact = [frame for frame in frames if not frame.is_corrupt]
        self._damaged[kind] += len(frames) - len(intact)
        return intact

    def _frame(self, decoded: Any, clock: Clock, scalers: Scalers) -> Frame:
        period_seconds = 1 / _rate(self._video)
        start_seconds = clock.seconds(self._stamp_seconds(decoded), period_seconds)
        duration_seconds = float((decoded.duration or 0) * decoded.time_base) or period_seconds
        square_width = max(1, round(decoded.width * _pixel_aspect(self._video)))
        frame = Frame(start_seconds, duration_seconds, decoded, square_width, self._has_vectors, scalers)
        self.duration_seconds = max(self.duration_seconds, start_seconds + duration_seconds)
        if self.frames == 0 and self.info.video is not None:  # only now it is known which way is up
            height, width = _upright(decoded.height, decoded.width, frame.quarter_turns)
            self.info = replace(self.info, video=replace(self.info.video, height=height, width=width))
        self.frames += 1
        return frame

    def _stamp_seconds(self, decoded: Any) -> float | None:
        if self.info.container != "avi":
            stamp: float | None = decoded.time
            return stamp
        # AVI has no presentation times: FFmpeg makes them up, and wrongly where there are B frames. Decoding
        # times count the frames as they come out, from the decoder's delay on.
        if decoded.dts is None:  # the frames that the decoder still held at the end
            return None
        if self._first_dts is None:
            self._first_dts = decoded.dts
        return float((decoded.dts - self._first_dts) * decoded.time_base)

    def _blocks(self, sound: "_Resampler", decoded: Any, clock: Clock) -> Iterator[AudioBlock]:
        try:
            resampled = sound.resample(decoded)
        except _DECODER_ERRORS:
            self._damaged["audio"] += 1
            return
        for frame in resampled:
            samples = frame.to_ndarray().reshape(-1)
            length_seconds = len(samples) / SAMPLE_RATE_HZ
            block = AudioBlock(clock.seconds(frame.time, length_seconds), samples)
            self._samples += len(samples)
            self.duration_seconds = max(self.duration_seconds, block.start_seconds + length_seconds)
            yield block

    def _conclude(self, repaired: int) -> None:
        """Say what was wrong with the file, once all of it has been read.

        Raises:
            MediaError: nothing at all could be decoded.
        """
        damaged = ", ".join(f"{count} {kind} packets" for kind, count in self._damaged.items() if count)
        if not self.frames and not self._samples:
            raise MediaError(f"nothing in {self.path} could be decoded" + (f": {damaged} damaged" if damaged else ""))
        if missing := self._missing():
            self.warnings.insert(0, f"truncated: {missing}")
        if self._video is not None and not self.frames:
            self.warnings.append("no frame of the video stream could be decoded")
        if self._audio is not None and not self._samples:
            self.warnings.append("nothing of the audio stream could be decoded")
        if damaged:
            self.warnings.append(f"damaged: {damaged} skipped")
        if repaired:
            self.warnings.append(f"{repaired} broken time stamps replaced")

    def _missing(self) -> str | None:
        """What the container declares and the file does not hold, or None."""
        declared = self.info.video.frames if self.info.video and self._video is not None else None
        if declared and self._packets < declared:
            return f"{self._packets} of {declared} frames are in the file"
        seconds = self.info.duration_seconds
        # Containers round, and count the sound's padding: half a second is no loss.
        if seconds and self.duration_seconds < seconds - max(0.5, 0.02 * seconds):
            return f"ends at {self.duration_seconds:.2f} s of {seconds:.2f} s"
        return None


class _Resampler:
    """Decoded sound of any rate, layout and sample format to SAMPLE_RATE_HZ mono float."""

    def __init__(self) -> None:
        self._resampler: Any = None
        self._kind: Any = None

    def resample(self, frame: Any) -> list[Any]:
        """The resampled frames that are ready; None at the end brings the last ones."""
        if frame is None:
            return self._flush()
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        flushed = [] if kind == self._kind else self._flush()  # the sound may change within a file
        if self._resampler is None:
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
            self._kind = kind
        return [*flushed, *self._resampler.resample(frame)]

    def _flush(self) -> list[Any]:
        last = self._resampler.resample(None) if self._resampler is not None else []
        self._resampler = None
        return [frame for frame in last if frame is not None]


def probe(path: str | Path) -> MediaInfo:
    """What the file says of itself; nothing is decoded.

    Raises:
        MediaError: no such file, or not a media file.
    """
    with MediaReader(path) as reader:
        return reader.info


# PyAV raises FFmpegError for most, ValueError and UnicodeDecodeError for some, and MemoryError when refused memory.
_DECODER_ERRORS = (av.error.FFmpegError, ValueError, MemoryError, OSError, ArithmeticError)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _open(path: Path) -> Any:
    """The opened container, or a MediaError that says why not."""
    if not path.exists():
        raise MediaError(f"no such file: {path}")
    if not path.is_file():  # a FIFO would block for ever
        raise MediaError(f"{path} is not a regular file")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty")
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": CONTAINERS,
        "max_streams": str(MAX_STREAMS),
        "probesize": str(PROBE_BYTES),
        "max_pixels": str(MAX_PIXELS),
    }
    try:
        return av.open(f"file:{path.absolute()}", options=options, metadata_errors="replace")
    except _DECODER_ERRORS as error:
        raise MediaError(f"{path} cannot be opened as a video or sound file: {_reason(error)}") from error


def _best(container: Any, kind: str) -> Any:
    """FFmpeg's choice among the streams of a kind, cover pictures left out; None where there is none."""
    best = container.streams.best(kind)
    if best is None or best.codec_context is None:
        return None
    if kind == "video" and best.disposition & av.stream.Disposition.attached_pic:
        films = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        return films[0] if films and films[0].codec_context else None
    return best


def _describe(path: Path, container: Any) -> MediaInfo:
    video, audio = _best(container, "video"), _best(container, "audio")
    duration_seconds = container.duration / av.time_base if container.duration else None
    return MediaInfo(
        path=str(path),
        container=container.format.name,
        duration_seconds=duration_seconds,
        video=video and VideoInfo(_codec(video), video.width, video.height, _rate(video), video.frames or None),
        audio=audio and AudioInfo(_codec(audio), audio.rate or 0, audio.channels or 0),
    )


def _codec(stream: Any) -> str:
    name: str = stream.codec_context.name
    return name


def _rate(stream: Any) -> float:
    """Frames a second, as far as the file says; 25 where it says nothing usable."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0.01 < rate < 1000:
            return float(rate)
    return 25.0


def _pixel_aspect(stream: Any) -> float:
    """How wide a pixel is for its height; 1 where the file says nothing, or nonsense."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 0.2 < aspect < 5 else 1.0


def _upright(height: int, width: int, quarter_turns: int) -> tuple[int, int]:
    """Height and width after turning; turned back, they are the same."""
    return (height, width) if quarter_turns % 2 == 0 else (width, height)
