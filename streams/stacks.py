"""Flow stacks: flow (N, H, W, 2) in pixels and step frames (B,) -> (B, 2L, H, W) float32; needs no torch."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tristream.streams.errors import UsageError


def flow_stack(flows: NDArray[np.floating], centre: int, pairs: int) -> NDArray[np.float32]:
    """The stack (2L, H, W) of one step: `flow_stacks` for a single centre.

    Raises:
        UsageError: as `flow_stacks`.
    """
    stack: NDArray[np.float32] = flow_stacks(flows, [centre], pairs)[0]
    return stack


def flow_stacks(flows: NDArray[np.floating], centres: ArrayLike, pairs: int) -> NDArray[np.float32]:
    """Stacks (B, 2L, H, W) of L = `pairs` flow fields, each centred on a step's frame.

    `flows` (N, H, W, 2) holds x and y displacements in pixels, in float16 or wider; pair i is the flow from
    frame i to frame i + 1. A step at frame c takes the pairs c - L//2 ... c - L//2 + L - 1; before the first
    pair and after the last one, those are repeated. Channels are x0, y0, x1, y1, ... From each field its own
    mean vector is subtracted, which takes out most of a camera's motion (Simonyan & Zisserman 2014, section
    3.1, mean flow subtraction). A stack takes 8 * L * H * W bytes (6 MB for 10 pairs of 240x320), so a long
    clip's are made in batches.

    Raises:
        UsageError: no flow, flow of another shape, a centre that is no frame, or `pairs` under 1.
    """
    frames = np.asarray(centres, dtype=np.intp)  # (B,)
    _check(flows, frames, pairs)
    last = len(flows) - 1
    index = np.clip(frames[:, None] + np.arange(pairs) - pairs // 2, 0, last)  # (B, L)
    # Steps lie closer than a stack is long, so a field is in several stacks: it is made ready once.
    used, place = np.unique(index, return_inverse=True)
    height, width = flows.shape[1:3]
    stacks = _centred_planes(flows, used)[place.reshape(-1)]  # (B·L, 2, H, W)
    return stacks.reshape(len(frames), 2 * pairs, height, width)


def _centred_planes(flows: NDArray[np.floating], used: NDArray[np.intp]) -> NDArray[np.float32]:
    """The fields `used` (U,) of `flows` (N, H, W, 2) as planes (U, 2, H, W) whose means are 0."""
    planes = np.empty((len(used), 2, *flows.shape[1:3]), dtype=np.float32)
    for plane, field in zip(planes, used, strict=True):
        plane[...] = np.moveaxis(flows[field], -1, 0)  # (H, W, 2) -> (2, H, W), cast on the way
    # Means of planes, not of fields: numpy sums long rows in pairs, fast and exact to float32, in float32.
    planes -= planes.mean(axis=(2, 3), keepdims=True)
    return planes


def _check(flows: NDArray[np.floating], frames: NDArray[np.intp], pairs: int) -> None:
    """Refuse what no stack can be made of."""
    if flows.ndim != 4 or flows.shape[-1] != 2:
        raise UsageError(f"flows must be (N, H, W, 2), got {flows.shape = }")
    if len(flows) == 0:
        raise UsageError("no flow to stack: a video of one frame has no temporal stream")
    if pairs < 1:
        raise UsageError(f"a flow stack holds at least one pair, got {pairs = }")
    if frames.ndim != 1 or np.any((frames < 0) | (frames > len(flows))):
        raise UsageError(
            f"centres must be a list of frames from 0 to {len(flows)} for {len(flows)} flow fields, "
            f"got {np.array2string(frames, threshold=8)}"
        )
