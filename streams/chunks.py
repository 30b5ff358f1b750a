"""Frames in, spatial and temporal steps out: which frames of a chunk become steps, and their flow stacks.

Frames wait in a chunk until it is known which of them become steps. A chunk is as long as a clip; where
every frame is a step anyway (short clips, short windows) it is closed every few, so that the CNNs need
not wait for its end. Each pair's flow is computed once, and stacks reach over the ends of their chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from tristream.streams.flow import FlowEngine, FlowFrame, mean_length
from tristream.streams.media import VideoInfo
from tristream.streams.sampling import sample
from tristream.streams.stacks import Planes, centred_planes, flow_stacks
from tristream.streams.steps import StepPlan, Steps, Timings

CHUNK_SECONDS = 36.0  # the paper's longest clip (V.C); longer windows are sampled in pieces of this length
EAGER_FRAMES = 96  # of a chunk where all frames are steps: 14 steps where four a second are, a batch of a CNN
MAX_FRAME_SECONDS = 10.0  # a frame stands for no more time than this, whatever gap follows it


@dataclass
class Sighting:
    """A decoded frame on its way: its time and the pictures made of it.

    `keep`: whether it is a frame of the video's, or nearer to the last one than the sampling looks; `step`: whether it
    may become a step.
    """

    seconds: float
    duration_seconds: float
    keep: bool
    step: bool
    rgb: NDArray[np.uint8] | None
    flow_frame: FlowFrame | None


def every_frame_is_a_step(plan: StepPlan, video: VideoInfo | None) -> bool:
    """Whether no clip has more frames that may be steps than it may have steps, as far as the container tells."""
    if video is None:
        return False
    able = 1.0 / plan.sampling.frame_jump if plan.sampling.strategy == "every-nth" else 1.0  # of the frames
    most_fps = plan.sampling.per_second if plan.sampling.strategy == "per-second" else plan.sampling.max_fps
    clip_frames = plan.window_seconds * min(video.fps, most_fps) * able
    return clip_frames <= plan.sampling.max_steps or (
        video.frames is not None and video.frames * able <= plan.sampling.max_steps
    )


class ChunkBuilder:
    """Takes the frames of one video in order and gives the steps of each chunk when it is complete."""

    def __init__(
        self,
        plan: StepPlan,
        engine: FlowEngine | None,
        eager: bool,
        timings: Timings,
        eager_frames: int = EAGER_FRAMES,
    ) -> None:
        self._plan = plan
        self._engine = engine
        self._eager_frames = eager_frames if eager else None
        self._timings = timings
        pairs = plan.stack_pairs or 0
        # Frames before and after a step in its stack; before it at least one, as the last frame's flow is that to it.
        self._behind, self._ahead = max(pairs // 2, min(pairs, 1)), pairs - pairs // 2
        self._chunk_seconds = min(plan.window_seconds, CHUNK_SECONDS)
        self._budget = max(1, floor(plan.sampling.max_steps * self._chunk_seconds / plan.window_seconds))
        self._frames: list[Sighting] = []  # the last few of the chunk before, then this one's
        self._planes: list[Planes] = []  # [i]: flow from frame i to i + 1, (2, H, W)
        self._motion: list[float] = []  # [i]: mean length of the flow from frame i - 1 to i
        self._begin = 0  # where this chunk begins in the lists
        self._first = True  # whether it is the video's first
        self._passed_steps = 0  # frames of the chunks before that were steps
        self._end: int | None = None  # where it ends, once known
        self._previous: FlowFrame | None = None
        self._passed: NDArray[np.float32] | None = None  # flow over frames that were passed over

    def add(self, sighting: Sighting) -> Iterator[Steps]:
        """The steps of the chunk that this frame completes, if it does."""
        motion = self._follow(sighting)
        if not sighting.keep:
            return
        self._frames.append(sighting)
        self._motion.append(motion)
        if self._end is None and self._begins_chunk(len(self._frames) - 1):
            self._end = len(self._frames) - 1
        if self._end is not None and len(self._frames) - self._end >= max(self._ahead, 1):
            yield from self._close(self._end)

    def finish(self) -> Iterator[Steps]:
        """The steps of the last chunks."""
        while self._begin < len(self._frames):
            yield from self._close(self._end or len(self._frames))

    def _follow(self, sighting: Sighting) -> float:
        """Compute the flow that leads to this frame; its mean length in pixels."""
        if self._engine is None or sighting.flow_frame is None:
            return 0.0
        previous, self._previous, current = self._previous, sighting.flow_frame, sighting.flow_frame
        sighting.flow_frame = None  # the chunk keeps sightings; of pictures to follow only the last is needed
        if previous is None:
            return 0.0
        began = perf_counter()
        field = self._engine(previous, current)  # (H, W, 2)
        self._passed = field if self._passed is None else self._passed + field
        motion = 0.0
        if sighting.keep:
            motion = mean_length(self._passed)
            if self._plan.stack_pairs is not None:
                self._planes.append(centred_planes(self._passed, self._plan.flow_centre))
            self._passed = None
        self._timings.flow_seconds += perf_counter() - began
        return motion

    def _begins_chunk(self, index: int) -> bool:
        """Whether the chunk that is open ends before frame `index`."""
        if index == self._begin:
            return False
        if self._eager_frames is not None:
            return index - self._begin >= self._eager_frames
        open_chunk, chunk = (floor(self._frames[i].seconds / self._chunk_seconds + 1e-9) for i in (self._begin, index))
        return chunk > open_chunk

    def _close(self, end: int) -> Iterator[Steps]:
        """The steps of the chunk [begin, end), whose frames are then let go."""
        chosen = self._choose(end)
        yield from self._spatial(chosen)
        yield from self._temporal(chosen)
        self._passed_steps += len(chosen)
        drop = max(0, end - self._behind)
        self._frames, self._planes, self._motion = self._frames[drop:], self._planes[drop:], self._motion[drop:]
        self._begin, self._end, self._first = end - drop, None, False
        for frame in self._frames[: self._begin]:
            frame.rgb = None
        # The frames looked ahead to may begin yet another chunk, after a long gap in time.
        later = range(self._begin + 1, len(self._frames))
        self._end = next((i for i in later if self._begins_chunk(i)), None)

    def _choose(self, end: int) -> NDArray[np.intp]:
        """Indices of the frames in [begin, end) that become steps, (T,)."""
        able = np.array([i for i in range(self._begin, end) if self._frames[i].step], np.intp)
        if self._eager_frames is not None or not len(able):
            return able
        seconds = np.array([self._frames[i].seconds for i in able])
        motion = np.array([self._motion[i] for i in able])
        if self._first and len(motion) > 1:
            motion[0] = motion[1]  # nothing leads to the first frame of a video
        known = motion if self._engine is not None else None
        chosen: NDArray[np.intp] = able[sample(self._plan.sampling, seconds, known, self._budget)]
        return chosen

    def _spatial(self, chosen: NDArray[np.intp]) -> Iterator[Steps]:
        pictures = [rgb for i in chosen if (rgb := self._frames[i].rgb) is not None]
        if pictures:
            start_seconds = np.array([self._frames[i].seconds for i in chosen])
            end_seconds = np.array([self._until(i) for i in chosen])
            yield Steps("spatial", start_seconds, start_seconds, end_seconds, lambda part: np.stack(pictures[part]))

    def _temporal(self, chosen: NDArray[np.intp]) -> Iterator[Steps]:
        pairs = self._plan.stack_pairs
        chosen = chosen[-self._passed_steps % self._plan.stack_stride :: self._plan.stack_stride]
        if pairs is None or not self._planes or len(chosen) == 0:
            return
        planes, last = list(self._planes), len(self._frames) - 1
        seconds = np.array([self._frames[i].seconds for i in chosen])
        start_seconds = np.array([self._frames[max(i - self._behind, 0)].seconds for i in chosen])
        end_seconds = np.array([self._frames[min(i + self._ahead, last)].seconds for i in chosen])
        # A stack over a gap in time stands for no more of it than a frame does.
        start_seconds = np.maximum(start_seconds, seconds - MAX_FRAME_SECONDS)
        end_seconds = np.minimum(end_seconds, seconds + MAX_FRAME_SECONDS)

        def take(part: slice) -> Planes:
            return flow_stacks(planes, chosen[part], pairs)

        yield Steps("temporal", seconds, start_seconds, end_seconds, take)

    def _until(self, index: int) -> float:
        """When the frame gives way to the next one."""
        frame = self._frames[index]
        last = index + 1 == len(self._frames)
        until_seconds = frame.seconds + frame.duration_seconds if last else self._frames[index + 1].seconds
        return min(until_seconds, frame.seconds + MAX_FRAME_SECONDS)
