"""A camera in, time-stamped frames and sound out as they come: the one module beside media.py that opens media.

address -> Frame.picture(format) (H, W, 3) or (H, W) uint8, AudioBlock.samples (S,) float32 at 16 kHz mono

A camera is trusted no more than a file: by the kind of its address, only the protocols and formats of such cameras are
opened, over TCP; pictures and sound are bounded as those of files; and what names it never shows its password.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

import av
from av.video.reformatter import VideoReformatter

from tristream.streams.addresses import redacted, split_address
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
CLOCK_SECONDS = 1.0  # by which a picture may be stamped before it was
SOUND_APART_SECONDS = 2.0  # that sound may be stamped apart from the picture
DAMAGED_IN_A_ROW = 500  # packets of which no picture comes: what is sent is garbage
_ERRORS = (av.error.FFmpegError, ValueError, MemoryError, OSError, ArithmeticError)


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
        sound = Resampler(lambda: av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ))
        converters = Converters(VideoReformatter)
        self._first_seconds: float | None = None
        self._last_seconds, self._last_stamp, self._most_ahead = -1.0, 0.0, -inf
        seen, in_a_row = monotonic(), 0
        packets = self._container.demux()  # of all streams: those passed over inside would hide that no picture comes
        while True:
            try:
                packet = next(packets, None)
                wanted = packet is not None and packet.stream in (self._video, self._audio)
                decoded = packet.decode() if packet is not None and packet.size and wanted else []
            except _ERRORS as error:
                if isinstance(error, av.error.InvalidDataError):
                    self.damaged, in_a_row = self.damaged + 1, in_a_row + 1
                    if in_a_row < DAMAGED_IN_A_ROW and monotonic() - seen < self._stall_seconds:
                        packets = self._container.demux()
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
        next_seconds = max(self._last_seconds + period_seconds, 0.0)
        if stamp_seconds is None:
            return next_seconds
        moved_seconds, self._last_stamp = stamp_seconds - self._last_stamp, stamp_seconds
        ahead_seconds = stamp_seconds - monotonic()  # of our clock: the most of all frames are those that came at once
        # One that is stamped long before it can have been, or before the last one, is stamped by a clock that was set.
        too_soon = moved_seconds > CLOCK_SECONDS and ahead_seconds > self._most_ahead + CLOCK_SECONDS
        was_set = too_soon or moved_seconds < -CLOCK_SECONDS
        self._most_ahead = ahead_seconds if was_set else max(ahead_seconds, self._most_ahead)
        if self._first_seconds is None or was_set:
            self._first_seconds = stamp_seconds - next_seconds
        return stamp_seconds - self._first_seconds

    def _blocks(self, sound: Resampler, decoded: list[Any]) -> Iterator[AudioBlock]:
        for each in decoded:
            try:
                resampled = sound.resample(each)
            except _ERRORS:  # of a kind that is beyond the limits, or changes to one: the picture is what counts
                self._audio = None
                return
            for frame in resampled:
                if self._first_seconds is None or frame.time is None:
                    continue
                start_seconds = frame.time - self._first_seconds
                if start_seconds >= 0 and abs(start_seconds - self._last_seconds) <= SOUND_APART_SECONDS:
                    yield AudioBlock(start_seconds, frame.to_ndarray().reshape(-1))

    def _open(self, address: str, listen: bool, open_seconds: float) -> Any:
        scheme = SCHEMES.get(split_address(address).scheme)
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


def _reason(error: BaseException) -> str:
    """What went wrong, without the address that FFmpeg adds to it."""
    return getattr(error, "strerror", None) or type(error).__name__
