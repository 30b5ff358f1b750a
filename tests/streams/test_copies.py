"""Copies of files in a worse encoding."""

from collections.abc import Callable
from pathlib import Path

import av
import pytest

from tristream.streams.clip_file import write_copy

MakeVideo = Callable[..., Path]


def test_a_copy_has_the_same_frames_and_sound_in_fewer_bytes(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mkv", seconds=2, fps=25, sound_hz=44_100, codec="ffv1")
    write_copy(path, tmp_path / "copy.mkv", 36, 24_000)
    with av.open(str(tmp_path / "copy.mkv")) as copy:
        frames = [frame.time for frame in copy.decode(video=0)]
        assert copy.streams.video[0].codec_context.name == "h264"
    assert frames == pytest.approx([number / 25 for number in range(50)], abs=1e-3)
    with av.open(str(tmp_path / "copy.mkv")) as copy:
        samples = sum(frame.samples for frame in copy.decode(audio=0))
        assert copy.streams.audio[0].rate == 16_000
    assert samples == pytest.approx(2 * 16_000, abs=2 * 1024)
    assert (tmp_path / "copy.mkv").stat().st_size < path.stat().st_size / 4


def test_a_file_of_one_kind_has_a_copy_of_that_kind(make_video: MakeVideo, tmp_path: Path) -> None:
    write_copy(make_video(tmp_path / "clip.mkv", seconds=1, height=121, width=161), tmp_path / "copy.mkv", 30, 24_000)
    with av.open(str(tmp_path / "copy.mkv")) as copy:
        assert [stream.type for stream in copy.streams] == ["video"]
        assert (copy.streams.video[0].height, copy.streams.video[0].width) == (120, 160)
