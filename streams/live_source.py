"""What is watched as it happens, behind one call: a camera on the network or at this machine, or a file at its pace.

address -> Frames and AudioBlocks as they come
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Protocol

from tristream.streams.addresses import redacted, split_address
from tristream.streams.device import DEVICES, DeviceReader
from tristream.streams.errors import MediaError, UsageError
from tristream.streams.frame import Frame
from tristream.streams.live import OPEN_SECONDS, SCHEMES, STALL_SECONDS, LiveReader
from tristream.streams.media import AudioBlock, MediaReader
from tristream.streams.media_info import MediaInfo


class LiveSource(Protocol):
    """What the readers of live sources have in common; they are closed by leaving `with`."""

    info: MediaInfo

    def __enter__(self) -> "LiveSource": ...

    def __exit__(self, *error: object) -> None: ...

    def __iter__(self) -> Iterator[Frame | AudioBlock]: ...


@dataclass(frozen=True)
class Address:
    """Where something is watched.

    Args:
        url: `rtsp(s)://`, `http(s)://`, `/dev/videoN`, or with `realtime` a file.
        listen: the camera connects to this RTSP address, and not the other way round.
        realtime: a file that is played at its own pace.
        open_seconds, stall_seconds: as LiveReader's.

    Raises:
        UsageError: an address that is none of these.
    """

    url: str
    listen: bool = False
    realtime: bool = False
    open_seconds: float = OPEN_SECONDS
    stall_seconds: float = STALL_SECONDS

    def __post_init__(self) -> None:
        if not self.is_file:
            split_address(self.url)
        if self.is_file and not self.realtime:
            if Path(self.url).exists():
                raise UsageError(f"{self} is a file: --realtime plays it at its own pace; score-anomaly scores it")
            begins = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise UsageError(f"{self} is no camera: its address begins with {begins} or {DEVICES}")
        if self.is_file and not Path(self.url).is_file():
            is_folder = Path(self.url).is_dir()
            raise UsageError(f"{self} is a folder: name one file" if is_folder else f"no such file: {self}")
        if self.listen and not self.url.startswith("rtsp://"):
            raise UsageError(f"{self}: only an rtsp:// address can be listened at")

    def __str__(self) -> str:
        """Without what is secret."""
        return redacted(self.url)

    @property
    def is_file(self) -> bool:
        """Whether it ends by itself, and then is not tried again."""
        return not self.url.startswith((DEVICES, *(f"{scheme}://" for scheme in SCHEMES)))

    def open(self, *, audio: bool, motion_vectors: bool, threads: int = 1) -> LiveSource:
        """Connect to it.

        Raises:
            SourceError, MediaError: it cannot be reached or read.
        """
        if self.is_file:
            return PacedReader(MediaReader(self.url, audio=audio, motion_vectors=motion_vectors, threads=threads))
        if self.url.startswith(DEVICES):
            return DeviceReader(self.url)
        return LiveReader(
            self.url,
            audio=audio,
            motion_vectors=motion_vectors,
            listen=self.listen,
            open_seconds=self.open_seconds,
            stall_seconds=self.stall_seconds,
            threads=threads,
        )


class PacedReader:
    """A file as if it happened now: each frame comes when its time has come."""

    def __init__(self, reader: MediaReader) -> None:
        self._reader = reader
        self.info = reader.info
        if self.info.video is None:
            reader.__exit__(None, None, None)
            raise MediaError(f"{reader.path} has no picture to watch")

    def __enter__(self) -> "PacedReader":
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.__exit__(None, None, None)

    def __iter__(self) -> Iterator[Frame | AudioBlock]:
        began = monotonic()
        for item in self._reader:
            early_seconds = item.start_seconds - (monotonic() - began)
            if early_seconds > 0:
                sleep(early_seconds)
            yield item
