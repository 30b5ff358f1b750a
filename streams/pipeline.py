"""A file in, the steps of its streams out, in the order of time and in bounded memory.

file -> frames, flow, sound -> Steps: spatial (T, H, W, 3) uint8, temporal (T, 2L, H, W) float16,
audio (T, 96, 64) float32, each step with its time on the file's clock

Decoding and scaling run in one thread, flow and sampling in a second, the CNNs where the steps are used.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from time import perf_counter

import numpy as np

from tristream.streams.chunks import ChunkBuilder, Sighting, every_frame_is_a_step
from tristream.streams.excerpt import Excerpt
from tristream.streams.flow import FlowEngine, FlowFrame
from tristream.streams.frame_folder import FrameFolder
from tristream.streams.log_mel import EXAMPLE_SECONDS
from tristream.streams.media import AudioBlock, Frame, MediaReader
from tristream.streams.prefetch import prefetch
from tristream.streams.sampling import may_be_step
from tristream.streams.sound import SoundSteps
from tristream.streams.steps import StepPlan, Steps, Timings

FRAMES_AHEAD = 16  # decoded frames that may wait for their flow
CHUNKS_AHEAD = 1  # pieces of steps that may wait for the CNNs: a chunk of 36 s is about 100 MB


def read_steps(
    reader: MediaReader | FrameFolder | Excerpt, plan: StepPlan, engine: FlowEngine | None, timings: Timings
) -> Generator[Steps, None, None]:
    """The steps of an opened file, made in threads ahead of the consumer.

    Raises:
        MediaError: the file cannot be decoded.
        FlowError: the engine cannot work on this video.
    """
    eager = every_frame_is_a_step(plan, reader.info.video)
    plan, engine = without_idle_flow(plan, engine, eager)
    builder = ChunkBuilder(plan, engine, eager, timings)
    sound = SoundSteps(plan.log_offset)
    decoded = prefetch(sightings(reader, plan, engine, timings), FRAMES_AHEAD)
    yield from prefetch(_steps(decoded, builder, sound, reader.warnings), CHUNKS_AHEAD)


def without_idle_flow(plan: StepPlan, engine: FlowEngine | None, eager: bool) -> tuple[StepPlan, FlowEngine | None]:
    """Plan and engine without flow, where that is neither a stream nor decides which frames are steps."""
    if plan.stack_pairs is None and (eager or plan.sampling.strategy != "adaptive"):
        return replace(plan, flow=None), None
    return plan, engine


def _steps(
    decoded: Generator[Sighting | AudioBlock, None, None],
    builder: ChunkBuilder,
    sound: SoundSteps,
    warnings: list[str],
) -> Iterator[Steps]:
    with closing(decoded):  # after an error, too: its thread must not decode from a file that is closed then
        for item in decoded:
            yield from sound.add(item) if isinstance(item, AudioBlock) else builder.add(item)
    yield from builder.finish()
    yield from sound.finish()
    if sound.padded:
        warnings.append(f"{sound.padded} sound shorter than one example of {EXAMPLE_SECONDS} s: padded with silence")


def sightings(
    items: Iterable[Frame | AudioBlock], plan: StepPlan, engine: FlowEngine | None, timings: Timings
) -> Iterator[Sighting | AudioBlock]:
    """Frames with the pictures that are needed of them, and sound."""
    wants_vectors = engine is not None and engine.needs_motion_vectors
    gap_seconds = 1 / plan.sampling.max_fps - 1e-6
    kept_seconds, kept, step_seconds = float("-inf"), 0, float("-inf")
    for item in _timed(iter(items), timings):
        if isinstance(item, AudioBlock):
            yield item
            continue
        keep = item.start_seconds - kept_seconds >= gap_seconds
        step = keep and may_be_step(plan.sampling, kept, item.start_seconds - step_seconds)
        step_seconds = item.start_seconds if step else step_seconds
        if keep:
            kept_seconds, kept = item.start_seconds, kept + 1
        if keep or wants_vectors:  # motion vectors must be followed from frame to frame
            began = perf_counter()
            sighting = _sight(item, plan, keep, step, wants_vectors)
            timings.decode_seconds += perf_counter() - began
            yield sighting


def _timed(items: Iterator[Frame | AudioBlock], timings: Timings) -> Iterator[Frame | AudioBlock]:
    while True:
        began = perf_counter()
        item = next(items, None)
        timings.decode_seconds += perf_counter() - began
        if item is None:
            return
        yield item


def _sight(frame: Frame, plan: StepPlan, keep: bool, step: bool, wants_vectors: bool) -> Sighting:
    rgb = frame.picture(plan.spatial) if plan.spatial is not None and step else None
    flow_frame = None
    if plan.flow is not None:
        picture = np.zeros((plan.flow.height, plan.flow.width), np.uint8) if wants_vectors else frame.picture(plan.flow)
        flow_frame = FlowFrame(picture, frame.motion_vectors() if wants_vectors else None)
    return Sighting(frame.start_seconds, frame.duration_seconds, keep, step, rgb, flow_frame)
