"""A motion CNN that needs no training: flow stacks (B, 2L, H, W) -> how fast what moves where to (B, 19)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

DIRECTIONS = 8
# A box is a third of the picture's side and slides by half of itself: on a tile of 96 pixels 32, at which a bare
# map of speeds tells walkers from riders best on pictures 360 pixels wide.
CELLS, BOX_CELLS = 6, 2


class FlowHistogram(nn.Module):
    """How fast things move in each direction, over the whole picture and in the box where they do most.

    Flow is split over 8 directions by the part of each vector along them, where that is positive, and its length is
    the ninth value: a histogram of oriented flow (Chaudhry et al. 2009) whose bins overlap, so that nothing jumps
    from bin to bin, and that is not normalised, since speed is what it is for. Means over the picture alone would
    lose one that runs among many that stand; so to the 9 means come the 9 largest means of any box. The last value
    is how still it is, 1 where nothing moves: a vector of zeros would mean that there is no such stream.

    It has no weights. Of the paper's two jobs of a motion CNN it does one, to tell unusual motion; to tell actions
    apart it is the weakest.

    Attributes:
        feature_size: 19.
    """

    feature_size = 2 * (DIRECTIONS + 1) + 1
    directions: Tensor

    def __init__(self) -> None:
        super().__init__()
        angles = torch.arange(DIRECTIONS) * (2 * math.pi / DIRECTIONS)
        self.register_buffer("directions", torch.stack([angles.cos(), angles.sin()], dim=1), persistent=False)  # (8, 2)

    def forward(self, steps: Tensor) -> Tensor:
        """Step features (B, 19) float32, in pixels a pair, of stacks (B, 2L, H, W): the mean over the L pairs."""
        count, channels, height, width = steps.shape
        flow = steps.float().reshape(-1, 2, height, width)  # (B·L, 2, H, W)
        along = (self.directions.float() @ flow.flatten(2)).relu_()  # an einsum takes eight times as long
        lengths = torch.hypot(flow[:, :1], flow[:, 1:])  # norm() takes ten times as long
        moved = torch.cat([along.view(-1, DIRECTIONS, height, width), lengths], dim=1)  # (B·L, 9, H, W)
        cells = functional.adaptive_avg_pool2d(moved, CELLS)  # (B·L, 9, 6, 6)
        boxes = functional.avg_pool2d(cells, BOX_CELLS, stride=1)  # (B·L, 9, 5, 5)
        still = (1 / (1 + lengths)).mean(dim=(2, 3))  # (B·L, 1)
        features = torch.cat([cells.mean(dim=(2, 3)), boxes.amax(dim=(2, 3)), still], dim=1)  # (B·L, 19)
        return features.view(count, channels // 2, -1).mean(dim=1)
