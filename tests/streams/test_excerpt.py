"""A moment of a file is what the file would be, cut there."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tristream.streams.errors import MediaError
from tristream.streams.excerpt import Excerpt
from tristream.streams.log_mel import SAMPLE_RATE_HZ
from tristream.streams.media import AudioBlock, Frame, MediaReader
from tristream.streams.picture import PictureFormat

MakeVideo = Callable[..., Path]
SECONDS = 12.0
FORMAT = PictureFormat(24, 32)
CODECS = {"avi": "mpeg4", "mkv": "libx264", "mp4": "libx264", "ts": "libx264"}


@pytest.fixture(scope="module", params=list(CODECS))
def clip(request: pytest.FixtureRequest, make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of key frames 2 s apart, with B frames where the codec has them, and a tone."""
    container = request.param
    return make_video(
        tmp_path_factory.mktemp("clips") / f"clip.{container}",
        seconds=SECONDS,
        codec=CODECS[container],
        sound_hz=16_000,
        sound_codec="pcm_s16le" if container in ("avi", "mkv") else "aac",
        video_options={"g": "50"},
    )


def read(items: MediaReader | Excerpt) -> tuple[list[float], list[NDArray[np.uint8]], list[AudioBlock]]:
    """Frame times, pictures and sound."""
    times, pictures, blocks = [], [], []
    for item in items:
        if isinstance(item, Frame):
            times.append(item.start_seconds)
            pictures.append(item.picture(FORMAT))
        else:
            blocks.append(item)
    return times, pictures, blocks


def samples_of(blocks: list[AudioBlock], begin_seconds: float, end_seconds: float) -> NDArray[np.float32]:
    """The sound of a span, silence where there is none."""
    sound = np.zeros(round((end_seconds - begin_seconds) * SAMPLE_RATE_HZ) + 2, np.float32)
    for block in blocks:
        first = round((block.start_seconds - begin_seconds) * SAMPLE_RATE_HZ)
        for at, sample in enumerate(block.samples, first):
            if 0 <= at < len(sound) - 2:
                sound[at] = sample
    return sound[:-2]


@pytest.mark.parametrize(("begin_seconds", "end_seconds"), [(0.0, 1.0), (3.3, 5.71), (7.0, 8.0), (11.0, 60.0)])
def test_a_span_is_the_frames_and_samples_that_lie_in_it(clip: Path, begin_seconds: float, end_seconds: float) -> None:
    with MediaReader(clip) as reader:
        times, pictures, blocks = read(reader)
    inside = [i for i, time in enumerate(times) if begin_seconds <= time < end_seconds]
    with MediaReader(clip, skip_to_seconds=begin_seconds) as reader:
        excerpt = Excerpt(reader, begin_seconds, end_seconds)
        cut_times, cut_pictures, cut_blocks = read(excerpt)
    np.testing.assert_allclose(cut_times, [times[i] - begin_seconds for i in inside], atol=1e-6)
    for cut, i in zip(cut_pictures, inside, strict=True):
        np.testing.assert_array_equal(cut, pictures[i])
    end_seconds = min(end_seconds, SECONDS)
    expected = samples_of(blocks, begin_seconds, end_seconds)
    got = samples_of(cut_blocks, 0.0, end_seconds - begin_seconds)
    # AAC needs the packet before the one that it is begun with.
    tolerance = 1e-6 if clip.suffix in (".avi", ".mkv") else 0.35
    np.testing.assert_allclose(got, expected, atol=tolerance)
    assert np.mean(np.abs(got - expected)) < 1e-3 + 0.02 * (tolerance > 0.1)
    assert excerpt.duration_seconds == pytest.approx(end_seconds - begin_seconds, abs=0.1)


def test_what_lies_before_is_not_decoded_where_there_are_key_frames(make_video: MakeVideo, tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", seconds=SECONDS, codec="libx264", video_options={"g": "50"})
    with MediaReader(clip, skip_to_seconds=9.0) as reader:
        read(Excerpt(reader, 9.0, 10.0))
        assert reader.frames <= 3 * 50


def test_reading_stops_behind_the_span(make_video: MakeVideo, tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.avi", seconds=20, height=64, width=64)
    with MediaReader(clip) as reader:
        read(Excerpt(reader, 1.0, 2.0))
        assert reader.frames < 10 * 25


def test_a_span_beyond_the_end_is_an_error(clip: Path) -> None:
    with MediaReader(clip, skip_to_seconds=90.0) as reader, pytest.raises(MediaError, match=r"lies in 90-95 s"):
        read(Excerpt(reader, 90.0, 95.0))
