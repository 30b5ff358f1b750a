"""Made files of every kind in, frames and sound at their true times out."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from numpy.typing import NDArray

from tristream.streams.errors import MediaError
from tristream.streams.media import AudioBlock, Frame, MediaReader, probe
from tristream.streams.picture import PictureFormat

MakeVideo = Callable[..., Path]
SMALL = {"seconds": 0.4, "height": 64, "width": 96}


def read(path: Path, **options: Any) -> tuple[MediaReader, list[Frame], list[AudioBlock]]:
    with MediaReader(path, threads=1, **options) as reader:
        items = list(reader)
    return reader, [i for i in items if isinstance(i, Frame)], [i for i in items if isinstance(i, AudioBlock)]


def stamps(frames: list[Frame]) -> list[float]:
    return [round(frame.start_seconds, 3) for frame in frames]


def sound(blocks: list[AudioBlock]) -> NDArray[np.float32]:
    return np.concatenate([block.samples for block in blocks])


def write_streams(path: Path, *streams: dict[str, Any]) -> Path:
    """A file of several streams: of plain grey pictures (`size`, `value`), or of silence (`hz`, `layout`)."""
    with av.open(str(path), "w") as container:
        outputs = [_add_stream(container, spec) for spec in streams]
        for output, spec in zip(outputs, streams, strict=True):
            for frame in _pictures(spec) if "size" in spec else _silence(spec):
                container.mux(output.encode(frame))
            container.mux(output.encode())
    return path


def _add_stream(container: Any, spec: dict[str, Any]) -> Any:
    if "hz" in spec:
        return container.add_stream(spec.get("codec", "pcm_s16le"), rate=spec["hz"], layout=spec.get("layout", "mono"))
    stream = container.add_stream(spec.get("codec", "mpeg4"), rate=25)
    stream.height, stream.width = spec["size"]
    stream.pix_fmt = spec.get("pixels", "yuv420p")
    stream.disposition = spec.get("disposition", Disposition.default)
    for name, value in spec.get("context", {}).items():
        setattr(stream.codec_context, name, value)
    return stream


def _pictures(spec: dict[str, Any]) -> list[av.VideoFrame]:
    picture = np.full((*spec["size"], 3), spec.get("value", 128), np.uint8)
    frames = [av.VideoFrame.from_ndarray(picture, format="rgb24") for _ in range(spec.get("frames", 10))]
    for index, frame in enumerate(frames):
        frame.pts, frame.time_base = index, Fraction(1, 25)
    return frames


def _silence(spec: dict[str, Any]) -> list[av.AudioFrame]:
    layout = av.AudioLayout(spec.get("layout", "mono"))
    count = round(spec.get("seconds", 0.4) * spec["hz"])
    frame = av.AudioFrame.from_ndarray(np.zeros((1, count * layout.nb_channels), np.int16), "s16", layout.name)
    frame.sample_rate, frame.time_base = spec["hz"], Fraction(1, spec["hz"])
    frame.pts = round(spec.get("start_seconds", 0) * spec["hz"])
    return [frame]


CONTAINERS = [
    *[(suffix, "mpeg4") for suffix in ("avi", "mp4", "mkv", "3gp", "nut")],
    *[(suffix, "libx264") for suffix in ("avi", "mp4", "mov", "mkv", "ts", "m2ts", "flv", "h264")],
    *[("mov", "mjpeg"), ("mjpeg", "mjpeg"), ("mpg", "mpeg1video"), ("vob", "mpeg2video"), ("mxf", "mpeg2video")],
    *[("webm", "libvpx"), ("webm", "libvpx-vp9"), ("ivf", "libvpx"), ("flv", "flv"), ("wmv", "wmv2"), ("rm", "rv10")],
    *[("y4m", "rawvideo"), ("mkv", "ffv1")],
]


@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
def test_every_container_gives_all_frames_at_their_times(
    suffix: str, codec: str, tmp_path: Path, make_video: MakeVideo
) -> None:
    reader, frames, _ = read(make_video(tmp_path / f"clip.{suffix}", codec=codec, **SMALL))
    assert stamps(frames) == pytest.approx([i / 25 for i in range(10)], abs=0.002)
    assert reader.frames == 10
    assert reader.duration_seconds == pytest.approx(0.4, abs=0.05)
    assert (reader.info.video.height, reader.info.video.width) == (64, 96)
    assert reader.warnings == []


SOUNDS = [
    ("wav", "pcm_s16le", 22050, "mono"),
    ("avi", "pcm_s16le", 8000, "mono"),
    ("mkv", "pcm_s16le", 48000, "7.1"),
    ("mkv", "flac", 96000, "stereo"),
    ("mp4", "aac", 48000, "5.1"),
    ("m4a", "aac", 44100, "mono"),
    ("aac", "aac", 44100, "mono"),
    ("mp3", "mp3", 44100, "stereo"),
    ("flac", "flac", 44100, "stereo"),
    ("ogg", "libopus", 48000, "stereo"),
    ("webm", "libopus", 48000, "mono"),
    ("ac3", "ac3", 44100, "stereo"),
    ("aiff", "pcm_s16be", 44100, "mono"),
    ("au", "pcm_s16be", 44100, "mono"),
    ("caf", "pcm_s16le", 44100, "mono"),
    ("w64", "pcm_s16le", 44100, "mono"),
]


@pytest.mark.parametrize(("suffix", "codec", "rate_hz", "layout"), SOUNDS)
def test_sound_of_any_rate_and_layout_becomes_16_khz_mono(
    suffix: str, codec: str, rate_hz: int, layout: str, tmp_path: Path, make_video: MakeVideo
) -> None:
    path = make_video(
        tmp_path / f"tone.{suffix}",
        video=suffix in ("avi", "mkv", "mp4"),
        sound_codec=codec,
        sound_hz=rate_hz,
        sound_layout=layout,
        sound_seconds=2.0,
        **SMALL,
    )
    reader, _, blocks = read(path)
    samples = sound(blocks)
    assert samples.dtype == np.float32
    assert blocks[0].start_seconds == pytest.approx(0, abs=0.03)
    assert len(samples) / 16000 == pytest.approx(2.0, abs=0.05)
    middle = samples[4000:28000]
    assert np.argmax(np.abs(np.fft.rfft(middle))) * 16000 / len(middle) == pytest.approx(440, abs=1)
    assert reader.info.audio.sample_rate_hz == rate_hz
    assert reader.info.audio.channels == av.AudioLayout(layout).nb_channels
    assert reader.warnings == []


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "mpeg4"), ("mp4", "libx264"), ("avi", "mpeg4")])
def test_variable_frame_rate_keeps_its_stamps(suffix: str, codec: str, tmp_path: Path, make_video: MakeVideo) -> None:
    given = [0, 0.04, 0.1, 0.3, 0.31, 0.7, 1.5, 1.54, 1.6, 2.0]
    path = make_video(tmp_path / f"vfr.{suffix}", codec=codec, stamps_seconds=given, **SMALL)
    reader, frames, _ = read(path)
    assert stamps(frames) == pytest.approx(given, abs=0.0011)
    assert reader.warnings == []


def test_pixels_that_are_not_square_are_widened(tmp_path: Path) -> None:
    wide = {"size": (64, 96), "context": {"sample_aspect_ratio": Fraction(4, 3)}}
    _, frames, _ = read(write_streams(tmp_path / "wide.mkv", wide))
    assert frames[0]._square_width == 128  # 96 pixels of 4:3
    assert frames[0].picture(PictureFormat(32, 32, resize_shorter=32)).shape == (32, 32, 3)


@pytest.mark.parametrize(("codec", "pixels"), [("libx264", "yuv420p10le"), ("ffv1", "yuv444p"), ("ffv1", "gray")])
def test_other_pixel_formats_keep_their_grey(codec: str, pixels: str, tmp_path: Path) -> None:
    path = write_streams(tmp_path / "deep.mkv", {"size": (48, 64), "value": 90, "codec": codec, "pixels": pixels})
    _, frames, _ = read(path)
    assert np.abs(frames[3].picture(PictureFormat(48, 64)).astype(int) - 90).max() <= 3
    assert np.abs(frames[3].picture(PictureFormat(48, 64, "gray")).astype(int) - 90).max() <= 3


def test_of_several_streams_those_marked_default_and_the_richest_sound_are_read(tmp_path: Path) -> None:
    small = {"size": (32, 32), "value": 10, "disposition": Disposition.comment}
    large = {"size": (64, 96), "value": 200, "disposition": Disposition.default}
    path = write_streams(tmp_path / "two.mkv", small, large, {"hz": 8000}, {"hz": 16000, "layout": "stereo"})
    reader, frames, blocks = read(path)
    assert (reader.info.video.height, reader.info.audio.sample_rate_hz) == (64, 16000)
    assert frames[0].picture(PictureFormat(8, 8, "gray")).mean() == pytest.approx(200, abs=3)
    assert (len(frames), len(sound(blocks))) == (10, 6400)


@pytest.mark.parametrize("suffix", ["mkv", "mov"])
def test_sound_that_starts_late_keeps_its_time(suffix: str, tmp_path: Path) -> None:
    late = {"hz": 8000, "seconds": 0.5, "start_seconds": 1.0}
    reader, frames, blocks = read(write_streams(tmp_path / f"late.{suffix}", {"size": (48, 64), "frames": 50}, late))
    assert blocks[0].start_seconds == pytest.approx(1.0, abs=0.01)
    assert len(sound(blocks)) == 8000
    assert frames[0].start_seconds == 0
    assert reader.duration_seconds == pytest.approx(2.0)


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w", options={"write_xing": "0"}) as container:
        song = container.add_stream("mp3", rate=44100, layout="mono")
        cover = container.add_stream("mjpeg", rate=25)
        cover.height, cover.width, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        for frame in _silence({"hz": 44100, "seconds": 1.0}):
            for planar in av.AudioResampler("s16p", "mono", 44100, frame_size=song.frame_size).resample(frame):
                container.mux(song.encode(planar))
        container.mux(song.encode())
    reader, frames, blocks = read(path)
    assert (reader.info.video, frames) == (None, [])
    assert len(sound(blocks)) / 16000 == pytest.approx(1.0, abs=0.06)
    with pytest.raises(MediaError, match="holds audio only"):
        MediaReader(path, audio=False)


def test_a_picture_that_changes_size_goes_on(tmp_path: Path, make_video: MakeVideo) -> None:
    large = make_video(tmp_path / "large.ts", codec="libx264", seconds=0.8, height=64, width=96)
    small = make_video(tmp_path / "small.ts", codec="libx264", seconds=0.8, height=48, width=64)
    both = tmp_path / "both.ts"
    both.write_bytes(large.read_bytes() + small.read_bytes())
    reader, frames, _ = read(both)
    assert stamps(frames) == pytest.approx([i / 25 for i in range(40)], abs=0.002)
    assert {frame.picture(PictureFormat(24, 32)).shape for frame in frames} == {(24, 32, 3)}
    assert {frame._frame.height for frame in frames} == {64, 48}
    assert reader.warnings == ["1 broken time stamps replaced"]


def test_time_that_starts_at_hours_starts_at_zero(tmp_path: Path, make_video: MakeVideo) -> None:
    source = make_video(tmp_path / "zero.ts", codec="libx264", **SMALL)
    path = tmp_path / "hours.ts"
    options = {"output_ts_offset": "36000"}
    with av.open(str(source)) as given, av.open(str(path), "w", options=options) as taken:
        stream = taken.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                taken.mux(packet)
    assert stamps(read(path)[1]) == pytest.approx([i / 25 for i in range(10)], abs=0.002)


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "mpeg4"), ("mp4", "libx264"), ("mkv", "libx264")])
def test_a_single_frame_is_a_video(suffix: str, codec: str, tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / f"one.{suffix}", codec=codec, seconds=0.04, height=64, width=96)
    reader, frames, _ = read(path)
    assert (stamps(frames), reader.warnings) == ([0.0], [])
    assert reader.duration_seconds == pytest.approx(0.04)


def test_silent_animation_of_a_gif(tmp_path: Path) -> None:
    shades = [bytes([8 * i] * 3) for i in range(4)]
    path = tmp_path / "four.gif"
    head = b"GIF89a" + (2).to_bytes(2, "little") * 2 + b"\x81\0\0" + b"".join(shades)
    # Each a picture of 2x2 pixels of one colour, shown for 0.1 s.
    block = b"!\xf9\4\0\x0a\0\0\0,\0\0\0\0\2\0\2\0\0\2\4"
    path.write_bytes(head + b"".join(block + _lzw(i) + b"\0" for i in range(4)) + b";")
    reader, frames, _ = read(path)
    assert stamps(frames) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert [int(frame.picture(PictureFormat(2, 2, "gray")).mean()) for frame in frames] == [0, 8, 16, 24]
    assert reader.warnings == []


def _lzw(colour: int) -> bytes:
    """Four pixels of one colour, with a clear code before each so that the codes keep their 3 bits."""
    bits = sum(code << 3 * place for place, code in enumerate([4, colour] * 4 + [5]))
    return bits.to_bytes(4, "little")[: 27 // 8 + 1]


def test_reading_only_the_picture_of_longer_sound_is_no_truncation(tmp_path: Path) -> None:
    long_sound = {"hz": 8000, "seconds": 3.0, "codec": "aac"}
    path = write_streams(tmp_path / "long.mp4", {"size": (32, 32)}, long_sound)
    reader, frames, blocks = read(path, audio=False)
    assert (len(frames), blocks, reader.warnings) == (10, [], [])
    reader, frames, _ = read(path, video=False)
    assert (frames, reader.warnings) == ([], [])
    assert reader.duration_seconds == pytest.approx(3.0, abs=0.2)


def test_info_is_known_before_decoding(tmp_path: Path, make_video: MakeVideo) -> None:
    info = probe(make_video(tmp_path / "clip.avi", sound_hz=22050, sound_layout="stereo", **SMALL))
    assert (info.container, info.video.codec, info.video.fps, info.video.frames) == ("avi", "mpeg4", 25.0, 10)
    assert (info.audio.codec, info.audio.sample_rate_hz, info.audio.channels) == ("pcm_s16le", 22050, 2)
    assert info.duration_seconds == pytest.approx(0.4)
