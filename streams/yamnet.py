"""YAMNet: log-mel examples (B, 96, 64) -> (B, 1, 96, 64) -> MobileNetV1 -> (B, 1024, 3, 2) -> (B, 1024) float32.

Source: the released code (tensorflow/models, research/audioset/yamnet), after Howard et al. 2017, "MobileNets".
"""

from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from tristream.streams.initial import start_weights
from tristream.streams.mobilenet import LAYERS


class YAMNet(nn.Sequential):
    """The network of AudioSet's YAMNet without its classifier; its features are the release's embeddings.

    Its layers follow one another, which is what makes it a Sequential: see `place`.

    BatchNorm is folded into the convolutions, which therefore have biases; parameters are named
    `layer1.conv.weight`, `layer2.depthwise.weight`, `layer2.pointwise.weight`, and so on. It was trained on log-mel
    with an offset of 0.001 (`log_mel.LOG_OFFSETS`). The release starts an example every 0.48 s; here they are the
    stream's steps, every 0.96 s, as for VGGish.

    3.2 million parameters and 137 million operations an example.
    """

    feature_size: int = 1024

    def __init__(self) -> None:
        super().__init__()
        inputs = 1
        for number, (outputs, stride) in enumerate(LAYERS, start=1):
            layer = nn.Sequential()
            if inputs == 1:
                _add(layer, "conv", Conv2dSame(inputs, outputs, 3, stride))
            else:
                _add(layer, "depthwise", Conv2dSame(inputs, inputs, 3, stride, groups=inputs))
                _add(layer, "pointwise", nn.Conv2d(inputs, outputs, 1))
            self.add_module(f"layer{number}", layer)
            inputs = outputs
        start_weights(self)

    def forward(self, examples: Tensor) -> Tensor:
        """Step features (B, 1024) float32 of log-mel examples (B, 96, 64)."""
        maps = examples.to(next(self.parameters()).dtype).unsqueeze(1)  # (B, 1, 96, 64)
        for layer in self:
            maps = layer(maps)  # at last (B, 1024, 3, 2)
        return maps.float().mean(dim=(2, 3))  # (B, 1024)


def _add(layer: nn.Sequential, name: str, convolution: nn.Conv2d) -> None:
    """Append a convolution, padded as TensorFlow pads it, and its ReLU."""
    layer.add_module(name, convolution)
    layer.add_module(f"{name}_relu", nn.ReLU(inplace=True))
