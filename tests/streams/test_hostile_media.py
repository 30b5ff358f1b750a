"""Hostile files in: frames or one MediaError out, within bounded time and memory, and no other file is opened."""

import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import av
import numpy as np
import pytest

from tristream.streams.errors import MediaError
from tristream.streams.media import AudioBlock, MediaReader

MakeVideo = Callable[..., Path]
MUTATIONS = int(os.environ.get("TRISTREAM_MUTATIONS", "500"))  # 20,000 on demand: about two minutes
DECODER = Path(__file__).with_name("decode_mutations.py")
MEASURE = """
import json, sys, time
from pathlib import Path
from tristream.streams.errors import MediaError
from tristream.streams.media import AudioBlock, MediaReader
def peak():  # ru_maxrss would be that of the process that started this one, if that was larger
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before = peak()
began = time.monotonic()
seconds, error, warnings = 0.0, "", []
try:
    with MediaReader(sys.argv[1]) as reader:
        for item in reader:
            seconds += len(item.samples) / 16000 if isinstance(item, AudioBlock) else 0
    warnings = reader.warnings
except MediaError as raised:
    error = str(raised)
grown = (peak() - before) / 1024
print(json.dumps([error, warnings, seconds, grown, time.monotonic() - began]))
"""


def measure(path: Path) -> tuple[str, list[str], float, float, float]:
    """The error, warnings, seconds of sound, MiB that the peak memory grew by, seconds taken: in a process apart."""
    done = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    error, warnings, seconds, grown, taken = json.loads(done.stdout.splitlines()[-1])
    return error, warnings, seconds, grown, taken


@pytest.fixture
def good_files(tmp_path: Path, make_video: MakeVideo) -> Path:
    """Six small files with sound, each of another container."""
    folder = tmp_path / "good"
    folder.mkdir()
    for suffix, codec, sound, rate_hz in (
        ("avi", "mpeg4", "mp3", 44100),
        ("mp4", "libx264", "aac", 44100),
        ("mkv", "libx264", "flac", 44100),
        ("ts", "mpeg2video", "mp2", 44100),
        ("flv", "flv", "mp3", 44100),
        ("webm", "libvpx", "libopus", 48000),
    ):
        path = folder / f"good.{suffix}"
        make_video(path, seconds=0.5, height=48, width=64, codec=codec, sound_codec=sound, sound_hz=rate_hz)
    return folder


def test_damaged_files_give_frames_or_one_error_that_names_them(good_files: Path) -> None:
    command = [sys.executable, str(DECODER), str(good_files), "0", str(MUTATIONS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 + MUTATIONS / 10)
    except subprocess.TimeoutExpired as expired:
        pytest.fail(f"hung on the file of the last seed: {(expired.stdout or b'')[-20:]!r}")
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, f"the file of seed {last} crashed the decoder: {done.stderr[-2000:]}"
    outcomes = json.loads(last[0])
    assert outcomes["refused"] + outcomes["warned"] + outcomes["decoded"] == MUTATIONS
    assert min(outcomes["refused"], outcomes["warned"], outcomes["decoded"]) > MUTATIONS / 20  # the damage does harm
    assert outcomes["slowest_seconds"] < 10
    assert outcomes["grown_mebibytes"] < 150


class Canary:
    """A file and a server that nobody may touch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[str] = []
        canary = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                canary.requests.append(self.path)
                self.send_error(404)

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/canary.avi"
        os.utime(path, (0, 0))

    def assert_untouched(self) -> None:
        assert self.requests == []
        assert self.path.stat().st_atime == 0, "the canary file was read"
        self.path.read_bytes()
        if self.path.stat().st_atime == 0:
            pytest.skip("this file system keeps no access times")


@pytest.fixture
def canary(tmp_path: Path, make_video: MakeVideo) -> Iterator[Canary]:
    made = Canary(make_video(tmp_path / "canary.avi", seconds=0.4, height=48, width=64))
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


MPD = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>"
)
PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile '{target}'\nduration 1\n",
    "concat": "file '{target}'\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "hls-key": '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:1,\n{target}\n',
    "dash": MPD,
    "sdp": "v=0\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=control:{target}\n",
    "rtsp": "RTSPtext\nrtsp://127.0.0.1/\n{target}\n",
    "srt": "1\n00:00:00,000 --> 00:00:02,000\n{target}\n",
    "ass": "[Script Info]\nScriptType: v4.00+\nVideo File: {target}\n[Events]\nDialogue: 0,0:00:00.00,0:00:01.00,,x\n",
    "vob": "# VobSub index file, v7\nid: en, index: 0\n{target}\n",
    "imf": '<?xml version="1.0"?><AssetMap><Path>{target}</Path></AssetMap>',
    "ism": '<?xml version="1.0"?><SmoothStreamingMedia Url="{target}"/>',
}


@pytest.mark.parametrize("suffix", ["avi", "mp4", "ts", "m3u8"])
@pytest.mark.parametrize("kind", sorted(PLAYLISTS))
def test_a_disguised_playlist_opens_nothing_else(kind: str, suffix: str, tmp_path: Path, canary: Canary) -> None:
    for target in (canary.path.name, str(canary.path), f"file:{canary.path}", canary.url):
        path = tmp_path / f"list.{suffix}"
        path.write_text(PLAYLISTS[kind].format(target=target))
        with pytest.raises(MediaError, match="list"), MediaReader(path) as reader:
            list(reader)
    canary.assert_untouched()


def test_a_movie_that_refers_to_another_file_does_not_open_it(
    tmp_path: Path, canary: Canary, make_video: MakeVideo
) -> None:
    data = make_video(tmp_path / "plain.mov", codec="mjpeg", seconds=0.4, height=48, width=64).read_bytes()
    here = struct.pack(">I4sI", 12, b"url ", 1)  # "the data is in this file"
    assert data.count(here) == 1
    address = f"file://{canary.path}".encode() + b"\0"
    there = struct.pack(">I4sI", 12 + len(address), b"url ", 0) + address
    path = tmp_path / "refers.mov"
    path.write_bytes(_grow(data, data.index(here), len(here), there))
    try:
        with MediaReader(path) as reader:
            list(reader)
    except MediaError:
        pass
    canary.assert_untouched()


def _grow(data: bytes, at: int, length: int, new: bytes) -> bytes:
    """`data` with the box at `at` replaced, and the boxes around it made as much larger."""
    more = len(new) - length
    made = bytearray(data[:at] + new + data[at + length :])
    for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        size = made.rindex(name, 0, at) - 4
        made[size : size + 4] = struct.pack(">I", struct.unpack(">I", made[size : size + 4])[0] + more)
    return bytes(made)


def wav(rate_hz: int, channels: int, data_bytes: int = 20_000) -> bytes:
    block = 2 * channels
    rates = struct.pack("<HHIIHH", 1, channels, rate_hz, min(rate_hz * block, 2**32 - 1), block % 65536, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + data_bytes) + b"WAVEfmt " + struct.pack("<I", 16) + rates
        + b"data" + struct.pack("<I", data_bytes) + bytes(data_bytes)
    )  # fmt: skip


@pytest.mark.parametrize(("rate_hz", "channels"), [(0, 1), (1, 1), (999, 1), (2**31 - 1, 1), (8000, 65), (8000, 255)])
def test_sound_beyond_the_limits_is_refused(rate_hz: int, channels: int, tmp_path: Path) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(wav(rate_hz, channels))
    with pytest.raises(MediaError, match=r"odd\.wav"), MediaReader(path) as reader:
        list(reader)


def test_sound_beyond_the_limits_costs_a_video_only_its_sound(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "clip.avi", seconds=0.4, height=48, width=64, sound_hz=8000)
    data = path.read_bytes()
    said = struct.pack("<HHI", 1, 1, 8000)
    assert data.count(said) == 1
    path.write_bytes(data.replace(said, struct.pack("<HHI", 1, 1, 5)))
    with MediaReader(path) as reader:
        assert not any(isinstance(item, AudioBlock) for item in reader)
    assert reader.frames == 10
    assert reader.warnings[0] == "sound left out: it has 5 samples a second, outside 1000 to 768000"


def huge_pictures(folder: Path, make_video: MakeVideo) -> Iterator[Path]:
    """Files whose headers claim 30,000 x 30,000 (VP8: 16,383 x 16,383) pixels."""
    small = {"seconds": 0.4, "height": 64, "width": 96}
    for name, codec, said, claimed in (
        ("clip.mp4", "mjpeg", struct.pack(">HH", 64, 96), struct.pack(">HH", 30000, 30000)),
        ("clip.mjpeg", "mjpeg", struct.pack(">HH", 64, 96), struct.pack(">HH", 30000, 30000)),
        ("clip.ivf", "libvpx", struct.pack("<HH", 96, 64), struct.pack("<HH", 16383, 16383)),
        ("clip.webm", "libvpx", struct.pack("<HH", 96, 64), struct.pack("<HH", 16383, 16383)),
    ):
        path = make_video(folder / name, codec=codec, **small)
        data = path.read_bytes()
        assert said in data
        path.write_bytes(data.replace(said, claimed))
        yield path
    screen = struct.pack("<HH", 30000, 30000)
    gif = b"GIF89a" + screen + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0" + screen + b"\0\2\2\x4c\1\0;"
    (folder / "clip.gif").write_bytes(gif)
    yield folder / "clip.gif"


def test_a_claim_of_a_huge_picture_is_refused_in_little_memory(tmp_path: Path, make_video: MakeVideo) -> None:
    for path in huge_pictures(tmp_path, make_video):
        error, _, _, grown_mebibytes, _ = measure(path)
        assert str(path) in error
        assert grown_mebibytes < 30, path


@pytest.mark.parametrize(("height", "width"), [(2, 4096), (4096, 2)])
def test_a_strip_is_refused_rather_than_scaled_up(
    height: int, width: int, tmp_path: Path, make_video: MakeVideo
) -> None:
    path = make_video(tmp_path / "strip.mkv", frames=np.zeros((4, height, width, 3), np.uint8))
    with pytest.raises(MediaError, match=r"strip\.mkv has \d+x\d+ pixels"):
        MediaReader(path)


def test_more_streams_than_the_limit_are_refused(tmp_path: Path) -> None:
    for streams in (32, 33, 64):
        path = tmp_path / f"many{streams}.mkv"
        with av.open(str(path), "w") as container:
            outputs = [container.add_stream("mpeg4", rate=25) for _ in range(streams)]
            for output in outputs:
                output.height, output.width, output.pix_fmt = 32, 32, "yuv420p"
            for output in outputs:
                container.mux(output.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
                container.mux(output.encode())
        if streams == 32:
            with MediaReader(path) as reader:
                assert len(list(reader)) == 1
            continue
        with pytest.raises(MediaError, match="more than 32 streams"):
            MediaReader(path)


@pytest.mark.parametrize(("suffix", "hours"), [("flac", 2), ("wav", 2), ("ogg", 0.25)])
def test_hours_of_silence_take_little_memory(suffix: str, hours: float, tmp_path: Path) -> None:
    path = tmp_path / f"silence.{suffix}"
    _write_silence(path, hours)
    error, warnings, seconds, grown_mebibytes, taken_seconds = measure(path)
    assert (error, warnings) == ("", [])
    assert seconds == pytest.approx(hours * 3600, abs=1)
    assert grown_mebibytes < 30
    assert taken_seconds < 60


def _write_silence(path: Path, hours: float) -> None:
    if path.suffix == ".wav":  # a file with a hole takes no space
        head = wav(8000, 1, 0)
        size = round(hours * 3600) * 8000 * 2
        with path.open("wb") as file:
            file.write(head[:4] + struct.pack("<I", 36 + size) + head[8:40] + struct.pack("<I", size))
            file.truncate(44 + size)
        return
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac" if path.suffix == ".flac" else "libopus", rate=8000, layout="mono")
        block = stream.frame_size or 4096
        frame = av.AudioFrame.from_ndarray(np.zeros((1, block), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        for first in range(0, round(hours * 3600) * 8000, block):
            frame.pts = first
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_stamps_that_claim_ages_do_not_make_the_video_long(tmp_path: Path, make_video: MakeVideo) -> None:
    path = tmp_path / "ages.mkv"
    given = [0.04 * i for i in range(10)] + [1e9]  # 31 years
    make_video(path, seconds=0.44, height=48, width=64, codec="mjpeg", stamps_seconds=given)
    with MediaReader(path) as reader:
        list(reader)
    assert reader.duration_seconds < 8 * 24 * 3600
