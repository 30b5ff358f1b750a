"""A CNN in float32 in, the same CNN ready for inference out: on its device, in its dtype, fused."""

import copy
from typing import Literal, TypeVar

import torch
from torch import nn

from tristream.streams import fusing
from tristream.streams.errors import UsageError

DtypeName = Literal["auto", "float32", "bfloat16"]
M = TypeVar("M", bound=nn.Module)


def select_device(device: str) -> Literal["cpu", "cuda"]:
    """The device to run on: `auto` is CUDA where there is a usable GPU, else the CPU.

    Raises:
        UsageError: an unknown name, or `cuda` where PyTorch finds none.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device must be auto, cpu or cuda, got {device!r}")
    if device == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise UsageError("device is cuda, but PyTorch finds no usable CUDA GPU; use auto or cpu")
    return "cpu"


def select_dtype(device: str, dtype: DtypeName) -> torch.dtype:
    """The dtype to compute in: `auto` is bfloat16 where `device` multiplies it in hardware, else float32.

    Raises:
        UsageError: an unknown name.
    """
    if dtype not in ("auto", "float32", "bfloat16"):
        raise UsageError(f"dtype must be auto, float32 or bfloat16, got {dtype!r}")
    if dtype != "auto":
        return torch.bfloat16 if dtype == "bfloat16" else torch.float32
    if device == "cpu":
        # Not oneDNN's own _is_mkldnn_bf16_supported: it is also true where bfloat16 is emulated, slowly.
        native = torch.cpu._is_avx512_bf16_supported()
    else:
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float32


def place(cnn: M, device: str, dtype: DtypeName = "auto") -> M:
    """`cnn`, in float32 on the CPU, made ready for inference: the same object, its direct children replaced.

    A child (a backbone, a sequence of layers) is called by `cnn` with one tensor, and for nothing else. `cnn`
    casts its input to the dtype of its parameters; buffers of its own, such as a mean, stay in float32. The children
    of a Sequential, called one after the other, become one child.

    BatchNorm is folded before the cast, so that weights are rounded once. A CNN of the MobileNet kind keeps its
    first layers in float32, and with `auto` the whole of it where its path forks before the first depthwise
    convolution. On CPUs with oneDNN, activations and residual additions are fused into the convolutions. A child
    that torch.fx cannot trace, because its path depends on its input, runs as it is, in the same dtype and memory
    format, and more slowly.

    Raises:
        UsageError: as select_device and select_dtype.
    """
    device = select_device(device)
    target = select_dtype(device, dtype)
    cnn.eval().requires_grad_(False)
    if isinstance(cnn, nn.Sequential):
        chain = nn.Sequential(*cnn)
        del cnn[:]
        cnn.append(chain)
    for name, child in cnn.named_children():
        setattr(cnn, name, _convert(child, device, target, careful=dtype == "auto"))
    return cnn.to(device).requires_grad_(False)


def _convert(child: nn.Module, device: str, dtype: torch.dtype, careful: bool) -> nn.Module:
    """`child` folded, in `dtype` and channels-last, and fused where that is for `device`.

    With `careful`, a child that loses by `dtype` and whose stem cannot be kept in float32 stays in it as a whole.
    """
    loses = dtype != torch.float32 and _loses_by_rounding(child)
    folded = fusing.fold(child)
    if folded is not None and device == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        fusing.fuse(folded)
    stem = fusing.keep_stem(folded, dtype) if folded is not None and loses else []
    converted = child if folded is None else folded
    kept = {name: copy.deepcopy(converted.get_submodule(name)) for name in stem}
    if not (loses and careful and not stem):
        converted.to(dtype=dtype)
    for name, module in kept.items():
        converted.set_submodule(name, module)
    for module in converted.modules():
        if isinstance(module, nn.Conv2d):  # weights of other ranks refuse it
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return converted


def _loses_by_rounding(cnn: nn.Module) -> bool:
    """Whether `cnn` is of the MobileNet kind: depthwise convolutions, with BatchNorm or with no norm, as it is folded.

    With few products in a sum, errors do not cancel, and the first layers' errors grow all the way through: the
    features of MobileNetV1's published weights, all in bfloat16, have a cosine of 0.9980 to the float32 ones for
    the worst of 36 frames; with the first two convolutions in float32 it is 0.9995. YAMNet's: 0.9971 and 0.9994 for
    the worst of the 1,200 examples of ESC-10.
    """
    modules = list(cnn.modules())
    norms = [module for module in modules if "Norm" in type(module).__name__]  # PyTorch's and timm's, of every kind
    batch_norm = any(isinstance(module, nn.BatchNorm2d) for module in norms)
    return any(map(fusing.is_depthwise, modules)) and (batch_norm or not norms)
