"""A camera over loopback, pushed by a real peer: the same frames as of the file, and an end to every fault."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from tristream.streams import live
from tristream.streams.errors import SourceError, UsageError
from tristream.streams.frame import Frame
from tristream.streams.live import LiveReader
from tristream.streams.media import AudioBlock, MediaReader
from tristream.streams.picture import PictureFormat

FORM = PictureFormat(60, 80, "gray", None, "area")
CANARY = "sw0rdf1sh"
Push = Callable[..., None]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def address() -> str:
    return f"rtsp://admin:{CANARY}@127.0.0.1:{free_port()}/cam"


@pytest.fixture
def push(address: str) -> Iterator[Push]:
    """Push a file to the address once it listens, as fast as it plays; the process is in `push.peers`."""
    peers: list[subprocess.Popen[bytes]] = []
    host = address.split("@")[1]

    def begin(path: Path, *options: str) -> None:
        def run() -> None:
            _await_listener(int(host.split(":")[1].split("/")[0]))
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "quiet", "-re", "-i", str(path), "-c", "copy"]
            peers.append(
                subprocess.Popen([*command, *options, "-f", "rtsp", "-rtsp_transport", "tcp", f"rtsp://{host}"])
            )

        threading.Thread(target=run, daemon=True).start()

    begin.peers = peers  # type: ignore[attr-defined]
    yield begin
    for peer in peers:
        peer.kill()
        peer.wait()


def _await_listener(port: int) -> None:
    """Until a socket listens there; not by connecting, which would take the one place."""
    wanted = f":{port:04X} "
    for _ in range(1000):
        if any(wanted in line and " 0A " in line for line in Path("/proc/net/tcp").read_text().splitlines()):
            return
        time.sleep(0.01)


@pytest.fixture(scope="module")
def clip(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "clip.mp4"
    return make_video(path, seconds=2, fps=20, codec="libx264", video_options={"g": "10", "bf": "0"})


def listen(address: str, **options: Any) -> LiveReader:
    return LiveReader(address, listen=True, **{"open_seconds": 10.0, "stall_seconds": 3.0} | options)


def collect(reader: LiveReader, on_frame: Callable[[int], None] = lambda count: None) -> tuple[list[Any], str]:
    items: list[Any] = []
    with reader:  # closing says farewell to a camera, which one that stalls does not answer
        with pytest.raises(SourceError) as lost:
            for item in reader:
                what = item.picture(FORM) if isinstance(item, Frame) else item.samples
                items.append((type(item), item.start_seconds, what))
                on_frame(len(items))
        on_frame(-1)
    assert CANARY not in str(lost.value)
    assert lost.value.__cause__ is None
    return items, str(lost.value)


@pytest.mark.slow
def test_frames_are_those_of_the_file_with_their_times(address: str, push: Push, clip: Path) -> None:
    push(clip)
    items, lost = collect(listen(address))
    expected = [(frame.start_seconds, frame.picture(FORM)) for frame in MediaReader(clip) if isinstance(frame, Frame)]
    assert len(items) >= len(expected) - 1
    np.testing.assert_allclose([item[1] for item in items], [each[0] for each in expected[: len(items)]], atol=2e-3)
    for item, (_, picture) in zip(items, expected, strict=False):
        np.testing.assert_array_equal(item[2], picture)
    assert "ended its stream" in lost or "was lost" in lost


@pytest.mark.slow
def test_sound_comes_on_the_clock_of_the_picture(address: str, push: Push, make_video: Any, tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "sound.mp4",
        seconds=2,
        fps=20,
        codec="libx264",
        video_options={"bf": "0"},
        sound_hz=16_000,
        sound_codec="aac",
    )
    push(path)
    items, _ = collect(listen(address))
    sound = [item for item in items if item[0] is AudioBlock]
    seconds = sum(len(item[2]) for item in sound) / 16_000
    assert 1.2 <= seconds <= 2.3
    assert all(-0.01 <= item[1] <= 2.2 for item in sound)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["dies", "stalls"])
def test_a_camera_that_goes_is_noticed_in_time(
    address: str, push: Push, make_video: Any, tmp_path: Path, fault: str
) -> None:
    path = make_video(tmp_path / "long.mp4", seconds=20, fps=20, codec="libx264", video_options={"bf": "0"})
    push(path)
    gone: list[float] = []

    def on_frame(count: int) -> None:
        if count == 15:
            os.kill(push.peers[0].pid, signal.SIGKILL if fault == "dies" else signal.SIGSTOP)  # type: ignore[attr-defined]
        if count in (15, -1):
            gone.append(time.monotonic())

    _, lost = collect(listen(address), on_frame)
    assert gone[1] - gone[0] < 3.0 + 1.5
    assert "was lost" in lost or "no picture" in lost or "ended" in lost


def garbage_server(answers: bytes, hold_seconds: float) -> int:
    """A server that answers whoever connects with bytes that are no video; its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            try:
                connection.recv(1000)
                end = time.monotonic() + hold_seconds
                while time.monotonic() < end:
                    connection.sendall(answers)
                    time.sleep(0.05)
            except OSError:
                pass
        server.close()

    threading.Thread(target=serve, daemon=True).start()
    return int(server.getsockname()[1])


@pytest.mark.parametrize(
    "scheme, answers",
    [
        ("rtsp", os.urandom(2000)),
        ("rtsp", b""),  # silence
        ("http", b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n" + os.urandom(20_000)),
        ("http", b"HTTP/1.0 404 Not Found\r\n\r\n"),
        ("http", b"HTTP/1.0 200 OK\r\n\r\n#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
    ],
)
def test_what_is_no_video_is_an_error_in_time_that_keeps_the_password(scheme: str, answers: bytes) -> None:
    port = garbage_server(answers, hold_seconds=8)
    began = time.monotonic()
    address = f"{scheme}://u:{CANARY}@127.0.0.1:{port}/x?key={CANARY}"
    with pytest.raises(SourceError) as error, LiveReader(address, open_seconds=2, stall_seconds=2) as reader:
        list(reader)
    assert time.monotonic() - began < 6
    assert CANARY not in str(error.value)
    assert f"127.0.0.1:{port}" in str(error.value)


def test_a_camera_that_refuses_and_one_that_never_comes() -> None:
    with pytest.raises(SourceError, match="Connection refused"):
        LiveReader(f"rtsp://127.0.0.1:{free_port()}/x")
    began = time.monotonic()
    with pytest.raises(SourceError, match="no answer in 1 s"):
        LiveReader(f"rtsp://127.0.0.1:{free_port()}/x", listen=True, open_seconds=1)
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    "address", ["ftp://x/y", "/etc/passwd", "file:///etc/passwd", "concat:a|b", "x.mp4", "hls+http://x"]
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="address begins with rtsp"):
        LiveReader(address)


def test_times_go_on_where_a_camera_sets_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(live, "monotonic", lambda: now)
    reader = LiveReader.__new__(LiveReader)
    reader._first_seconds, reader._last_seconds, reader._last_stamp, reader._most_ahead = None, -1.0, 0.0, -inf
    found = []
    # In time; a burst after a pause; the clock set forward by an hour, back by a day.
    for elapsed, stamp in [
        (0, 50.0),
        (0.1, 50.1),
        (5, 50.2),
        (0, 55.2),
        (0.1, 3655.3),
        (0.1, 3655.4),
        (0.1, -80_000.0),
    ]:
        now += elapsed
        seconds = reader._seconds(stamp, 0.1)
        reader._last_seconds = max(seconds, reader._last_seconds + 0.0125)
        found.append(seconds)
    assert found == pytest.approx([0.0, 0.1, 0.2, 5.2, 5.3, 5.4, 5.5])
