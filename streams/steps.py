"""What a step is, and what a model needs of a file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tristream.streams.config import FlowCentre, SamplingConfig, StreamName
from tristream.streams.log_mel import LOG_OFFSET
from tristream.streams.picture import PictureFormat


@dataclass(frozen=True)
class Steps:
    """Some steps of one stream, in the order of time.

    `seconds` (T,) decides which clip a step belongs to: a frame's own time, a sound example's middle.
    `take` gives the inputs of the stream's CNN for a slice of the steps.
    """

    stream: StreamName
    seconds: NDArray[np.float64]
    start_seconds: NDArray[np.float64]
    end_seconds: NDArray[np.float64]
    take: Callable[[slice], NDArray[Any]]

    def __len__(self) -> int:
        return len(self.seconds)


@dataclass(frozen=True)
class StepPlan:
    """What the streams of a model need to be made of a file."""

    spatial: PictureFormat | None
    flow: PictureFormat | None  # None: no flow at all
    stack_pairs: int | None  # L, or None where there is no temporal stream
    audio: bool
    sampling: SamplingConfig
    window_seconds: float
    log_offset: float = LOG_OFFSET  # of the log-mel examples: the one that the audio CNN wants
    flow_centre: FlowCentre = "mean"  # what is subtracted from each flow field
    stack_stride: int = 1  # one flow stack for so many of the frames that are steps

    @property
    def needs_video(self) -> bool:
        """Whether any stream looks at the picture."""
        return self.spatial is not None or self.stack_pairs is not None


@dataclass
class Timings:
    """Seconds of work by kind; the kinds overlap in wall time."""

    decode_seconds: float = 0.0
    flow_seconds: float = 0.0
    model_seconds: float = 0.0
