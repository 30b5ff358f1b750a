"""A camera in, time-stamped frames and sound out as they come: the one module beside media.py that opens media.

address -> Frame.picture(format) (H, W, 3) or (H, W) uint8, AudioBlock.samples (S,) float32 at 16 kHz mono

A camera is trusted no more than a file: by the kind of its address, only the protocols and formats of such cameras are
opened, over TCP; pictures and sound are bounded as those of files; and what names it never shows its password.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import av
from av.video.reformatter import VideoReformatter

from tristream.streams.errors import SourceError, UsageError
from tristream.streams.frame import Converters, Frame
from tristream.streams.log_mel import SAMPLE_RATE_HZ
from tristream.streams.media_info import AudioBlock, MediaInfo
from tristream.streams.media_streams import (
    CODECS_WITH_VECTORS,
    MAX_PIXELS,
    MAX_STREAMS,
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

OPEN_SECONDS = 10.0  # that a camera may take to answer
STALL_SECONDS = 10.0  # in which it is noticed that a camera is gone
DAMAGED_IN_A_ROW = 500  # packets of which no picture comes: what is sent is garbage
_ERRORS = (av.error.FFmpegError, ValueError, MemoryError, OSError, ArithmeticError)
_USER = re.compile(r"(?<=://)\S*@")
_VALUE = re.compile(r"=[^&?/\s]*")  # of a query, or in the path of the cameras that have their password there


@dataclass(frozen=True)
class Scheme:
    """What is opened of addresses of one kind."""

    protocols: str
    formats: str
    options: tuple[tuple[str, str], ...] = ()


# No playlists: an HLS or DASH address would open others.
_HTTP = "mpjpeg,mjpeg,mpegts,flv,matroska,webm,mov,mp4,ogg,h264,hevc"
SCHEMES = {
    "rtsp": Scheme("rtsp,rtp,tcp,udp,crypto", "rtsp,mpegts", (("rtsp_transport", "tcp"),)),
    "rtsps": Scheme("rtsps,rtsp,rtp,tcp,tls,crypto", "rtsp,mpegts", (("rtsp_transport", "tcp"),)),
    "http": Scheme("http,tcp,crypto", _HTTP),
    "https": Scheme("https,http,tls,tcp,crypto", _HTTP),
}


class LiveReader:
    """Reads one connection to a camera: iterate for its Frames and AudioBlocks as they come, until it is lost.

    Times count from the first picture, by the camera's stamps, so that a recording of it has the same; where its clock
    is set anew, they go on. A picture that is damaged is left out. Whoever wants the camera for longer than it stays
    connected makes another reader.

    Args:
        address: `rtsp://`, `rtsps://`, `http://` or `https://`.
        audio: whether to decode the sound, if there is any.
        motion_vectors: export the bit stream's motion vectors with each frame.
        listen: wait for the camera to connect to this address, and not the other way round (RTSP).
        open_seconds: that it may take to answer.
        stall_seconds: after which at the latest it is noticed that it sends nothing; it may pause for half of that.

    Raises:
        UsageError: another kind of address.
        SourceError: it does not answer, or sends nothing that can be decoded; while iterated: it is lost.
    """

    def __init__(
        self,
        address: str,
        *,
        audio: bool = True,
        motion_vectors: bool = False,
        listen: bool = False,
        open_seconds: float = OPEN_SECONDS,
        stall_seconds: float = STALL_SECONDS,
        threads: int = 1,
    ) -> None:
        self.name = redacted(address)
        self.damaged = 0  # packets that gave no picture
        self._stall_seconds = stall_seconds
        self._container = self._open(address, listen, open_seconds)
        try:
            self._video = best_stream(self._container, "video")
            self._audio = best_stream(self._container, "audio") if audio else None
            if self._video is None:
                raise SourceError(f"{self.name} sends no picture")
            refuse_excess(self.name, self._container, self._video, self._audio)
            if self._audio is not None and sound_excess(self._audio):
                self._audio = None
            vectors = {"flags2": "+export_mvs"} if motion_vectors else {}
            self._video.codec_context.options = {"max_pixels": str(MAX_PIXELS)} | vectors
            self._video.codec_context.thread_count = threads
            self._has_vectors = motion_vectors and codec_name(self._video) in CODECS_WITH_VECTORS
            self.info: MediaInfo = describe(self.name, self._container)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> "LiveReader":
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame | AudioBlock]:
        streams = [stream for stream in (self._video, self._audio) if stream is not None]
        sound = Resampler(lambda: av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ))
        converters = Converters(VideoReformatter)
        self._first_seconds: float | None = None
        self._last_seconds = -1.0
        seen, in_a_row = monotonic(), 0
        packets = self._container.demux(streams)
        while True:
            try:
                packet = next(packets, None)
                decoded = packet.decode() if packet is not None and packet.size else []
            except _ERRORS as error:
                if isinstance(error, av.error.InvalidDataError):
                    packet, decoded = None, []
                    self.damaged, in_a_row = self.damaged + 1, in_a_row + 1
                    if in_a_row < DAMAGED_IN_A_ROW and monotonic() - seen < self._stall_seconds:
                        continue
                    raise SourceError(f"{self.name} sends nothing that can be decoded") from None
                if isinstance(error, av.error.ExitError):  # FFmpeg's word for a time that is over
                    raise self._silent() from None
                raise SourceError(f"{self.name} was lost: {_reason(error)}") from None  # its text has the password
            if packet is None or not packet.size:
                raise SourceError(f"{self.name} ended its stream")
            if packet.stream is self._audio:
                yield from self._blocks(sound, decoded)
            elif frames := [self._frame(each, converters) for each in decoded if not each.is_corrupt]:
                seen, in_a_row = monotonic(), 0
                yield from (frame for frame in frames if frame is not None)
            if monotonic() - seen > self._stall_seconds:
                raise self._silent()

    def _silent(self) -> SourceError:
        return SourceError(f"{self.name} has sent no picture for {self._stall_seconds:g} s")

    def _frame(self, decoded: Any, converters: Converters) -> Frame | None:
        width = max(1, round(decoded.width * pixel_aspect(self._video)))
        period_seconds = 1 / frame_rate(self._video)
        if is_strip(decoded.height, width):
            return None
        seconds = self._seconds(decoded.time, period_seconds)
        self._last_seconds = max(seconds, self._last_seconds + period_seconds / 8)
        return Frame(self._last_seconds, period_seconds, decoded, width, self._has_vectors, converters)

    def _seconds(self, stamp_seconds: float | None, period_seconds: float) -> float:
        """Since the first picture; one without a stamp follows the one before."""
        if stamp_seconds is None:
            return self._last_seconds + period_seconds if self._last_seconds >= 0 else 0.0
        next_seconds = max(self._last_seconds + period_seconds, 0.0)
        # Had it paused for so long, it would have been taken for lost: its clock was set.
        if self._first_seconds is None or abs(stamp_seconds - self._first_seconds - next_seconds) > self._stall_seconds:
            self._first_seconds = stamp_seconds - next_seconds
        return stamp_seconds - self._first_seconds

    def _blocks(self, sound: Resampler, decoded: list[Any]) -> Iterator[AudioBlock]:
        for each in decoded:
            for frame in sound.resample(each):
                if self._first_seconds is not None and frame.time is not None:
                    start_seconds = frame.time - self._first_seconds
                    if start_seconds >= 0:
                        yield AudioBlock(start_seconds, frame.to_ndarray().reshape(-1))

    def _open(self, address: str, listen: bool, open_seconds: float) -> Any:
        scheme = SCHEMES.get(urlsplit(address).scheme)
        if scheme is None:
            raise UsageError(f"{self.name}: a camera's address begins with {', '.join(SCHEMES)}://")
        options = {
            "protocol_whitelist": scheme.protocols,
            "format_whitelist": scheme.formats,
            "max_streams": str(MAX_STREAMS + 1),
            **dict(scheme.options),
        }
        if listen:
            options |= {"rtsp_flags": "listen", "listen_timeout": str(max(1, round(open_seconds)))}
        try:
            # The first read that takes too long still gives what the demuxer held; only the second one fails.
            timeout = (open_seconds, self._stall_seconds / 2)
            return av.open(address, options=options, timeout=timeout, metadata_errors="replace")
        except av.error.ExitError:
            raise SourceError(f"{self.name}: no answer in {open_seconds:g} s") from None
        except _ERRORS as error:
            raise SourceError(f"{self.name} cannot be opened: {_reason(error)}") from None


def redacted(address: str) -> str:
    """An address without user, password and whatever follows a "=": what may be shown and written."""
    return _VALUE.sub("=***", _USER.sub("***@", address))


def _reason(error: BaseException) -> str:
    """What went wrong, without the address that FFmpeg adds to it."""
    return getattr(error, "strerror", None) or type(error).__name__
