"""Decoded frames as they are: frames (B, H, W, 3) uint8 RGB -> (B, H·W·3) float32 in [0, 1]."""

import torch
from torch import Tensor, nn

from tristream.streams.errors import UsageError
from tristream.streams.picture import PictureFormat

SIDE_PIXELS = 64  # of the networks that see raw pixels (Vignesh et al. 2024, tables 2 and 3)


class PixelCNN(nn.Module):
    """No CNN at all: the picture is its own step features, for a recurrence that convolves by itself.

    Attributes:
        feature_size: F = H·W·3, in the order (H, W, 3).
        picture: what the decoder has to deliver: the whole frame, squashed to a square.
    """

    def __init__(self, side_pixels: int | None = None) -> None:
        super().__init__()
        self.picture = square_picture(side_pixels)
        self.feature_size = self.picture.height * self.picture.width * 3

    def forward(self, frames: Tensor) -> Tensor:
        """Features (B, H·W·3) float32 in [0, 1] of frames (B, H, W, 3) uint8, of the size that `picture` says.

        Raises:
            UsageError: frames of another dtype or shape.
        """
        check_frames(frames, self.picture)
        return frames.flatten(1).float() / 255


def square_picture(side_pixels: int | None) -> PictureFormat:
    """The whole frame squashed to a square, 64 pixels a side unless given, as the paper's networks see it."""
    side = SIDE_PIXELS if side_pixels is None else side_pixels
    return PictureFormat(side, side, resize_shorter=None, interpolation="bilinear")


def check_frames(frames: Tensor, picture: PictureFormat) -> None:
    """Refuse what are not frames (B, H, W, 3) uint8 of this size.

    Raises:
        UsageError: frames of another dtype or shape.
    """
    size = (picture.height, picture.width, 3)
    if frames.dtype != torch.uint8 or frames.shape[1:] != size:
        raise UsageError(f"frames must be (B, {size}) uint8, got {tuple(frames.shape)} {frames.dtype}")
