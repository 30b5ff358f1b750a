"""The CNN of the small model's streams: pictures (B, C, H, W) -> depthwise-separable layers -> features (B, F).

Source: Howard et al. 2017, "MobileNets", table 1, thinner, for pictures of three channels or of one.
"""

from collections import OrderedDict
from math import sqrt
from typing import ClassVar

from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from tristream.streams.initial import start_weights

# Outputs and stride of each layer at full width; the first is a whole convolution, the others are separable.
LAYERS = (
    (32, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


ROOT_OFFSET = 1e-4


class MobileNet(nn.Sequential):
    """MobileNetV1 without its classifier, for frames, pictures of motion and log-mel examples alike.

    Its layers follow one another, which is what makes it a Sequential; it computes in the dtype of its input. It pads
    as TensorFlow does, as the networks do whose weights it begins with: padded alike on both sides, ImageNet's features
    have a cosine of 0.83 to their own. Its features are the roots of the last maps' means.

    Args:
        inputs: channels C.
        width: the share of the paper's channels that each layer has, the last one aside.
        features: F, the channels of the last layer.
        activation: ReLU6, as ImageNet's weights have it, or ReLU, as YAMNet's.

    Attributes:
        num_features: F.
        pretrained_cfg: the pictures it takes, as timm says it: whole frames, 160 pixels a side, from -1 to 1.
    """

    pretrained_cfg: ClassVar[dict[str, object]] = {
        "input_size": (3, 160, 160),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "interpolation": "area",
        "crop_mode": "squash",
        "crop_pct": 1.0,
    }

    def __init__(self, inputs: int, width: float, features: int, activation: type[nn.Module] = nn.ReLU6) -> None:
        super().__init__()
        self.num_features = features
        sizes = [round(outputs * width) for outputs, _ in LAYERS[:-1]] + [features]
        for number, (outputs, (_, stride)) in enumerate(zip(sizes, LAYERS, strict=True), start=1):
            layer = nn.Sequential()
            if number == 1:
                _add(layer, "conv", Conv2dSame(inputs, outputs, 3, stride, bias=False), activation)
            else:
                _add(layer, "depthwise", Conv2dSame(inputs, inputs, 3, stride, groups=inputs, bias=False), activation)
                _add(layer, "pointwise", nn.Conv2d(inputs, outputs, 1, bias=False), activation)
            self.add_module(f"layer{number}", layer)
            inputs = outputs
        self.add_module("pool", nn.AdaptiveAvgPool2d(1))
        self.add_module("flatten", nn.Flatten())
        self.add_module("root", SquareRoot())
        start_weights(self)

    @property
    def means(self) -> nn.Sequential:
        """All but the roots: the means of the last maps, as its teachers give them; of the same modules."""
        return nn.Sequential(OrderedDict(list(self.named_children())[:-1]))

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """How parameters are grouped into blocks, as timm asks its models, so that the last ones can be fine-tuned."""
        return {"stem": r"^layer1\.", "blocks": r"^layer(\d+)\."}


class SquareRoot(nn.Module):
    """The root of features from 0 on, (B, F): what is seldom there, or faint, counts beside what is always there.

    The cosine of roots is the Hellinger kernel of what they are the roots of (Arandjelović & Zisserman 2012, "Three
    things everyone should know to improve object retrieval", 3). Of zero it is zero, and its slope is bounded.
    """

    def forward(self, features: Tensor) -> Tensor:
        """The roots (B, F)."""
        roots: Tensor = (features + ROOT_OFFSET).sqrt() - sqrt(ROOT_OFFSET)
        return roots


def _add(layer: nn.Sequential, name: str, convolution: nn.Conv2d, activation: type[nn.Module]) -> None:
    """Append a convolution with its BatchNorm and activation."""
    layer.add_module(name, convolution)
    layer.add_module(f"{name}_norm", nn.BatchNorm2d(convolution.out_channels))
    layer.add_module(f"{name}_relu", activation(inplace=True))
