"""Flow stacks: flow (H, W, 2) in pixels -> planes (2, H, W) -> stacks (B, 2L, H, W) float16; needs no torch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tristream.streams.config import FlowCentre, MotionCNNName
from tristream.streams.errors import UsageError

Planes = NDArray[np.float16]
# What is taken from each flow field before it is stacked.
FLOW_CENTRES: dict[MotionCNNName, FlowCentre] = {"motion": "mean", "small": "none", "histogram": "median"}
MEDIAN_STEP = 4  # pixels between those that a median is taken of


def centred_planes(flow: NDArray[np.floating], centre: FlowCentre = "mean") -> Planes:
    """One flow field (H, W, 2) in pixels as planes (2, H, W) from which its own mean vector is subtracted.

    That takes out most of a camera's motion (Simonyan & Zisserman 2014, section 3.1, mean flow subtraction). The
    `median` does so too, and does not follow what moves before a background that is most of the picture: taking the
    mean from a crowd makes what stands move, and what rides among it slower. With `none` it stays as it is.
    In float16, as a clip's fields are kept until it is known which frames are steps: half the memory, and off
    by 0.01 pixels at 20.

    Raises:
        UsageError: flow of another shape.
    """
    if flow.ndim != 3 or flow.shape[-1] != 2:
        raise UsageError(f"a flow field must be (H, W, 2), got {flow.shape = }")
    # Rows side by side: numpy then sums them in pairs, fast and exact to float32.
    planes = np.array(np.moveaxis(flow, -1, 0), dtype=np.float32, order="C")  # (2, H, W)
    if centre == "mean":
        planes -= planes.mean(axis=(1, 2), keepdims=True)
    elif centre == "median":
        planes -= np.median(planes[:, ::MEDIAN_STEP, ::MEDIAN_STEP], axis=(1, 2), keepdims=True)
    return planes.astype(np.float16)


def flow_stacks(planes: Sequence[Planes], centres: ArrayLike, pairs: int) -> Planes:
    """Stacks (B, 2L, H, W) of L = `pairs` flow fields, each centred on a step's frame.

    `planes` holds (2, H, W) for each pair of frames; pair i is the flow from frame i to frame i + 1. A step at
    frame c takes the pairs c - L//2 ... c - L//2 + L - 1; before the first pair and after the last one, those
    are repeated. Channels are x0, y0, x1, y1, ... A stack takes 4 * L * H * W bytes (3 MB for 10 pairs of
    240x320), so a long clip's are made in batches.

    Raises:
        UsageError: no flow, a centre that is no frame, or `pairs` under 1.
    """
    frames = np.asarray(centres, dtype=np.intp)  # (B,)
    _check(len(planes), frames, pairs)
    index = np.clip(frames[:, None] + np.arange(pairs) - pairs // 2, 0, len(planes) - 1)  # (B, L)
    _, height, width = planes[0].shape
    stacks = np.empty((len(frames), pairs, 2, height, width), np.float16)
    for stack, chosen in zip(stacks, index, strict=True):
        for place, pair in zip(stack, chosen, strict=True):
            place[...] = planes[pair]
    return stacks.reshape(len(frames), 2 * pairs, height, width)


def _check(count: int, frames: NDArray[np.intp], pairs: int) -> None:
    """Refuse what no stack can be made of."""
    if count == 0:
        raise UsageError("no flow to stack: a video of one frame has no temporal stream")
    if pairs < 1:
        raise UsageError(f"a flow stack holds at least one pair, got {pairs = }")
    if frames.ndim != 1 or np.any((frames < 0) | (frames > count)):
        raise UsageError(
            f"centres must be a list of frames from 0 to {count} for {count} flow fields, "
            f"got {np.array2string(frames, threshold=8)}"
        )
