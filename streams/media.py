"""A file in, time-stamped frames and sound out; the one module that opens media files, as live.py opens cameras.

file -> Frame.picture(format) (H, W, 3) or (H, W) uint8, AudioBlock.samples (S,) float32 at 16 kHz mono

Files are not trusted. Only listed containers on the local disk are opened, pictures, streams, sound and time
are bounded, every error of the decoder becomes a MediaError, and a file that ends early says so.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from stat import S_ISREG
from typing import Any

import av
from av.stream import Discard
from av.video.reformatter import VideoReformatter

from tristream.streams.clock import MAX_SECONDS, Clock
from tristream.streams.errors import MediaError
from tristream.streams.findings import Findings, without_last
from tristream.streams.frame import Converters, Frame, upright
from tristream.streams.log_mel import SAMPLE_RATE_HZ
from tristream.streams.media_info import AudioBlock, AudioInfo, MediaInfo, VideoInfo
from tristream.streams.media_streams import (
    CODECS_WITH_VECTORS,
    MAX_PIXELS,
    MAX_STREAMS,
    TIME_BASE,
    best_stream,
    codec_name,
    describe,
    frame_rate,
    is_strip,
    pixel_aspect,
    refuse_excess,
    sound_excess,
)
from tristream.streams.resampler import Resampler
from tristream.streams.truncation import missing_part

__all__ = ["AudioBlock", "AudioInfo", "Frame", "MediaInfo", "MediaReader", "VideoInfo", "probe"]

# Playlists and scripts (concat, hls, dash, image sequences, …) are left out on purpose: they open other files.
CONTAINERS = (
    "aac,ac3,aiff,amr,asf,au,avi,caf,dv,flac,flv,gif,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mp3,mpeg,mpegts,"
    "mpegvideo,mxf,nut,ogg,rm,vc1,w64,wav,webm,wtv,wv,y4m,yuv4mpegpipe"
)
# Those whose duration FFmpeg guesses, from the bit rate of their beginning or the last stamp it finds.
GUESSED_DURATION = frozenset("aac ac3 amr dv h264 hevc m4v mjpeg mp3 mpeg mpegts mpegvideo vc1".split())
PARSED = frozenset({"mpeg", "mpegts"})  # whose packets hold parts of pictures, or several
MAX_FRAME_SECONDS = 3600.0  # a frame lasts no longer, whatever it says
# Those with an index of times; a frame of AVI has no time but the number of those before it.
SEEKABLE = frozenset({"matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"})
PROBE_BYTES = 5_000_000
DECLARED_SLACK_SECONDS = 10.0  # a time stamp this far past the declared end is a broken one
# PyAV raises FFmpegError for most, ValueError and UnicodeDecodeError for some, and MemoryError when refused memory.
_DECODER_ERRORS = (av.error.FFmpegError, ValueError, MemoryError, OSError, ArithmeticError)


class MediaReader:
    """Decodes one file from start to end: iterate for its Frames and AudioBlocks in the order of the file.

    After the last one, `duration_seconds`, `frames` and `warnings` tell what was found. A file that ends early,
    by its container's structure or in the middle of a packet, has a warning that begins with "truncated"; what a
    cut packet holds is left out. Where B frames fell off, a last frame may follow a gap; its time is still right.
    What no reader can tell: a transport or program stream, a raw stream or a fragmented MP4 that was cut exactly
    between two packets. Sound or time stamps past a week, and frames over MAX_PIXELS, are not decoded.

    Args:
        path: a media file on the local disk.
        video: whether to decode the picture; audio: whether to decode the sound.
        motion_vectors: export the bit stream's motion vectors with each frame.
        threads: decoder threads; 0 lets FFmpeg choose.
        skip_to_seconds: what lies before may be left out, where the container can tell a place by its time.

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
        skip_to_seconds: float = 0.0,
    ) -> None:
        self.path = Path(path)
        self._skip_to_seconds = skip_to_seconds
        self.warnings: list[str] = []
        self._container = _open(self.path)
        try:
            self._video = best_stream(self._container, "video") if video else None
            self._audio = best_stream(self._container, "audio") if audio else None
            self.info = describe(self.path, self._container)
            refuse_excess(self.path, self._container, self._video, self._audio)
            if self._video is not None and self._audio is not None and (excess := sound_excess(self._audio)):
                self.warnings.append(f"sound left out: it has {excess}")
                self._audio = None
            self._prepare(motion_vectors, threads)
        except BaseException:
            self._container.close()
            raise

    @property
    def frames(self) -> int:
        """Frames decoded so far."""
        return self._found.decoded.get("video", 0)

    @property
    def duration_seconds(self) -> float:
        """Where what was decoded so far ends."""
        return self._found.duration_seconds

    def _prepare(self, motion_vectors: bool, threads: int) -> None:
        self._streams = [stream for stream in (self._video, self._audio) if stream is not None]
        for stream in self._container.streams:
            if stream not in self._streams:
                stream.discard = Discard.all  # not even read, where the container can skip it
        if self._video is not None:
            context = self._video.codec_context
            context.options = {"max_pixels": str(MAX_PIXELS)} | ({"flags2": "+export_mvs"} if motion_vectors else {})
            context.thread_type = "AUTO"
            context.thread_count = threads
        self._has_vectors = (
            motion_vectors and self._video is not None and codec_name(self._video) in CODECS_WITH_VECTORS
        )
        self._found = Findings(tuple(stream.type for stream in self._streams))
        self._first_dts: int | None = None

    def __enter__(self) -> "MediaReader":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame | AudioBlock]:
        start_seconds = (self._container.start_time or 0) / TIME_BASE
        declared_seconds = self._declared_seconds()
        limit_seconds = (declared_seconds or float("inf")) + DECLARED_SLACK_SECONDS
        clocks = {stream.index: Clock(start_seconds, limit_seconds) for stream in self._streams}
        sound = Resampler(_mono_resampler)
        converters = Converters(VideoReformatter)
        self._missing = self._missing_part()
        if self._skip_to_seconds > 0 and self.info.container in SEEKABLE:
            self._seek(start_seconds + self._skip_to_seconds)
        for packet in without_last(self._packets(), self._found) if self._ends_in_pictures() else self._packets():
            clock = clocks[packet.stream.index]
            for decoded in self._decode(packet):
                if packet.stream is self._video:
                    yield from self._frame(decoded, clock, converters)
                else:
                    yield from self._blocks(sound, decoded, clock)
        if self._audio is not None:
            yield from self._blocks(sound, None, clocks[self._audio.index])
        whole = len(self._streams) == len(self._container.streams)  # else the longest stream may be another
        repaired = sum(clock.repaired for clock in clocks.values())
        self.warnings += self._found.conclude(self.path, self._missing, declared_seconds if whole else None, repaired)

    def _seek(self, stamp_seconds: float) -> None:
        """Go to the last key frame before a time; where that cannot be, reading begins at the start."""
        with suppress(*_DECODER_ERRORS):
            self._container.seek(round(stamp_seconds * TIME_BASE), backward=True)

    def _missing_part(self) -> str | None:
        try:
            return missing_part(self.path, self.info.container)
        except OSError as error:
            raise MediaError(f"{self.path} cannot be read: {_reason(error)}") from error

    def _ends_in_pictures(self) -> bool:
        """Whether the file is cut, and FFmpeg finds the pictures' ends in it by looking for the next one."""
        return self._missing is not None and self.info.container in PARSED

    def _declared_seconds(self) -> float | None:
        return None if self.info.container in GUESSED_DURATION else self.info.duration_seconds

    def _packets(self) -> Iterator[Any]:
        """The packets of the streams, up to where the file can be read, then an empty one each to flush."""
        try:
            for packet in self._container.demux(self._streams):
                yield packet
                if self.duration_seconds > MAX_SECONDS:
                    self._found.stopped = f"of one file, {MAX_SECONDS / 3600:.0f} h are read"
                    break
            else:
                return
        except _DECODER_ERRORS as error:
            self._found.stopped = f"the file cannot be read to its end ({_reason(error)})"
        for stream in self._streams:
            flush = av.Packet()
            flush.stream, flush.time_base = stream, stream.time_base
            yield flush

    def _decode(self, packet: Any) -> list[Any]:
        """The intact frames of a packet; damaged ones are counted and left out."""
        kind = packet.stream.type
        # A packet cut short by the file's end may still decode, to a picture that is half invented. Where the
        # container's packets are no pictures, one flaw marks all that it touches: there the decoder judges.
        if packet.is_corrupt and self.info.container not in PARSED:
            self._found.lose(kind, 1)
            return []
        try:
            frames = packet.decode()
        except _DECODER_ERRORS:
            self._found.lose(kind, 1)
            return []
        intact = [frame for frame in frames if not frame.is_corrupt]
        if packet.size or len(intact) < len(frames):
            self._found.lose(kind, len(frames) - len(intact), doubtful=packet.is_corrupt)
        return intact

    def _frame(self, decoded: Any, clock: Clock, converters: Converters) -> Iterator[Frame]:
        square_width = max(1, round(decoded.width * pixel_aspect(self._video)))
        if is_strip(decoded.height, square_width) or self._out_of_turn(decoded):
            self._found.lose("video", 1)
            return
        period_seconds = 1 / frame_rate(self._video)
        start_seconds = clock.seconds(self._stamp_seconds(decoded), period_seconds)
        duration_seconds = float((decoded.duration or 0) * decoded.time_base) or period_seconds
        duration_seconds = min(duration_seconds, MAX_FRAME_SECONDS)
        frame = Frame(start_seconds, duration_seconds, decoded, square_width, self._has_vectors, converters)
        if self.frames == 0 and self.info.video is not None:  # only now it is known which way is up
            height, width = upright(decoded.height, decoded.width, frame.quarter_turns)
            self.info = replace(self.info, video=replace(self.info.video, height=height, width=width))
        self._found.add("video", 1, start_seconds + duration_seconds)
        yield frame

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

    def _out_of_turn(self, decoded: Any) -> bool:
        """Whether an AVI was cut before the B frames that belong in front of this one: its time is not known."""
        return self.info.container == "avi" and decoded.dts is None and self._missing is not None

    def _blocks(self, sound: Resampler, decoded: Any, clock: Clock) -> Iterator[AudioBlock]:
        try:
            resampled = sound.resample(decoded)
        except _DECODER_ERRORS:
            self._found.lose("audio", 1)
            return
        for frame in resampled:
            samples = frame.to_ndarray().reshape(-1)  # (S,)
            length_seconds = len(samples) / SAMPLE_RATE_HZ
            block = AudioBlock(clock.seconds(frame.time, length_seconds), samples)
            self._found.add("audio", len(samples), block.start_seconds + length_seconds)
            yield block


def _mono_resampler() -> Any:
    return av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)


def probe(path: str | Path) -> MediaInfo:
    """What the file says of itself; nothing is decoded.

    Raises:
        MediaError: no such file, or not a media file.
    """
    with MediaReader(path) as reader:
        return reader.info


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _open(path: Path) -> Any:
    """The opened container, or a MediaError that says why not."""
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": CONTAINERS,
        "max_streams": str(MAX_STREAMS + 1),  # FFmpeg takes so many and says nothing of the others
        "probesize": str(PROBE_BYTES),
        "max_pixels": str(MAX_PIXELS),
    }
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):  # a FIFO would block for ever
            raise MediaError(f"{path} is not a regular file")
        if status.st_size == 0:
            raise MediaError(f"{path} is empty")
        # The prefix keeps a colon in a name from being read as a protocol.
        return av.open(f"file:{path.absolute()}", options=options, metadata_errors="replace")
    except FileNotFoundError as error:
        raise MediaError(f"no such file: {path}") from error
    except _DECODER_ERRORS as error:
        raise MediaError(f"{path} cannot be opened as a video or sound file: {_reason(error)}") from error
