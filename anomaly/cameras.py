"""Which cameras are watched, and how: a cameras.toml or addresses in, Camera each out."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from tristream.fusion.folder import MAX_JSON_BYTES
from tristream.streams.addresses import filled, redacted
from tristream.streams.config import from_json
from tristream.streams.errors import UsageError
from tristream.streams.live import STALL_SECONDS
from tristream.streams.live_source import Address

LONGEST_PAUSE_SECONDS = 30.0
ENTRIES = "camera"  # of the file: [[camera]]
PATHS = ("detector", "mask")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Camera:
    """One camera.

    Args:
        name: of letters, digits, `_`, `.` and `-`; files are named after it.
        url: as Address takes it; `${NAME}` stands for a variable of the environment, as a password should.
        detector: the folder that fit-anomaly made.
        fps: the most frames a second that are taken of it.
        threshold: the score above which an event opens; by default the detector's.
        false_alarms_per_hour: or what the threshold follows from, other than what the detector was made for.
        mask: a picture, black where nothing is looked for; tiles that are black for the most part are left out.
        grid: to be sure of the detector's, as in 4x6.
        stall: the seconds in which it must answer, and after which without a picture it is taken for lost.
        retry: the longest pause in seconds before it is tried again; 0 gives up when it is lost.
        listen: it connects to us (RTSP).
        realtime: it is a file, played at its own pace.

    Raises:
        UsageError: a value that cannot be.
    """

    name: str
    url: str
    detector: str
    fps: float | None = None
    threshold: float | None = None
    false_alarms_per_hour: float | None = None
    mask: str | None = None
    grid: str | None = None
    stall: float = STALL_SECONDS
    retry: float = LONGEST_PAUSE_SECONDS
    listen: bool = False
    realtime: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(f"a camera's name has letters, digits, '_', '.' and '-' only, got {self.name!r}")
        if self.fps is not None and not 0 < self.fps < 1000:
            raise UsageError(f"camera {self.name}: fps must be positive, got {self.fps}")
        if not 0 <= self.retry < float("inf"):
            raise UsageError(f"camera {self.name}: retry must be 0 or more seconds, got {self.retry}")
        if not 0 < self.stall < float("inf"):
            raise UsageError(f"camera {self.name}: stall must be more than 0 seconds, got {self.stall}")
        if self.threshold is not None and not isfinite(self.threshold):
            raise UsageError(f"camera {self.name}: threshold must be a number, got {self.threshold}")
        if self.threshold is not None and self.false_alarms_per_hour is not None:
            raise UsageError(f"camera {self.name}: threshold and false_alarms_per_hour say the same: give one of them")
        _ = self.address

    @property
    def address(self) -> Address:
        """Where it is, its variables filled in."""
        return Address(filled(self.url), self.listen, self.realtime, self.stall, self.stall)


def cameras_of(urls: Sequence[str], detector: str, **settings: Any) -> list[Camera]:
    """A camera of each address, named after it; the settings are Camera's, for all.

    Raises:
        UsageError: as Camera.
    """
    names = [_name_of(url) for url in urls]
    counts, seen, cameras = Counter(names), Counter[str](), []
    for name, url in zip(names, urls, strict=True):
        seen[name] += 1
        own = name if counts[name] == 1 else f"{name}-{seen[name]}"
        cameras.append(Camera(own, url, detector, **settings))
    return cameras


def read_cameras(path: Path, **defaults: Any) -> list[Camera]:
    """The cameras of a file: its [[camera]] tables, with what stands above them, and `defaults`, for all.

    Detectors and masks in it are relative to its folder.

    Raises:
        UsageError: it cannot be read, has an unknown key, two cameras of one name, or none; as Camera.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UsageError(f"{path} is too large for a list of cameras")
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML file: {error}") from error
    entries = data.pop(ENTRIES, None)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{path} has no camera: it lists each as [[{ENTRIES}]] with a name and a url")
    given = {key: value for key, value in defaults.items() if value is not None}
    cameras = [_camera(path, number, given, data | entry) for number, entry in enumerate(entries, 1)]
    check_names(cameras, str(path))
    return cameras


def check_names(cameras: Iterable[Camera], where: str) -> None:
    """Refuse two cameras of one name, which could not be told apart.

    Raises:
        UsageError: there are such.
    """
    name, times = max(Counter(camera.name for camera in cameras).items(), key=lambda each: each[1])
    if times > 1:
        raise UsageError(f"{where} has {times} cameras named {name}: each needs a name of its own")


def _camera(path: Path, number: int, defaults: dict[str, Any], entry: dict[str, Any]) -> Camera:
    where = f"{path}: camera {entry.get('name', number)}"
    for key in PATHS:
        if isinstance(entry.get(key), str):
            entry[key] = str(path.absolute().parent / entry[key])
    filled_in = defaults | entry
    for key, what in (("name", "a name"), ("url", "a url"), ("detector", "a detector, a folder of fit-anomaly")):
        if key not in filled_in:
            raise UsageError(f"{where} needs {what}")
    if not isinstance(filled_in["url"], str):  # which may be secret
        raise UsageError(f"{where} needs a url that is a text")
    return from_json(Camera, filled_in, where)


def _name_of(url: str) -> str:
    """The host of an address, or what a file or device is called: the rest may be secret."""
    host = re.split(r"[/:?#]", redacted(url).partition("://")[2].rpartition("@")[2])[0]
    text = host if "://" in url else Path(url).stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.")[:50] or "camera"
