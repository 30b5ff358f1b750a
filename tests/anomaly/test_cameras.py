"""Lists of cameras: what they may say, and what is told of what they may not."""

from pathlib import Path

import pytest

from tristream.anomaly.cameras import Camera, cameras_of, read_cameras
from tristream.streams.errors import UsageError

CANARY = "sw0rdf1sh"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cameras.toml"
    path.write_text(text)
    return path


def test_a_file_with_settings_for_all_and_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YARD_PASSWORD", CANARY)
    path = written(
        tmp_path,
        """
        detector = "detectors/yard"
        retry = 5

        [[camera]]
        name = "yard"
        url = "rtsp://viewer:${YARD_PASSWORD}@10.0.0.5/stream1"
        fps = 10
        mask = "yard.png"
        grid = "4x6"

        [[camera]]
        name = "door"
        url = "/dev/video0"
        detector = "/elsewhere/door"
        threshold = 30
        """,
    )
    yard, door = read_cameras(path, stall=3.0, fps=None)
    assert yard == Camera(
        "yard",
        "rtsp://viewer:${YARD_PASSWORD}@10.0.0.5/stream1",
        str(tmp_path / "detectors/yard"),
        fps=10.0,
        mask=str(tmp_path / "yard.png"),
        grid="4x6",
        retry=5.0,
        stall=3.0,
    )
    assert yard.address.url == f"rtsp://viewer:{CANARY}@10.0.0.5/stream1"
    assert CANARY not in repr(yard)
    assert (door.detector, door.threshold, door.address.url) == ("/elsewhere/door", 30.0, "/dev/video0")


def test_a_detector_from_the_command_line_is_relative_to_where_that_is(tmp_path: Path) -> None:
    path = written(tmp_path, '[[camera]]\nname = "a"\nurl = "rtsp://h/x"\n')
    assert read_cameras(path, detector="yard")[0].detector == "yard"


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "has no camera"),
        ("camera = 3", "has no camera"),
        ("[[camera]]\nname = ", "is no TOML file"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://h"\n', "camera a needs a detector"),
        ('[[camera]]\nurl = "rtsp://h"\ndetector = "d"\n', "camera 1 needs a name"),
        ('[[camera]]\nname = "a"\ndetector = "d"\n', "camera a needs a url"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://h"\ndetector = "d"\nulr = 1\n', r"unknown keys \['ulr'\]"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://h"\ndetector = "d"\nfps = "x"\n', "fps must be float"),
        ('[[camera]]\nname = "a b"\nurl = "rtsp://h"\ndetector = "d"\n', "letters, digits"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://h"\ndetector = "d"\n' * 2, "2 cameras named a"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://u:${NOT_SET}@h"\ndetector = "d"\n', "no such variable"),
        ('[[camera]]\nname = "a"\nurl = "ftp://h"\ndetector = "d"\n', "is no camera"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://h"\ndetector = "d"\nfps = 0\n', "fps must be positive"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://h"\ndetector = "d"\nretry = -1\n', "retry must be"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://h"\ndetector = "d"\nstall = 0\n', "stall must be"),
        (
            '[[camera]]\nname = "a"\nurl = "rtsp://h"\ndetector = "d"\nthreshold = 1\nfalse_alarms_per_hour = 1\n',
            "say the same",
        ),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_cameras(written(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_cameras(tmp_path / "no.toml")


def test_cameras_of_the_command_line_are_named_after_their_hosts(tmp_path: Path) -> None:
    urls = [f"rtsp://u:{CANARY}@yard.local/a?key={CANARY}", "rtsp://yard.local/b", "/dev/video0", "http://10.0.0.7/x"]
    cameras = cameras_of(urls, "detector", fps=5.0)
    assert [camera.name for camera in cameras] == ["yard.local-1", "yard.local-2", "video0", "10.0.0.7"]
    assert all(camera.fps == 5.0 for camera in cameras)
    (tmp_path / "my clip (1).mp4").touch()
    assert cameras_of([str(tmp_path / "my clip (1).mp4")], "d", realtime=True)[0].name == "my-clip-1"


def test_a_url_that_is_no_text_is_not_shown(tmp_path: Path) -> None:
    path = written(tmp_path, f'[[camera]]\nname = "a"\nurl = ["rtsp://u:{CANARY}@h"]\ndetector = "d"\n')
    with pytest.raises(UsageError, match="a url that is a text") as error:
        read_cameras(path)
    assert CANARY not in str(error.value)


def test_a_threshold_is_a_number(tmp_path: Path) -> None:
    path = written(tmp_path, '[[camera]]\nname = "a"\nurl = "rtsp://h"\ndetector = "d"\nthreshold = nan\n')
    with pytest.raises(UsageError, match="threshold must be a number"):
        read_cameras(path)
