"""A trained MobileNetV1 into a thinner one that begins where it is: channels left out, the next layer fitted to that.

Channels are kept by what they give to the layer that reads them; each pointwise layer is then fitted, by least squares,
to give what the whole network's gives at the channels that are kept (He, Zhang & Sun 2017, "Channel pruning for
accelerating very deep neural networks", 3.1, with its search for channels replaced by one pass).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from timm.layers.conv2d_same import conv2d_same
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from tristream.streams.mobilenet import LAYERS, MobileNet

PLACES = 48  # of each picture's map that a fit looks at
RIDGE = 1e-2  # of the mean square of what a layer reads


@dataclass(frozen=True)
class Folded:
    """One convolution with its BatchNorm in it: weight (out, in / groups, h, w) and bias (out,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, maps: Tensor, stride: int) -> Tensor:
        groups = maps.shape[1] // self.weight.shape[1]
        outputs: Tensor = conv2d_same(maps, self.weight, self.bias, (stride, stride), groups=groups)
        return outputs

    def at(self, channels: Tensor) -> "Folded":
        """The same for some of the output channels."""
        return Folded(self.weight[channels], self.bias[channels])


def folded_convolutions(network: nn.Module) -> list[Folded]:
    """The 27 convolutions of a MobileNetV1 in their order, whichever way it names them."""
    found: list[Folded] = []
    last: nn.Conv2d | None = None
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            bias = torch.zeros(module.out_channels) if module.bias is None else module.bias.detach()
            found.append(Folded(module.weight.detach(), bias))
            last = module
        elif isinstance(module, nn.BatchNorm2d) and last is not None:
            norm = (module.running_mean, module.running_var, module.eps, module.weight, module.bias)
            weight, bias_after = fuse_conv_bn_weights(last.weight, last.bias, *norm)  # type: ignore[arg-type]
            found[-1] = Folded(weight.detach(), bias_after.detach())
    return found


def with_inputs(convolutions: Sequence[Folded], inputs: int) -> list[Folded]:
    """The same network for so many input channels, of which each is seen as a grey picture is.

    As networks on flow are begun from networks on pictures (Wang et al. 2016, "Temporal segment networks", 3.2).
    """
    first = convolutions[0]
    weight = first.weight.sum(dim=1, keepdim=True).repeat(1, inputs, 1, 1) / inputs
    return [Folded(weight, first.bias), *convolutions[1:]]


@torch.no_grad()
def pruned(
    teacher: Sequence[Folded], pictures: Tensor, width: float, features: int, activation: type[nn.Module] = nn.ReLU6
) -> MobileNet:
    """A thinner network that begins near the teacher, in float32, on the CPU, in evaluation mode.

    Args:
        teacher: as `folded_convolutions` gives it, of as many input channels as the pictures.
        pictures: (N, C, H, W), as the thin network will see them; its BatchNorms hold the statistics of these.
        width, features: of the thin network; `features` is at most the teacher's.
    """
    thin = MobileNet(pictures.shape[1], width, features, activation)
    bent: nn.Module = activation()
    generator = torch.Generator().manual_seed(0)
    whole, slim = pictures, pictures  # maps of both networks, (N, channels, h, w)
    kept = torch.arange(pictures.shape[1])  # which of the whole network's channels the thin one has
    for number, (layer, (_, stride)) in enumerate(zip(cast(Sequence[nn.Sequential], thin), LAYERS, strict=False)):
        if number == 0:
            before = teacher[0](whole, stride)
            kept = _worth_keeping(bent, before, teacher[1:3], _outputs(layer, "conv"))
            slim = _set(layer, "conv", teacher[0].at(kept), slim, stride)
        else:
            depthwise, pointwise = teacher[2 * number - 1], teacher[2 * number]
            slim = _set(layer, "depthwise", depthwise.at(kept), slim, stride)
            before = pointwise(bent(depthwise(whole, stride)), 1)
            readers, read = teacher[2 * number + 1 : 2 * number + 3], kept
            kept = _worth_keeping(bent, before, readers, _outputs(layer, "pointwise"))
            plain = Folded(pointwise.weight[kept][:, read], pointwise.bias[kept])
            slim = _set(layer, "pointwise", _fitted(plain, slim, before[:, kept], generator), slim, 1)
        whole = bent(before)
    return thin.eval()


def _outputs(layer: nn.Module, name: str) -> int:
    return cast(nn.Conv2d, layer.get_submodule(name)).out_channels


def _worth_keeping(bent: nn.Module, before: Tensor, next_two: Sequence[Folded], count: int) -> Tensor:
    """The `count` channels of maps that give the most to the pointwise layer that reads them, in their order."""
    maps = bent(before)
    if next_two:
        depthwise, pointwise = next_two
        read = bent(depthwise(maps, 1)).square().mean(dim=(0, 2, 3))  # (channels,)
        worth = read * pointwise.weight.square().sum(dim=(0, 2, 3))
    else:
        worth = maps.mean(dim=(2, 3)).var(dim=0)
    kept: Tensor = worth.topk(count).indices.sort().values
    return kept


def _fitted(plain: Folded, read: Tensor, wanted: Tensor, generator: torch.Generator) -> Folded:
    """The pointwise layer that makes of what it reads (N, in, h, w), nearly, what is wanted (N, out, h, w).

    What it lacks is fitted, so that a layer that lacks nothing stays as it is.
    """
    cells = read.shape[2] * read.shape[3]
    places = torch.randint(cells, (min(PLACES, cells),), generator=generator)
    x, y = (
        maps.flatten(2)[:, :, places].movedim(1, 2).flatten(0, 1).double() for maps in (read, wanted - plain(read, 1))
    )
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, y - y_mean
    square = x.mT @ x
    ridge = RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
    change = torch.linalg.solve(square + ridge, x.mT @ y).mT  # (out, in)
    bias = y_mean - change @ x_mean
    return Folded(plain.weight + change[:, :, None, None].float(), plain.bias + bias.float())


def _set(layer: nn.Module, name: str, convolution: Folded, maps: Tensor, stride: int) -> Tensor:
    """Give a convolution and its BatchNorm the function of a folded one; what it makes of the maps.

    The norm takes the statistics of these maps, so that training, which norms by batches, begins at the same function.
    """
    outputs = convolution(maps, stride)
    variance, mean = torch.var_mean(outputs, dim=(0, 2, 3), unbiased=False)
    norm = cast(nn.BatchNorm2d, layer.get_submodule(f"{name}_norm"))
    cast(nn.Conv2d, layer.get_submodule(name)).weight.copy_(convolution.weight)
    cast(Tensor, norm.running_mean).copy_(mean - convolution.bias)
    cast(Tensor, norm.running_var).copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(mean)
    bent: nn.Module = layer.get_submodule(f"{name}_relu")
    return cast(Tensor, bent(outputs))
