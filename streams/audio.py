"""Log-mel examples in, their step features out: VGGish, the small audio CNN, and which of all there are.

examples (B, 96, 64) float log-mel -> (B, 1, 96, 64) -> convolutions -> (B, F) float32

All have `feature_size`, take steps of any float type, compute in the type of their own weights (so that
`cnn.to(torch.bfloat16)` is all it takes) and return float32.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from tristream.streams.config import AudioCNNName, AudioConfig
from tristream.streams.errors import ModelError
from tristream.streams.mobilenet import MobileNet
from tristream.streams.weights import load_weights
from tristream.streams.yamnet import YAMNet

# Where each layer of the PyTorch port stands in TensorFlow's checkpoint.
_TF_SCOPES = {
    "features.0": "vggish/conv1",
    "features.3": "vggish/conv2",
    "features.6": "vggish/conv3/conv3_1",
    "features.8": "vggish/conv3/conv3_2",
    "features.11": "vggish/conv4/conv4_1",
    "features.13": "vggish/conv4/conv4_2",
    "embeddings.0": "vggish/fc1/fc1_1",
    "embeddings.2": "vggish/fc1/fc1_2",
    "embeddings.4": "vggish/fc2",
}
_TF_KINDS = {"weight": "weights", "bias": "biases"}


class VGGish(nn.Module):
    """VGGish (Hershey et al. 2017, 3.2; released as tensorflow/models, research/audioset/vggish).

    Parameters have the names of the published PyTorch port (torchvggish). The features are those before
    the last layer's activation, as the release has defined them since August 2020 (pull request 9080: a
    ReLU there was a bug, AudioSet's own features never had it). The port still has that ReLU: it zeroes
    what this gives below zero. The release's PCA and 8-bit quantisation are no part of it either.
    """

    feature_size: int = 128

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(1, 64),
            nn.MaxPool2d(2),  # (B, 64, 48, 32)
            *_convolution(64, 128),
            nn.MaxPool2d(2),  # (B, 128, 24, 16)
            *_convolution(128, 256),
            *_convolution(256, 256),
            nn.MaxPool2d(2),  # (B, 256, 12, 8)
            *_convolution(256, 512),
            *_convolution(512, 512),
            nn.MaxPool2d(2),  # (B, 512, 6, 4)
        )
        self.embeddings = nn.Sequential(
            nn.Linear(6 * 4 * 512, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, self.feature_size),
        )

    def forward(self, examples: Tensor) -> Tensor:
        """Step features (B, 128) float32 of log-mel examples (B, 96, 64)."""
        pictures = examples.to(next(self.parameters()).dtype).unsqueeze(1)  # (B, 1, 96, 64)
        maps = self.features(pictures).permute(0, 2, 3, 1)  # (B, 6, 4, 512): TensorFlow flattens this order
        features: Tensor = self.embeddings(maps.flatten(1))  # (B, 12288) -> (B, 128)
        return features.float()


class SmallAudioCNN(nn.Module):
    """A MobileNet of half the width on VGGish's log-mel, with ReLU as YAMNet, which it learned from.

    1.1 million parameters and 39 million operations an example; YAMNet has 3.2 and 137 million, VGGish 72 and 1,728.
    """

    feature_size: int = 1024

    def __init__(self) -> None:
        super().__init__()
        self.layers = MobileNet(1, width=0.5, features=self.feature_size, activation=nn.ReLU)

    def forward(self, examples: Tensor) -> Tensor:
        """Step features (B, 1024) float32 of log-mel examples (B, 96, 64)."""
        pictures = examples.to(next(self.parameters()).dtype).unsqueeze(1)  # (B, 1, 96, 64)
        features: Tensor = self.layers(pictures)
        return features.float()


AudioCNN = VGGish | YAMNet | SmallAudioCNN
_AUDIO_CNNS: dict[AudioCNNName, type[AudioCNN]] = {"vggish": VGGish, "yamnet": YAMNet, "small": SmallAudioCNN}

# A tensor that only the weights of one audio CNN have.
_MARKS: dict[str, AudioCNNName] = {
    "embeddings.0.weight": "vggish",
    "vggish/conv1/weights": "vggish",
    "layer1.conv.weight": "yamnet",
    "layers.layer1.conv.weight": "small",
}


def build_audio_cnn(config: AudioConfig) -> AudioCNN:
    """The audio CNN that the config names, with its initial weights: seed before, or load after."""
    return _AUDIO_CNNS[config.cnn]()


def load_audio_cnn(module: AudioCNN, weights: Mapping[str, Tensor], where: str) -> None:
    """Load the weights of an audio CNN: VGGish's as `load_vggish`, the others' under their own names.

    Raises:
        ModelError: the weights of another audio CNN, or a tensor that is missing or of another shape.
    """
    wanted = next(name for name, kind in _AUDIO_CNNS.items() if isinstance(module, kind))
    held = {_MARKS[mark] for name in weights if (mark := name.removesuffix(":0")) in _MARKS}
    if held and wanted not in held:
        other = held.pop()
        raise ModelError(
            f"{where} holds the weights of {other}, but the audio CNN is {wanted}: "
            f"choose --audio-cnn {other}, or give the weights of {wanted}"
        )
    load = load_vggish if wanted == "vggish" else load_weights
    load(module, weights, where)


def load_vggish(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load published VGGish weights, under the names of TensorFlow's checkpoint or of the PyTorch port.

    TensorFlow's names are as in `vggish/conv3/conv3_1/weights`, with or without `:0`; its kernels are
    (height, width, in, out) and its matrices (in, out). Tensors of other names are passed over.

    Raises:
        ModelError: names of neither, or a tensor that is missing or of another shape; it says which.
    """
    if "features.0.weight" in weights:
        load_weights(module, weights, where)
        return
    by_tf_name = {name.removesuffix(":0"): tensor for name, tensor in weights.items()}
    if not any(name.startswith("vggish/") for name in by_tf_name):
        raise ModelError(
            f"{where} holds no VGGish weights: needs names like 'features.0.weight' (PyTorch port) or "
            f"'vggish/conv1/weights' (TensorFlow), got {_some(weights)}"
        )
    load_weights(module, _from_tensorflow(by_tf_name, where), f"{where}, turned from TensorFlow's layout")


def _from_tensorflow(weights: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """TensorFlow's tensors under the PyTorch port's names and in its layout."""
    names = {
        f"{layer}.{kind}": f"{scope}/{tf_kind}"
        for layer, scope in _TF_SCOPES.items()
        for kind, tf_kind in _TF_KINDS.items()
    }
    if missing := [tf_name for tf_name in names.values() if tf_name not in weights]:
        raise ModelError(
            f"{where} lacks {len(missing)} of VGGish's {len(names)} tensors, first {missing[0]!r}; "
            f"it holds {_some(weights)}"
        )
    return {name: _turned(weights[tf_name]) for name, tf_name in names.items()}


def _turned(tensor: Tensor) -> Tensor:
    """A tensor of TensorFlow's in PyTorch's layout; which it is follows from its number of axes."""
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1)  # (H, W, in, out) -> (out, in, H, W)
    return tensor.mT if tensor.ndim == 2 else tensor  # (in, out) -> (out, in); a bias stays


def _some(weights: Mapping[str, Tensor]) -> str:
    """The first names, for a message."""
    names = sorted(weights)
    return f"{len(names)} tensors: {', '.join(map(repr, names[:3]))}, ..." if names else "nothing"


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    """A 3x3 convolution that keeps the size, and its ReLU."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
