"""The convolutions of the LRCN recipe: frames (B, 64, 64, 3) uint8 RGB -> (B, 3, 64, 64) in [0, 1] -> (B, 64)."""

import math

from torch import Tensor, nn

from tristream.streams.errors import UsageError
from tristream.streams.initial import start_weights
from tristream.streams.pixels import check_frames, square_picture

FILTERS = (16, 32, 64, 64)
POOLS = (4, 4, 2, 2)  # pixels a side that each max pool makes one of
DROPOUT = 0.25  # after each pool but the last, as in the Keras model that the paper's table lists


class FrameCNN(nn.Module):
    """A small CNN for each frame, trained together with the LSTM that follows (Vignesh et al. 2024, table 3).

    3x3 convolutions with ReLU that keep the size, a max pool and dropout after each: 60,512 parameters.

    Attributes:
        feature_size: F, 64 for pictures of 64 pixels a side.
        picture: what the decoder has to deliver: the whole frame, squashed to a square.

    Raises:
        UsageError: pictures so small that the pools leave nothing of them.
    """

    def __init__(self, side_pixels: int | None = None) -> None:
        super().__init__()
        self.picture = square_picture(side_pixels)
        shrink = math.prod(POOLS)
        if self.picture.height < shrink:
            raise UsageError(f"backbone 'lrcn2024' needs at least {shrink} pixels a side, got {self.picture.height}")
        self.feature_size = FILTERS[-1] * (self.picture.height // shrink) ** 2
        layers: list[nn.Module] = []
        for channels, filters, pool in zip((3, *FILTERS), FILTERS, POOLS, strict=False):
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(pool), nn.Dropout(DROPOUT)]
        self.layers = nn.Sequential(*layers[:-1])  # no dropout after the last pool
        start_weights(self.layers)

    def forward(self, frames: Tensor) -> Tensor:
        """Features (B, F) float32 of frames (B, H, W, 3) uint8, of the size that `picture` says.

        Raises:
            UsageError: frames of another dtype or shape.
        """
        check_frames(frames, self.picture)
        pictures = frames.permute(0, 3, 1, 2).to(next(self.parameters()).dtype) / 255  # (B, 3, H, W)
        maps: Tensor = self.layers(pictures)  # (B, 64, H/64, W/64)
        return maps.permute(0, 2, 3, 1).flatten(1).float()  # (B, F), in Keras's order
