"""The spatial stream's CNN: frames (B, H, W, 3) uint8 RGB -> (B, 3, H, W) -> timm backbone -> (B, F)."""

import difflib
import logging
import math
from collections.abc import Mapping
from typing import Any, cast

import timm
import torch
from huggingface_hub.utils import logging as hub_logging
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn
from torch.func import functional_call

from tristream.streams.config import OWN_BACKBONES, SpatialConfig
from tristream.streams.errors import ModelError, UsageError
from tristream.streams.lrcn import FrameCNN
from tristream.streams.mobilenet import MobileNet
from tristream.streams.picture import PictureFormat
from tristream.streams.pixels import PixelCNN, check_frames
from tristream.streams.weights import load_weights


class SpatialCNN(nn.Module):
    """A timm backbone without its classifier, that takes decoded frames (Tkachenko 2018, IV.B).

    Args:
        backbone: what gives pooled features (B, F) or, with `flatten`, maps (B, C, H, W).
        size_pixels: the side of the square picture; None is the backbone's own size.
        flatten: make one vector of the maps, in the order (H, W, C) in which Keras flattens.

    Attributes:
        feature_size: F.
        picture: what the decoder has to deliver.

    Raises:
        UsageError: a backbone that takes no pictures of this size, or has no maps to flatten.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: nn.Module, *, size_pixels: int | None = None, flatten: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.flatten = flatten
        data_config = resolve_model_data_config(backbone)  # type: ignore[no-untyped-call]
        if size_pixels is not None:
            data_config["input_size"] = (3, size_pixels, size_pixels)
        self.picture = picture_format(data_config)
        self.feature_size = int(getattr(backbone, "head_hidden_size", None) or cast(int, backbone.num_features))
        if flatten or size_pixels is not None:
            self.feature_size = math.prod(_output_shape(backbone, self.picture, dimensions=3 if flatten else 1))
        # timm's are for values from 0 to 1; frames come from 0 to 255
        self.register_buffer("mean", _per_channel(data_config["mean"]), persistent=False)
        self.register_buffer("deviation", _per_channel(data_config["std"]), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Features (B, F) in float32 of frames (B, H, W, 3) in uint8, of the size that `picture` says.

        Raises:
            UsageError: frames of another dtype or shape.
        """
        check_frames(frames, self.picture)
        pictures = frames.permute(0, 3, 1, 2).float()  # (B, 3, H, W), channels last in memory as it came
        pictures = pictures.sub_(self.mean).div_(self.deviation)
        dtype = next(self.backbone.parameters()).dtype
        features: Tensor = self.backbone(pictures.to(dtype))  # (B, F)
        if self.flatten:
            features = features.permute(0, 2, 3, 1).flatten(1)  # (B, C, H, W) -> (B, H·W·C)
        return features.float()


AnySpatialCNN = SpatialCNN | FrameCNN | PixelCNN


def build_spatial_cnn(
    config: SpatialConfig, weights: Mapping[str, Tensor] | None, where: str, pretrained: bool
) -> AnySpatialCNN:
    """The CNN that `config` names, in float32 on the CPU, in evaluation mode.

    Our own backbones give one vector a picture as they are, whatever the pooling. The weights are `weights` (read
    from `where`; a classifier among them is passed over), or timm's own from its hub where `pretrained` says so,
    or else random.

    Raises:
        UsageError: no such backbone, or one without the padding, pooling or picture size that `config` asks for.
        ModelError: weights of another model, or none that can be reached.
    """
    if config.backbone in OWN_BACKBONES:
        return _own(config, weights, where)
    if not timm.is_model(config.backbone.split(".")[0]):
        raise UsageError(f"no backbone {config.backbone!r} in timm{_close_matches(config.backbone)}")
    download = pretrained and weights is None
    backbone = _create(config, pretrained=False) if not download else _download(config)
    if weights is not None:
        load_weights(backbone, weights, where)
    # In evaluation mode before its output's shape is found: in training BatchNorm refuses a single value.
    return SpatialCNN(backbone.eval(), size_pixels=config.size_pixels, flatten=config.pooling == "flatten").eval()


def _own(config: SpatialConfig, weights: Mapping[str, Tensor] | None, where: str) -> AnySpatialCNN:
    """The backbone that is not timm's."""
    if config.same_padding:
        raise _no_choice_of_padding(config.backbone)
    if config.backbone == "mobilenetv1_075":
        if config.pooling == "flatten":
            raise UsageError(f"backbone {config.backbone!r} gives pooled features, no map to flatten")
        backbone = MobileNet(3, width=0.75, features=1024)
        if weights is not None:
            load_weights(backbone, weights, where)
        return SpatialCNN(backbone.eval(), size_pixels=config.size_pixels).eval()
    cnn = FrameCNN(config.size_pixels) if config.backbone == "lrcn2024" else PixelCNN(config.size_pixels)
    if weights is not None:
        load_weights(cnn, weights, where)
    return cnn.eval()


def picture_format(data_config: Mapping[str, Any]) -> PictureFormat:
    """What timm's evaluation transform cuts out of a frame (`timm.data.transforms_factory`), in plain numbers.

    Of its crop modes, `center` is exact. `squash` leaves no border out whatever crop_pct says, which is 1.0 but
    for 11 of timm 1.0.31's weights; `border`, of 6 weights, is squashed, not padded. Both show the whole frame.
    """
    _, height, width = data_config["input_size"]
    shorter = None
    if data_config["crop_mode"] == "center" and height == width:
        shorter = math.floor(height / data_config["crop_pct"])
    interpolation = data_config["interpolation"]
    return PictureFormat(height, width, resize_shorter=shorter, interpolation=interpolation)


def _output_shape(backbone: nn.Module, picture: PictureFormat, dimensions: int) -> torch.Size:
    """The shape of what a backbone makes of one picture, without computing it.

    Raises:
        UsageError: it takes no pictures of this size, or its output has not so many dimensions.
    """
    tensors = [*backbone.named_parameters(), *backbone.named_buffers()]
    empty = {name: tensor.to("meta") for name, tensor in tensors}
    size = f"{picture.height}x{picture.width}"
    try:
        output = functional_call(backbone, empty, torch.empty(1, 3, picture.height, picture.width, device="meta"))
    except (RuntimeError, AssertionError) as error:  # timm's transformers assert their size
        raise UsageError(f"the backbone takes no pictures of {size} pixels: {error}") from error
    shape: torch.Size = output.shape[1:]
    if len(shape) != dimensions:
        raise UsageError(f"the backbone has no map (C, H, W) to flatten, its features are {tuple(shape)}")
    return shape


def _per_channel(values: tuple[float, ...]) -> Tensor:
    """Three values of a 0 to 1 scale as (3, 1, 1), on the 0 to 255 scale."""
    return torch.tensor(values).mul(255).view(3, 1, 1)


def _create(config: SpatialConfig, pretrained: bool) -> nn.Module:
    """timm's model without its classifier, which then gives pooled features, or maps to flatten.

    Raises:
        UsageError: a tag that the architecture has no weights of, or an architecture without `pad_type`.
    """
    options: dict[str, Any] = {"pad_type": "same"} if config.same_padding else {}
    if config.pooling == "flatten":
        options["global_pool"] = ""
    try:
        backbone: nn.Module = timm.create_model(config.backbone, pretrained=pretrained, num_classes=0, **options)
    except TypeError as error:
        if "pad_type" not in str(error):
            raise
        raise _no_choice_of_padding(config.backbone) from error
    except RuntimeError as error:
        if "Invalid pretrained tag" not in str(error):
            raise
        raise UsageError(f"{error}{_close_matches(config.backbone)}") from error
    if config.pooling == "flatten" and hasattr(backbone, "pre_logits"):
        backbone.pre_logits = nn.Identity()  # VGG's first two classifier layers: 120 of its 138 million parameters
    return backbone


def _no_choice_of_padding(backbone: str) -> UsageError:
    return UsageError(f"backbone {backbone!r} has no choice of padding; leave same_padding off")


def _download(config: SpatialConfig) -> nn.Module:
    """timm's model with the weights of its hub, or of the hub's local cache.

    Raises:
        ModelError: the weights cannot be had, for whatever reason: network, no such weights, a full disk.
    """
    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)  # a line for each of a dozen tries, where one error says it all
    try:
        return _create(config, pretrained=True)
    except UsageError:
        raise
    except Exception as error:  # the hub's client, its transport and timm each raise their own kinds
        raise ModelError(
            f"no weights reachable for {config.backbone}; pass --spatial-weights FILE or --untrained "
            f"({type(error).__name__}: {error})"
        ) from error
    finally:
        hub_logging.set_verbosity(before)


def _close_matches(name: str) -> str:
    """A hint at the backbones whose names are near `name`, or nothing."""
    known = timm.list_pretrained() if "." in name else [*timm.list_models(), *OWN_BACKBONES]
    matches = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {', '.join(matches)}?" if matches else "; timm.list_models() names them all"
