"""Fixtures that every test can use: made media, and the shared folder of real data where it is there."""

import os
import signal
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

SHARED = Path(__file__).resolve().parents[2] / "shared"
MakeVideo = Callable[..., Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `reference` tests where ../shared is absent, unless TRISTREAM_REQUIRE_REFERENCE says it must be there."""
    if SHARED.is_dir() or os.environ.get("TRISTREAM_REQUIRE_REFERENCE"):
        return
    skip = pytest.mark.skip(reason=f"reads {SHARED}, which is not here")
    for item in items:
        if "reference" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips, sounds, flow and weights."""
    return SHARED


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread for torch, BLAS and OpenMP: the cores are shared with other tests, and what is computed is tiny."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.fixture
def signals_kept() -> Iterator[None]:
    """The command sets handlers for signals; here they are put back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def make_video() -> MakeVideo:
    """`write_video`, for tests that need a file of their own."""
    return write_video


def panning_frames(frames: int, height: int, width: int, pixels: float = 2.0, seed: int = 0) -> NDArray[np.uint8]:
    """Frames (T, H, W, 3) of a smooth texture that a camera pans over by so many pixels a frame."""
    generator = np.random.default_rng(seed)
    span = width + int(abs(pixels) * frames) + 2
    texture = cv2.resize(generator.integers(0, 256, (height // 8, span // 8, 3), np.uint8), (span, height))
    return np.stack([texture[:, int(i * pixels) : int(i * pixels) + width] for i in range(frames)])


def write_video(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: Fraction | int = 25,
    height: int = 120,
    width: int = 160,
    codec: str = "mpeg4",
    frames: NDArray[np.uint8] | None = None,
    stamps_seconds: list[float] | None = None,
    sound_hz: int | None = None,
    sound_layout: str = "mono",
    sound_codec: str = "pcm_s16le",
    sound_seconds: float | None = None,
    video_options: dict[str, str] | None = None,
    rotation: int | None = None,
    video: bool = True,
    seed: int = 0,
) -> Path:
    """Write a clip of panning texture, with a 440 Hz tone where `sound_hz` gives a sample rate."""
    with av.open(str(path), "w") as container:
        if video:
            count = round(seconds * Fraction(fps))
            pictures = panning_frames(count, height, width, seed=seed) if frames is None else frames
            stream = container.add_stream(codec, rate=fps, options=video_options or {})
            stream.height, stream.width = pictures.shape[1:3]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if stamps_seconds is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            if rotation is not None:
                stream.set_display_rotation(rotation)
        if sound_hz is not None:
            sound = container.add_stream(sound_codec, rate=sound_hz, layout=sound_layout)
        if video:
            for index, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                if stamps_seconds is not None:
                    frame.pts, frame.time_base = round(stamps_seconds[index] * 1000), Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        if sound_hz is not None:
            _write_tone(container, sound, seconds if sound_seconds is None else sound_seconds)
    return path


def _write_tone(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    rate, channels = stream.rate, stream.layout.nb_channels
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    samples = (np.repeat(tone, channels) * 32767).astype(np.int16).reshape(1, -1)
    step = 1024 * channels
    for first in range(0, samples.shape[1], step):
        frame = av.AudioFrame.from_ndarray(samples[:, first : first + step], format="s16", layout=stream.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, first // channels, Fraction(1, rate)
        for resampled in av.AudioResampler(stream.format.name, stream.layout.name, rate).resample(frame):
            container.mux(stream.encode(resampled))
    container.mux(stream.encode())
