"""What the small model's motion CNN is taught with: pictures of pieces of real motion, with ImageNet's features.

mean flows (N, 2, 120, 160) -> pictures (n, 120, 160) uint8, MobileNetV1's features of the same, larger (n, 1024)
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tristream.streams.temporal import motion_pictures
from tristream.training.distilling import Floats, in_batches
from tristream.training.pocket_steps import piece_of

TEACHER_SCALE = 1.4  # of the sides: 168x224, about the size it knows
MIXED_SHARE = 0.25  # of the pieces, that have a piece of another in them
Flows = NDArray[np.float16]


def pool_part(
    flows: Flows, teacher: Callable[[Tensor], Tensor], count: int, seed: int
) -> tuple[NDArray[np.uint8], Floats]:
    """Pictures for the thin network, both of each piece, and what the teacher says of them in its own size.

    `count` is even.
    """
    generator = np.random.default_rng(seed)
    pieces = np.stack([_piece(flows, generator) for _ in range(count // 2)])
    pictures = as_bytes(motion_pictures(torch.from_numpy(pieces)).flatten(0, 1))
    return pictures.numpy(), in_batches(teacher, (_large(batch) for batch in torch.split(pictures, 32)))


def as_bytes(pictures: Tensor) -> Tensor:
    """Pictures from -1 to 1 in uint8."""
    return ((pictures + 1) * 127.5).round_().to(torch.uint8)


def as_network_sees(pictures: Tensor) -> Tensor:
    """Pictures (B, H, W) uint8 as the motion CNN wants them: (B, 1, H, W) from -1 to 1."""
    return pictures[:, None].float() / 127.5 - 1


def _large(pictures: Tensor) -> Tensor:
    """Grey frames (B, H', W', 3) uint8 of pictures (B, H, W)."""
    scaled = functional.interpolate(pictures[:, None].float(), scale_factor=TEACHER_SCALE, mode="bilinear")
    return scaled.round_().to(torch.uint8).movedim(1, 3).expand(-1, -1, -1, 3)


def _piece(flows: Flows, generator: np.random.Generator) -> Flows:
    piece = _one(flows, generator)
    if generator.random() < MIXED_SHARE:  # CutMix, as the frames are mixed
        other, sides = _one(flows, generator), np.array(piece.shape[1:])
        size = (sides * generator.uniform(0.25, 1, 2)).astype(int)
        top, left = generator.integers(0, sides - size + 1)
        piece[:, top : top + size[0], left : left + size[1]] = other[:, top : top + size[0], left : left + size[1]]
    return piece


def _one(flows: Flows, generator: np.random.Generator) -> Flows:
    """A piece of a flow (2, H, W), mirrored or not; no picture tells which way it goes."""
    piece = piece_of(flows[generator.integers(len(flows))], generator)
    return piece[:, :, ::-1].copy() if generator.random() < 0.5 else piece
