"""Frames become steps in chunks: which, when, and with which flow."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tristream.streams.chunks import ChunkBuilder, Sighting, every_frame_is_a_step
from tristream.streams.config import SamplingConfig
from tristream.streams.flow import Flow, FlowFrame
from tristream.streams.media import VideoInfo
from tristream.streams.picture import PictureFormat
from tristream.streams.stacks import centred_planes, flow_stacks
from tristream.streams.steps import StepPlan, Steps, Timings

SIDE = 16
PICTURE = PictureFormat(SIDE, SIDE)
GRAY = PictureFormat(SIDE, SIDE, "gray")


class CountingEngine:
    """Flow that can be recognised: the pair's number to the right, its square root down, on a slope."""

    pixel_format = "gray"
    needs_motion_vectors = False

    def __init__(self) -> None:
        self.pairs = 0

    def __call__(self, previous: FlowFrame, current: FlowFrame) -> Flow:
        slope = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None]
        number = np.full((SIDE, SIDE), self.pairs, np.float32)
        self.pairs += 1
        return np.stack([number * slope, np.sqrt(number) * slope], axis=-1)


FEW_FRAMES = 24  # of an eager chunk here, so that videos have several


def plan(
    window_seconds: float = 36.0, strategy: str = "uniform", max_steps: int = 180, pairs: int | None = 10
) -> StepPlan:
    sampling = SamplingConfig(strategy=strategy, max_steps=max_steps)  # type: ignore[arg-type]
    return StepPlan(PICTURE, GRAY if pairs else None, pairs, False, sampling, window_seconds)


def sighting(index: int, seconds: float, keep: bool = True, step: bool = True) -> Sighting:
    rgb = np.full((SIDE, SIDE, 3), index % 251, np.uint8)
    return Sighting(seconds, 0.04, keep, keep and step, rgb, FlowFrame(np.zeros((SIDE, SIDE), np.uint8)))


def build(times: list[float], wanted: StepPlan, eager: bool) -> tuple[list[Steps], CountingEngine]:
    engine = CountingEngine()
    builder = ChunkBuilder(wanted, engine if wanted.flow else None, eager, Timings(), FEW_FRAMES)
    made: list[Steps] = []
    for index, seconds in enumerate(times):
        made += builder.add(sighting(index, seconds))
    return [*made, *builder.finish()], engine


def of(made: list[Steps], stream: str) -> tuple[np.ndarray, np.ndarray]:
    """The times and inputs of one stream."""
    steps = [step for step in made if step.stream == stream]
    inputs = [step.take(slice(0, len(step))) for step in steps]
    return np.concatenate([step.seconds for step in steps]), np.concatenate(inputs)


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("count", [1, 2, 9, FEW_FRAMES, FEW_FRAMES + 1, FEW_FRAMES + 5, 100, 180])
def test_where_frames_are_few_every_one_is_a_step(count: int, eager: bool) -> None:
    times = [i / 25 for i in range(count)]
    made, engine = build(times, plan(), eager)
    seconds, frames = of(made, "spatial")
    np.testing.assert_allclose(seconds, times)
    np.testing.assert_array_equal(frames[:, 0, 0, 0], np.arange(count))
    assert engine.pairs == count - 1  # each pair's flow once
    assert any(step.stream == "temporal" for step in made) == (count > 1)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 150), st.booleans(), st.floats(0.5, 40), st.integers(1, 10))
@example(111, False, 1.0, 1)  # the last frame alone in its chunk
def test_stacks_reach_over_the_ends_of_chunks(count: int, eager: bool, window_seconds: float, pairs: int) -> None:
    """However a video is cut into chunks, a step's stack is what the whole video's flow gives."""
    times = [i / 10 for i in range(count)]
    made, _ = build(times, plan(window_seconds, max_steps=1000, pairs=pairs), eager)
    seconds, stacks = of(made, "temporal")
    engine = CountingEngine()
    blank = FlowFrame(np.zeros((SIDE, SIDE), np.uint8))
    planes = [centred_planes(engine(blank, blank)) for _ in range(count - 1)]
    np.testing.assert_allclose(seconds, times)
    np.testing.assert_array_equal(stacks, flow_stacks(planes, np.arange(count), pairs))


def test_a_long_video_is_sampled_clip_by_clip() -> None:
    times = [i / 25 for i in range(25 * 100)]
    made, _ = build(times, plan(), eager=False)
    seconds, _ = of(made, "spatial")
    assert np.histogram(seconds, [0, 36, 72, 100])[0].tolist() == [180, 180, 180]
    assert [len(step) for step in made if step.stream == "spatial"] == [180, 180, 180]


def test_a_window_longer_than_a_chunk_shares_its_steps_among_its_chunks() -> None:
    times = [i / 10 for i in range(720)]
    seconds, _ = of(build(times, plan(window_seconds=72.0), eager=False)[0], "spatial")
    assert np.histogram(seconds, [0, 36, 72])[0].tolist() == [90, 90]


def test_memory_holds_one_chunk() -> None:
    builder = ChunkBuilder(plan(), CountingEngine(), False, Timings())
    most = 0
    for index in range(25 * 200):
        list(builder.add(sighting(index, index / 25)))
        most = max(most, len(builder._frames))
    assert most <= 36 * 25 + 12


def test_flow_over_frames_passed_over_adds_up() -> None:
    builder = ChunkBuilder(plan(), CountingEngine(), True, Timings())
    made = []
    for index in range(20):
        made += builder.add(sighting(index, index / 50, keep=index % 2 == 0))
    _, stacks = of([*made, *builder.finish()], "temporal")
    assert len(stacks) == 10
    # The pairs 2k and 2k + 1 were added: x = 4k + 1 on a slope whose mean is taken off.
    centred = np.linspace(0, 1, SIDE) - 0.5
    np.testing.assert_allclose(stacks[5, 10, :, 0], (4 * 5 + 1) * centred, atol=0.02)


@pytest.mark.parametrize("eager", [True, False])
def test_frames_that_may_not_be_steps_are_in_the_flow_alone(eager: bool) -> None:
    engine, made = CountingEngine(), []
    builder = ChunkBuilder(plan(strategy="every-nth"), engine, eager, Timings())
    for index in range(33):
        made += builder.add(sighting(index, index / 25, step=index % 5 == 0))
    made += builder.finish()
    for stream in ("spatial", "temporal"):
        seconds, _ = of(made, stream)
        np.testing.assert_allclose(seconds, np.arange(0, 33, 5) / 25)
    assert engine.pairs == 32


@pytest.mark.parametrize("eager", [True, False])
def test_a_window_whose_frames_may_not_be_steps_has_none(eager: bool) -> None:
    wanted, made = plan(window_seconds=0.04, strategy="every-nth"), []
    builder = ChunkBuilder(wanted, CountingEngine(), eager, Timings())
    for index in range(7):
        made += builder.add(sighting(index, index / 25, step=index == 5))
    made += builder.finish()
    assert of(made, "spatial")[0].tolist() == [0.2]


def test_a_gap_in_time_gives_one_frame_ten_seconds_at_most() -> None:
    made, _ = build([0.0, 0.04, 500.0, 500.04], plan(), eager=False)
    ends = np.concatenate([step.end_seconds for step in made if step.stream == "spatial"])
    np.testing.assert_allclose(ends, [0.04, 10.04, 500.04, 500.08])
    for step in (step for step in made if step.stream == "temporal"):
        assert (step.end_seconds - step.start_seconds <= 20).all()


@pytest.mark.parametrize(
    ("video", "wanted", "every"),
    [
        (VideoInfo("h264", 320, 240, 25.0, 175), plan(), True),
        (VideoInfo("h264", 320, 240, 25.0, 181), plan(), False),
        (VideoInfo("h264", 320, 240, 25.0, None), plan(), False),
        (VideoInfo("h264", 320, 240, 25.0, 9999), plan(window_seconds=7.2), True),
        (VideoInfo("h264", 320, 240, 120.0, 9999), plan(window_seconds=4.5), True),  # 40 a second are looked at
        (VideoInfo("h264", 320, 240, 25.0, 900), plan(strategy="every-nth"), True),  # one frame in 5 may be a step
        (VideoInfo("h264", 320, 240, 30.0, 9999), plan(strategy="every-nth"), False),
        (VideoInfo("h264", 320, 240, 30.0, 9999), plan(strategy="per-second"), True),  # 5 a second may
        (VideoInfo("h264", 320, 240, 30.0, 9999), plan(strategy="per-second", max_steps=179), False),
        (None, plan(), False),
    ],
)
def test_when_every_frame_is_a_step(video: VideoInfo | None, wanted: StepPlan, every: bool) -> None:
    assert every_frame_is_a_step(wanted, video) is every
