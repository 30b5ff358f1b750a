"""Temporal step CNNs: flow stacks (B, 2L, H, W) float -> step features (B, F) float32, F = 2048, 2067 or 19."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from tristream.streams.config import FlowConfig, TemporalConfig
from tristream.streams.errors import UsageError
from tristream.streams.flow_histogram import FlowHistogram
from tristream.streams.initial import start_weights
from tristream.streams.mobilenet import MobileNet

FLOW_STEP = 4  # pixels between the vectors that a histogram and a percentile are taken of: flow is smooth
SLOW_PIXELS = 0.1  # a pair: slower motion is told apart by its difference, faster by its ratio
STILL = 0.1  # the root of a length in pixels: what is shorter by far counts as standing still
# The smallest side whose picture has a cell left for the last pooling's 3x3 window; see _cells.
SMALLEST_SIDE_PIXELS = 57


class MotionCNN(nn.Module):
    """The paper's motion CNN (Tkachenko 2018, IV.C): stacks (B, 2L, H, W) -> (B, 2048), full7 after its ReLU.

    What the paper leaves open is as in CNN-M (Chatfield et al. 2014, table 1), after which Simonyan &
    Zisserman 2014 made the network it follows: conv1 unpadded, the others padded by 1, pools unpadded, the
    last window kept where the border cuts it. 224x224 gives CNN-M's own 6x6 cells, 240x320 gives 7x9. The
    paper has no dropout rate for it; 0.5 is its RNNs' (V.D). Weights start as He et al. 2015: PyTorch's own
    start lets a signal fade through layers without norms.

    Attributes:
        feature_size: 2048.

    Raises:
        UsageError: a picture under 57 pixels high or wide, or no flow pair.
    """

    feature_size = 2048

    def __init__(self, pairs: int = 10, height: int = 240, width: int = 320, dropout: float = 0.5) -> None:
        super().__init__()
        _check_pairs(pairs)
        if min(height, width) < SMALLEST_SIDE_PIXELS:
            side = SMALLEST_SIDE_PIXELS
            raise UsageError(f"the motion CNN needs flow of at least {side}x{side} pixels, got {height}x{width}")
        self.convolutions = nn.Sequential(
            nn.Conv2d(2 * pairs, 96, 7, stride=2), nn.ReLU(inplace=True), _pool(), nn.BatchNorm2d(96),
            nn.Conv2d(96, 256, 5, stride=2, padding=1), nn.ReLU(inplace=True), _pool(),
            nn.Conv2d(256, 512, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(512, 512, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(512, 512, 3, padding=1), nn.ReLU(inplace=True), _pool(),
        )  # fmt: skip
        cells = _cells(height) * _cells(width)
        self.full = nn.Sequential(
            nn.Linear(512 * cells, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout),
            nn.Linear(4096, self.feature_size), nn.ReLU(inplace=True), nn.Dropout(dropout),
        )  # fmt: skip
        self.picture = (height, width)
        start_weights(self)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        """Step features (B, 2048) float32 of stacks (B, 2L, H, W), computed in its parameters' dtype."""
        cells = self.convolutions(steps.to(next(self.parameters()).dtype))  # (B, 512, h, w)
        features: torch.Tensor = self.full(cells.flatten(1))
        return features.float()


class SmallMotionCNN(nn.Module):
    """A motion CNN for real time on a CPU: stacks (B, 2L, H, W) of any H, W >= 32 -> (B, 2067).

    It looks at two pictures of the stack's mean flow: how long it is, and how much it differs from pixel to pixel. That
    is the shape of what moves, whether it is near or far, fast or slow, and its outline, which is left where the camera
    moves as well (motion boundaries: Dalal et al. 2006, "Human detection using oriented histograms of flow and
    appearance"). A network for photographs knows shapes already (Wang et al. 2016, "Temporal segment networks", 3.2).
    What the pictures lack, speed and direction, the histogram of the flow adds, on a logarithmic scale, since a walker
    and a rider far away differ by less than two racing cars do. 1.1 million parameters and 126 million multiply-adds
    for 120x160.

    Attributes:
        feature_size: 1024 of each picture, then 19 of the histogram.

    Raises:
        UsageError: no flow pair.
    """

    shape_size = 1024
    feature_size = 2 * shape_size + FlowHistogram.feature_size

    def __init__(self, pairs: int = 10) -> None:
        super().__init__()
        _check_pairs(pairs)
        self.shapes = MobileNet(1, width=0.5, features=self.shape_size)
        self.speeds = FlowHistogram()

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        """Step features (B, 2067) float32 of stacks (B, 2L, H, W), computed in its parameters' dtype."""
        coarse = steps[:, :, ::FLOW_STEP, ::FLOW_STEP].contiguous()  # (B, 2L, H/4, W/4)
        pictures = motion_pictures(steps).to(next(self.shapes.parameters()).dtype)
        shapes = self.shapes(pictures.flatten(0, 1)[:, None]).float()  # (B·2, 1024)
        speeds = torch.log1p(self.speeds(coarse) / SLOW_PIXELS)
        return torch.cat([shapes.view(len(steps), -1), speeds], dim=1)


def motion_pictures(stacks: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 2, H, W) float32 from -1 to 1 of what moves in flow stacks (B, 2L, H, W), and of its outlines.

    The square root makes slow parts visible beside fast ones. The 95th percentile is 1, but where less than a twentieth
    of the picture moves, as of thin outlines, what is fast against STILL is.
    """
    count, channels, height, width = stacks.shape
    flow = stacks.float().reshape(count, channels // 2, 2, height, width).mean(dim=1)  # (B, 2, H, W)
    across, down = (functional.pad(flow.diff(dim=dim), pad) for dim, pad in ((3, (0, 1)), (2, (0, 0, 0, 1))))
    outlines = torch.cat([across, down], dim=1).square_().sum(dim=1).sqrt_()
    lengths = torch.stack([torch.hypot(flow[:, 0], flow[:, 1]), outlines], dim=1).sqrt_()  # (B, 2, H, W)
    sampled = lengths[:, :, ::FLOW_STEP, ::FLOW_STEP].flatten(2)
    longest = sampled.kthvalue(1 + int(0.95 * (sampled.shape[2] - 1)), dim=2).values[:, :, None, None]
    return (lengths / (longest + STILL)).clamp_(max=1).mul_(2).sub_(1)


AnyMotionCNN = MotionCNN | SmallMotionCNN | FlowHistogram

BUILDERS: dict[str, Callable[[TemporalConfig, FlowConfig], AnyMotionCNN]] = {
    "motion": lambda config, flow: MotionCNN(config.pairs, flow.height, flow.width),
    "small": lambda config, flow: SmallMotionCNN(config.pairs),
    "histogram": lambda config, flow: FlowHistogram(),
}


def build_motion_cnn(config: TemporalConfig, flow: FlowConfig) -> AnyMotionCNN:
    """The motion CNN that `config` names, for stacks of flow as `flow` has it; its weights are untrained.

    Raises:
        UsageError: an unknown name, no flow pair, or a picture too small for it.
    """
    if config.cnn not in BUILDERS:
        raise UsageError(f"motion CNN must be one of {', '.join(BUILDERS)}, got {config.cnn!r}")
    return BUILDERS[config.cnn](config, flow)


def _pool() -> nn.MaxPool2d:
    """Max pooling over 3x3 windows with stride 2 (IV.C)."""
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _cells(side_pixels: int) -> int:
    """How many cells the last pooling makes of one side of the picture: 240 -> 7, 320 -> 9."""
    conv1 = (side_pixels - 7) // 2 + 1
    conv2 = (_pooled(conv1) + 2 - 5) // 2 + 1
    return _pooled(_pooled(conv2))  # conv3 to conv5 keep sizes


def _pooled(side: int) -> int:
    """The side after a pool: (side - 3) / 2 rounded up, plus 1."""
    return -(-(side - 3) // 2) + 1


def _check_pairs(pairs: int) -> None:
    """Refuse a stack of nothing."""
    if pairs < 1:
        raise UsageError(f"a flow stack holds at least one pair, got {pairs = }")
