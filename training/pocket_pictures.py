"""What the small model's spatial CNN is taught with: crops of real frames and made pictures, with ImageNet's features.

frames (N, 240, 320, 3) uint8 -> crops (n, 160, 160, 3) uint8, MobileNetV1's features of the same at 224 (n, 1024)
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tristream.training.distilling import Floats, in_batches
from tristream.training.made_pictures import made_picture

SIDE_PIXELS, TEACHER_PIXELS = 160, 224
MADE_SHARE = 0.25  # of the pictures
MIXED_SHARE = 0.25  # of the real ones, that have a piece of another in them
SMALLEST_CROP_SHARE = 0.15  # of a frame's area
Frames = NDArray[np.uint8]


def pool_part(
    frames: Frames, teacher: Callable[[Tensor], Tensor], count: int, seed: int
) -> tuple[NDArray[np.uint8], Floats]:
    """Pictures for the thin network, and what the teacher says of them in its own size."""
    generator = np.random.default_rng(seed)
    large = [_picture(frames, generator) for _ in range(count)]
    small = np.stack([_scaled(each, SIDE_PIXELS) for each in large])
    batches = (torch.from_numpy(np.stack(large[first : first + 32])) for first in range(0, count, 32))
    return small, in_batches(teacher, batches)


class Teacher(nn.Module):
    """MobileNetV1 on frames (B, H, W, 3) uint8, ready to be placed on a device."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, frames: Tensor) -> Tensor:
        """Features (B, 1024) float32."""
        pictures = as_network_sees(frames).to(next(self.backbone.parameters()).dtype)
        features: Tensor = self.backbone(pictures.contiguous(memory_format=torch.channels_last))
        return features.float()


def as_network_sees(frames: Tensor) -> Tensor:
    """Frames (B, H, W, 3) uint8 as ImageNet's MobileNetV1 wants them: (B, 3, H, W) from -1 to 1."""
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


def _picture(frames: Frames, generator: np.random.Generator) -> NDArray[np.uint8]:
    if generator.random() < MADE_SHARE:
        picture = made_picture(generator, SIDE_PIXELS)
        return np.asarray(cv2.resize(picture, (TEACHER_PIXELS, TEACHER_PIXELS)), np.uint8)
    picture = _crop(frames[generator.integers(len(frames))], generator)
    if generator.random() < MIXED_SHARE:  # CutMix (Yun et al. 2019), where the teacher tells what the mixture is
        other = _crop(frames[generator.integers(len(frames))], generator)
        height, width = generator.integers(TEACHER_PIXELS // 4, TEACHER_PIXELS, 2)
        top, left = generator.integers(0, TEACHER_PIXELS - np.array([height, width]) + 1)
        picture[top : top + height, left : left + width] = other[top : top + height, left : left + width]
    return picture


def _crop(frame: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """A piece of a frame at some zoom, mirrored or not, in changed light."""
    height, width = frame.shape[:2]
    share, shape = generator.uniform(SMALLEST_CROP_SHARE, 1), np.exp(generator.uniform(-0.3, 0.3))
    crop_height = min(height, round(height * np.sqrt(share * shape)))
    crop_width = min(width, round(width * np.sqrt(share / shape)))
    top, left = generator.integers(0, height - crop_height + 1), generator.integers(0, width - crop_width + 1)
    crop = frame[top : top + crop_height, left : left + crop_width]
    if generator.random() < 0.5:
        crop = crop[:, ::-1]
    crop = _scaled(np.ascontiguousarray(crop), TEACHER_PIXELS)
    if generator.random() < 0.7:
        crop = np.clip(_relit(crop.astype(np.float32), generator), 0, 255).astype(np.uint8)
    return crop


def _scaled(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _relit(picture: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
    """Other brightness, contrast, saturation and white."""
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * generator.choice([0.0, 1.0], p=[0.1, 0.9]) * generator.uniform(0.5, 1.5)
    picture = (picture - picture.mean()) * generator.uniform(0.6, 1.4) + picture.mean() * generator.uniform(0.6, 1.4)
    relit: NDArray[np.float32] = picture * generator.uniform(0.85, 1.15, 3).astype(np.float32)
    return relit
