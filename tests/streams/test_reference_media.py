"""Every real file in, its known frames, time stamps and sound out, without a warning."""

import csv
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tristream.streams.media import AudioBlock, Frame, MediaReader
from tristream.streams.picture import PictureFormat

pytestmark = pytest.mark.reference

# file: frames, frames a second, container's codec, seconds and channels of sound
KNOWN = {
    "odd-containers/baseball.mp4": (167, 30000 / 1001, "h264", 5.591, 2),  # an edit list hides 16 frames
    "odd-containers/basketball.mp4": (214, 30000 / 1001, "h264", 7.145, 2),  # and 51 here
    "odd-containers/bigbuckbunny.mp4": (132, 25, "h264", 5.312, 6),
    "odd-containers/bikes.mp4": (250, 25, "h264", 0, 0),
    "odd-containers/demo.mp4": (280, 28, "h264", 0, 0),
    "odd-containers/nasa_13013.mp4": (390, 30000 / 1001, "h264", 13.056, 2),
    "odd-containers/sbwe5n.mpg": (75, 25, "mpeg1video", 2.978, 2),
    "odd-containers/test.avi": (164, 25, "mpeg4", 6.557, 2),
    "odd-containers/v_GGSY1Qvo990.mp4": (355, 19.62, "h264", 18.158, 1),
    "odd-containers/v_ZNVhz7ctTq0.mp4": (420, 30, "h264", 14.048, 1),
    "cameras/bottle-detection.mp4": (1189, 29.8333, "h264", 0, 0),
    "cameras/car-detection.mp4": (377, 12.5, "h264", 30.165, 2),
    "cameras/one-by-one-person-detection.mp4": (1394, 10, "h264", 0, 0),
}


def decode(path: Path) -> tuple[MediaReader, NDArray[np.float64], float]:
    """The reader, the frames' times (T,) and the seconds of sound; times must rise, and nothing be warned of."""
    with MediaReader(path) as reader:
        items = list(_light(reader))
    times = np.array([time for time, _ in items if time is not None])
    assert reader.warnings == [], path
    assert (np.diff(times) > 0).all(), path
    return reader, times, sum(samples for _, samples in items) / 16000


def _light(reader: MediaReader) -> Iterator[tuple[float | None, int]]:
    """Each frame's time, or a block's samples, so that no picture is kept."""
    for item in reader:
        yield (item.start_seconds, 0) if isinstance(item, Frame) else (None, len(item.samples))


def opencv_frames(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.grab():
        count += 1
    capture.release()
    return count


@pytest.mark.parametrize("name", KNOWN)
def test_odd_and_camera_files(name: str, shared: Path) -> None:
    frames, fps, codec, sound_seconds, channels = KNOWN[name]
    path = shared / "data" / name
    reader, times, seconds = decode(path)
    assert len(times) == reader.frames == frames
    assert times[0] == pytest.approx(0, abs=0.02)
    assert np.diff(times) == pytest.approx(np.full(frames - 1, 1 / fps), abs=0.0015)
    assert reader.info.video.codec == codec
    assert seconds == pytest.approx(sound_seconds, abs=0.001)
    assert (reader.info.audio.channels if reader.info.audio else 0) == channels
    assert reader.duration_seconds == pytest.approx(max(frames / fps, seconds), abs=0.05)


def test_frame_counts_equal_opencv_but_for_edit_lists_and_another_stream(shared: Path) -> None:
    # OpenCV does not know edit lists in every version, and takes the first of nasa_13013's two video streams.
    others = {
        "odd-containers/baseball.mp4": 167 + 16,
        "odd-containers/basketball.mp4": 214 + 51,
        "odd-containers/nasa_13013.mp4": 325,
    }
    for name, (frames, *_) in KNOWN.items():
        assert opencv_frames(shared / "data" / name) in (frames, others.get(name)), name


def test_pictures_equal_opencv(shared: Path) -> None:
    path = shared / "data/odd-containers/v_GGSY1Qvo990.mp4"
    capture = cv2.VideoCapture(str(path))
    with MediaReader(path, audio=False) as reader:
        for index, frame in zip(range(40), reader, strict=False):
            _, bgr = capture.read()
            if index % 10 == 0:
                difference = frame.picture(PictureFormat(*bgr.shape[:2])).astype(int) - bgr[:, :, ::-1]
                assert np.abs(difference).mean() < 1
    capture.release()


@pytest.mark.slow
def test_ucf101_clips_equal_their_labels(shared: Path) -> None:
    folder = shared / "data/ucf101-6c"
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 191
    for row in rows:
        reader, times, seconds = decode(folder / row["path"])
        fps = float(row["fps"])
        assert len(times) == int(row["frames"]), row["path"]
        assert times == pytest.approx(np.arange(len(times)) / fps, abs=1e-3 * len(times) / 25), row["path"]
        audio = reader.info.audio
        assert (audio.codec if audio else "") == row["audio"].replace("none", ""), row["path"]
        assert seconds == pytest.approx(len(times) / fps if audio else 0, abs=0.25), row["path"]


@pytest.mark.slow
def test_surveillance_clips_equal_opencv(shared: Path) -> None:
    paths = [path for path in sorted((shared / "data/surveillance-fights").rglob("*.*")) if path.suffix != ".md"]
    assert len(paths) == 80
    for path in paths:
        reader, times, _ = decode(path)
        assert times[0] == pytest.approx(0, abs=0.1)
        assert len(times) == opencv_frames(path), path
        assert np.diff(times).mean() == pytest.approx(1 / reader.info.video.fps, rel=0.05), path


def test_sounds_of_esc10_are_whole(shared: Path) -> None:
    paths = sorted((shared / "data/esc10").rglob("*.ogg"))
    assert len(paths) >= 72
    for path in paths:
        with MediaReader(path) as reader:
            blocks = [item for item in reader if isinstance(item, AudioBlock)]
        assert (reader.info.video, reader.frames, reader.warnings) == (None, 0, []), path
        seconds = sum(len(block.samples) for block in blocks) / 16000
        assert seconds == pytest.approx(reader.info.duration_seconds, abs=0.01), path
        assert 4.5 < seconds < 7.5, path  # one lasts 7 s


@pytest.mark.parametrize("name", ["ucf101-6c/test/Archery/v_Archery_g07_c06.avi", "odd-containers/test.avi"])
def test_an_avi_with_b_frames_counts_its_frames_evenly(name: str, shared: Path) -> None:
    with MediaReader(shared / "data" / name, audio=False, motion_vectors=True, threads=1) as reader:
        frames = [(item.start_seconds, item.motion_vectors().picture_type) for item in reader]
    assert "B" in {kind for _, kind in frames}  # FFmpeg's made-up presentation times go back and forth at these
    assert [seconds for seconds, _ in frames] == pytest.approx([i / reader.info.video.fps for i in range(len(frames))])
