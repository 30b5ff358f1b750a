"""Cut files in, the frames before the cut and a warning out; whole files are never called truncated."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tristream.streams.errors import MediaError
from tristream.streams.media import Frame, MediaReader
from tristream.streams.truncation import missing_part

MakeVideo = Callable[..., Path]
CUTS = 100
GOOD = {
    "avi": {"codec": "mpeg4", "sound_codec": "mp3", "sound_hz": 44100},
    "mp4": {"codec": "libx264", "sound_codec": "aac", "sound_hz": 44100},
    "mkv": {"codec": "libx264", "sound_codec": "flac", "sound_hz": 44100},
    "ts": {"codec": "mpeg2video", "sound_codec": "mp2", "sound_hz": 44100},
    "mpg": {"codec": "mpeg1video", "sound_codec": "mp2", "sound_hz": 44100},
    "flv": {"codec": "flv", "sound_codec": "mp3", "sound_hz": 44100},
    "webm": {"codec": "libvpx", "sound_codec": "libopus", "sound_hz": 48000},
    "wmv": {"codec": "wmv2"},
    "ogg": {"video": False, "sound_codec": "libopus", "sound_hz": 48000},
    "wav": {"video": False, "sound_codec": "pcm_s16le", "sound_hz": 16000},
    "aiff": {"video": False, "sound_codec": "pcm_s16be", "sound_hz": 16000},
    "mp3": {"video": False, "sound_codec": "mp3", "sound_hz": 44100},
}
NAMES = {"mp4": "mov,mp4,m4a,3gp,3g2,mj2", "mkv": "matroska,webm", "webm": "matroska,webm", "ts": "mpegts"}
NAMES |= {"mpg": "mpeg", "wmv": "asf"}


def make_good(suffix: str, folder: Path, make_video: MakeVideo) -> Path:
    path = make_video(folder / f"good.{suffix}", seconds=0.8, height=64, width=96, **GOOD[suffix])
    return _moov_first(path) if suffix == "mp4" else path


def _moov_first(path: Path) -> Path:
    made = path.with_name("fast.mp4")
    with av.open(str(path)) as given, av.open(str(made), "w", options={"movflags": "faststart"}) as taken:
        streams = {stream.index: taken.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                taken.mux(packet)
    return made


def decode(path: Path) -> tuple[dict[int, NDArray[np.uint8]], list[str]]:
    """Each frame's luma by its time in milliseconds from the first, and the warnings."""
    with MediaReader(path, threads=1) as reader:
        frames = [(i.start_seconds, i._frame.to_ndarray(format="gray")) for i in reader if isinstance(i, Frame)]
    return {round(1000 * (seconds - frames[0][0])): picture for seconds, picture in frames}, reader.warnings


@pytest.mark.parametrize("suffix", ["avi", "mp4", "mkv", "ts", "mpg", "flv", "webm"])
def test_a_cut_file_gives_an_exact_prefix_and_says_so(suffix: str, tmp_path: Path, make_video: MakeVideo) -> None:
    good = make_good(suffix, tmp_path, make_video)
    whole, warnings = decode(good)
    assert (len(whole), warnings) == (20, [])
    data, times = good.read_bytes(), list(whole)
    path = tmp_path / f"cut.{suffix}"
    refused = 0
    for length in np.linspace(1, len(data) - 10, CUTS).astype(int):
        path.write_bytes(data[:length])
        try:
            frames, warnings = decode(path)
        except MediaError:
            refused += 1
            continue
        for time, picture in frames.items():
            assert (picture == whole[time]).all(), f"cut at {length}: another picture at {time} ms"
        # A B frame that fell off leaves a gap in front of the last frame; all before it is there.
        intact = [time for time in times if time in frames]
        assert intact[:-3] == times[: max(len(intact) - 3, 0)]
        if not any(warning.startswith("truncated: ") for warning in warnings):
            # Nothing tells of a cut between two packets of a program or transport stream.
            assert (suffix, length % 2048) == ("mpg", 0) or (suffix, length % 188) == ("ts", 0)
    assert refused < 0.6 * CUTS


@pytest.mark.parametrize("suffix", sorted(GOOD))
def test_a_cut_anywhere_is_seen_in_the_structure(suffix: str, tmp_path: Path, make_video: MakeVideo) -> None:
    good = make_good(suffix, tmp_path, make_video)
    name = NAMES.get(suffix, suffix)
    assert missing_part(good, name) is None
    data, path = good.read_bytes(), tmp_path / "cut"
    slack_bytes = {"mp3": 4096, "avi": 8, "wav": 8, "aiff": 8}.get(suffix, 0)
    lengths = range(1000, len(data) - slack_bytes - 1, 41)
    unseen = []
    for length in lengths:
        path.write_bytes(data[:length])
        if missing_part(path, name) is None:
            unseen.append(length)
    # A program stream that ends with the 12 bytes of a pack header ends between two packets, too.
    assert all(length % {"ts": 188, "mpg": 2048}.get(suffix, 10**9) in (0, 12) for length in unseen)
    assert len(unseen) < 0.05 * len(lengths)


def test_bytes_after_the_end_are_no_truncation(tmp_path: Path, make_video: MakeVideo) -> None:
    for suffix in ("avi", "mp4", "mkv", "wav", "mp3"):
        good = make_good(suffix, tmp_path, make_video)
        good.write_bytes(good.read_bytes() + bytes(1000))
        assert missing_part(good, NAMES.get(suffix, suffix)) is None


def test_files_written_live_declare_no_size_and_are_whole(tmp_path: Path, make_video: MakeVideo) -> None:
    riff, segment = b"RIFF", bytes.fromhex("18538067")
    for suffix, before, size, unknown in (
        ("avi", riff, 4, bytes(4)),
        ("wav", riff, 4, b"\xff" * 4),
        ("mkv", segment, 8, b"\1" + b"\xff" * 7),
        ("webm", segment, 8, b"\1" + b"\xff" * 7),
        ("flv", b"\0\x08filesize\0", 8, bytes(8)),
    ):
        path = make_good(suffix, tmp_path, make_video)
        data = path.read_bytes()
        at = data.index(before) + len(before)
        path.write_bytes(data[:at] + unknown + data[at + size :])
        with MediaReader(path) as reader:
            assert len(list(reader)) > 5
        assert reader.warnings == [], suffix


def test_a_cut_in_a_matroska_file_written_live_is_seen(tmp_path: Path, make_video: MakeVideo) -> None:
    data = bytearray(make_good("mkv", tmp_path, make_video).read_bytes())
    at = data.index(bytes.fromhex("18538067")) + 4
    data[at : at + 8] = b"\1" + b"\xff" * 7
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: len(data) // 2])
    assert "bytes it declares" in (missing_part(path, "matroska,webm") or "")


def test_frames_that_an_avi_repeats_are_not_missing(tmp_path: Path, make_video: MakeVideo) -> None:
    gaps = [0, 0.04, 0.2, 0.24, 0.4]  # AVI has an empty packet for each time without a frame
    path = make_video(tmp_path / "gaps.avi", fps=Fraction(25), seconds=0.2, stamps_seconds=gaps)
    with MediaReader(path) as reader:
        assert sum(isinstance(item, Frame) for item in reader) == 5
    assert reader.info.video.frames > 5
    assert reader.warnings == []


def test_an_edit_that_hides_the_end_is_no_truncation(tmp_path: Path, make_video: MakeVideo) -> None:
    data = make_video(tmp_path / "all.mp4", codec="libx264", seconds=2.0, video_options={"bf": "0"}).read_bytes()
    at = data.index(b"elst") + 12
    assert int.from_bytes(data[at : at + 4], "big") == 2000  # milliseconds
    path = tmp_path / "edited.mp4"
    path.write_bytes(data[:at] + (1000).to_bytes(4, "big") + data[at + 4 :])
    with MediaReader(path) as reader:
        assert sum(isinstance(item, Frame) for item in reader) == pytest.approx(25, abs=1)
    assert reader.warnings == []


def test_a_flac_that_is_cut_says_so(tmp_path: Path, make_video: MakeVideo) -> None:
    good = make_video(tmp_path / "good.flac", video=False, sound_codec="flac", sound_hz=16000, sound_seconds=4.0)
    data, path = good.read_bytes(), tmp_path / "cut.flac"
    for length in np.linspace(len(data) // 2, len(data) - 20, 10).astype(int):
        path.write_bytes(data[:length])
        with MediaReader(path) as reader:
            list(reader)
        assert [warning[:10] for warning in reader.warnings[:1]] == ["truncated:"], length


class FailingDisk:
    """An opened container whose file cannot be read after so many packets."""

    def __init__(self, container: Any, packets: int) -> None:
        self._container, self._packets = container, packets

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self, streams: Any) -> Iterator[Any]:
        yield from islice(self._container.demux(streams), self._packets)
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("threads", [1, 3])
def test_a_read_error_ends_the_file_with_all_frames_before_it(
    threads: int, tmp_path: Path, make_video: MakeVideo
) -> None:
    path = make_video(tmp_path / "clip.avi", seconds=0.8)
    with MediaReader(path, threads=threads) as reader:
        reader._container = FailingDisk(reader._container, 7)
        frames = sum(isinstance(item, Frame) for item in reader)
    assert frames == 7  # those that wait in the decoder's threads, too
    assert reader.warnings == ["truncated: the file cannot be read to its end (Input/output error); 0.28 s were read"]


def test_no_more_than_the_longest_time_is_read(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tristream.streams.media.MAX_SECONDS", 0.5)
    with MediaReader(make_video(tmp_path / "long.avi", seconds=2.0), threads=1) as reader:
        frames = sum(isinstance(item, Frame) for item in reader)
    assert 12 <= frames <= 14
    assert reader.warnings[0].startswith("truncated: of one file, ")


def test_a_sound_stream_without_packets_is_said_to_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "mute.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        container.mux(stream.encode())
    with MediaReader(path) as reader:
        assert len(list(reader)) == 5
    assert reader.warnings == ["nothing of the audio stream could be decoded"]
