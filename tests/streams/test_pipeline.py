"""A made file becomes the steps of its streams."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tristream.streams.config import FlowConfig, SamplingConfig
from tristream.streams.errors import FlowError
from tristream.streams.flow import make_engine
from tristream.streams.media import MediaReader
from tristream.streams.picture import PictureFormat
from tristream.streams.pipeline import read_steps
from tristream.streams.steps import StepPlan, Steps, Timings

PICTURE = PictureFormat(64, 64)
GRAY = PictureFormat(48, 64, "gray", None, "area")


def steps_of(path: Path, plan: StepPlan, engine: str = "dis") -> tuple[dict[str, list[Steps]], MediaReader]:
    flow = make_engine(FlowConfig(engine, GRAY.height, GRAY.width)) if plan.flow else None  # type: ignore[arg-type]
    made: dict[str, list[Steps]] = {"spatial": [], "temporal": [], "audio": []}
    with MediaReader(path, motion_vectors=engine == "codec") as reader:
        for steps in read_steps(reader, plan, flow, Timings()):
            made[steps.stream].append(steps)
    return made, reader


def seconds_of(steps: list[Steps]) -> np.ndarray:
    return np.concatenate([step.seconds for step in steps])


def plan(strategy: str = "adaptive", max_steps: int = 180, window_seconds: float = 36.0) -> StepPlan:
    sampling = SamplingConfig(strategy=strategy, max_steps=max_steps)  # type: ignore[arg-type]
    return StepPlan(PICTURE, GRAY, 10, True, sampling, window_seconds)


def test_three_streams_share_one_clock(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mkv", seconds=3, fps=20, sound_hz=44_100, sound_layout="stereo")
    made, reader = steps_of(path, plan())
    np.testing.assert_allclose(seconds_of(made["spatial"]), np.arange(60) / 20, atol=2e-3)  # mkv counts ms
    np.testing.assert_allclose(seconds_of(made["temporal"]), np.arange(60) / 20, atol=2e-3)
    np.testing.assert_allclose(seconds_of(made["audio"]), [0.48, 1.44, 2.40], atol=0.03)
    stack = made["temporal"][0].take(slice(0, 2))
    assert stack.shape == (2, 20, 48, 64)
    assert made["spatial"][0].take(slice(0, 3)).shape == (3, 64, 64, 3)
    assert made["audio"][0].take(slice(0, 1)).shape == (1, 96, 64)
    assert reader.warnings == []
    assert reader.duration_seconds == pytest.approx(3.0, abs=0.06)


def test_fast_video_is_thinned_to_forty_frames_a_second(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = make_video(tmp_path / "fast.mp4", seconds=2, fps=60)
    made, reader = steps_of(path, plan())
    assert reader.frames == 120
    assert len(seconds_of(made["spatial"])) == 60


@pytest.mark.parametrize("engine", ["dis", "codec"])
def test_flow_means_the_same_speed_at_any_frame_rate(
    engine: str, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    """A pan of 1 pixel a frame at 60 fps is one of 2 pixels at 30 fps, and both are seen as such."""
    fast = np.roll(_texture(), 0, axis=1)
    pan = [fast[:, i : i + 160] for i in range(90)]
    options = {"bf": "0", "g": "300"}
    one = make_video(tmp_path / "60.mp4", frames=np.stack(pan), fps=60, video_options=options)
    two = make_video(tmp_path / "30.mp4", frames=np.stack(pan[::2]), fps=30, video_options=options)
    speeds = [_mean_motion(path, engine) for path in (one, two)]
    assert speeds[0] == pytest.approx(speeds[1], rel=0.15)
    assert speeds[0] == pytest.approx(2 * GRAY.width / 160, rel=0.25)


def _texture() -> np.ndarray:
    import cv2

    small = np.random.default_rng(1).integers(0, 256, (30, 80, 3), np.uint8)
    return cv2.resize(small, (320, 120), interpolation=cv2.INTER_CUBIC)


def _mean_motion(path: Path, engine: str) -> float:
    """Pixels a pair, from the motion that the sampler is given."""
    from tristream.streams import chunks

    seen: list[np.ndarray] = []
    original = chunks.sample

    def spy(config: SamplingConfig, seconds: np.ndarray, motion: np.ndarray, most: int) -> np.ndarray:
        seen.append(motion)
        return original(config, seconds, motion, most)

    chunks.sample = spy  # type: ignore[assignment]
    try:
        steps_of(path, plan(max_steps=5), engine)
    finally:
        chunks.sample = original
    return float(np.median(np.concatenate(seen)))


def test_adaptive_sampling_follows_motion(make_video: Callable[..., Path], tmp_path: Path) -> None:
    """One half stands still, one half pans: most steps are in the half that moves."""
    texture = _texture()
    still = [texture[:, :160]] * 50
    moving = [texture[:, 2 * i : 2 * i + 160] for i in range(50)]
    path = make_video(tmp_path / "half.mp4", frames=np.stack(still + moving), fps=25)
    made, _ = steps_of(path, plan(max_steps=30))
    seconds = seconds_of(made["spatial"])
    assert len(seconds) == 30
    assert np.mean(seconds >= 2.0) > 0.7
    assert np.any(seconds < 2.0)
    uniform, _ = steps_of(path, plan("uniform", max_steps=30))
    assert np.mean(seconds_of(uniform["spatial"]) >= 2.0) == pytest.approx(0.5, abs=0.04)


def test_sound_alone_and_picture_alone(make_video: Callable[..., Path], tmp_path: Path) -> None:
    sound = make_video(tmp_path / "tone.wav", video=False, seconds=2.5, sound_hz=22_050)
    made, reader = steps_of(sound, plan())
    assert (made["spatial"], made["temporal"]) == ([], [])
    assert len(seconds_of(made["audio"])) == 2
    silent, _ = steps_of(make_video(tmp_path / "silent.avi", seconds=1), plan())
    assert silent["audio"] == []
    assert reader.duration_seconds == pytest.approx(2.5, abs=0.01)


def test_short_sound_is_padded_and_says_so(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = make_video(tmp_path / "blip.mkv", seconds=1, sound_hz=16_000, sound_seconds=0.4)
    made, reader = steps_of(path, plan())
    assert len(seconds_of(made["audio"])) == 1
    assert any("padded" in warning for warning in reader.warnings)


def test_a_consumer_that_stops_early_leaves_no_thread(make_video: Callable[..., Path], tmp_path: Path) -> None:
    import threading

    path = make_video(tmp_path / "clip.avi", seconds=4)
    before = threading.active_count()
    with MediaReader(path) as reader:
        steps = read_steps(reader, plan(), make_engine(FlowConfig("dis", 48, 64)), Timings())
        next(steps)
        steps.close()
        assert threading.active_count() == before


def test_an_error_ends_the_threads_that_read_the_file(make_video: Callable[..., Path], tmp_path: Path) -> None:
    """Even while the error is held, and with it every frame of Python it went through: the file closes next."""
    path = make_video(tmp_path / "lossless.mkv", seconds=8, codec="ffv1")  # which has no motion vectors
    with pytest.raises(FlowError) as held, MediaReader(path, motion_vectors=True) as reader:
        list(read_steps(reader, plan(), make_engine(FlowConfig("codec", GRAY.height, GRAY.width)), Timings()))
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("tristream")] == []
    del held
