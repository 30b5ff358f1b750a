"""What may be watched, and what an address shows of itself."""

from pathlib import Path

import pytest

from tristream.streams.errors import UsageError
from tristream.streams.live_source import Address


@pytest.mark.parametrize(
    "url, settings, words",
    [
        ("ftp://host/x", {}, "is no camera"),
        ("nowhere.mp4", {}, "is no camera"),
        ("nowhere.mp4", {"realtime": True}, "no such file"),
        ("{clip}", {}, "--realtime plays it at its own pace"),
        ("http://host/x", {"listen": True}, "only an rtsp://"),
        ("/dev/video0", {"listen": True}, "only an rtsp://"),
    ],
)
def test_what_cannot_be_watched(url: str, settings: dict[str, bool], words: str, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(UsageError, match=words):
        Address(url.format(clip=tmp_path / "clip.mp4"), **settings)  # type: ignore[arg-type]


def test_it_shows_no_password_and_knows_what_ends(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    assert str(Address("rtsp://u:p@h/x")) == "rtsp://***@h/x"
    assert Address(str(tmp_path / "clip.mp4"), realtime=True).is_file
    assert not Address("/dev/video0", realtime=True).is_file
    assert not Address("http://h/x", realtime=True).is_file
