"""A CNN in float32 in, the same CNN ready for inference out: on its device, in its dtype, fused."""

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
    casts its input to the dtype of its parameters; buffers of its own, such as a mean, stay in float32.

    `auto` is as in select_dtype, but float32 for CNNs that lose by bfloat16: those with depthwise convolutions
    and BatchNorm. BatchNorm is folded before the cast, so that weights are rounded once. On CPUs with oneDNN,
    activations and residual additions are fused into them. A child that torch.fx cannot trace, because its path
    depends on its input, runs as it is, in the same dtype and memory format, and more slowly.

    Raises:
        UsageError: as select_device and select_dtype.
    """
    device = select_device(device)
    target = torch.float32 if dtype == "auto" and _loses_by_rounding(cnn) else select_dtype(device, dtype)
    cnn.eval().requires_grad_(False)
    for name, child in cnn.named_children():
        setattr(cnn, name, _convert(child, device, target))
    return cnn.to(device).requires_grad_(False)


def _convert(child: nn.Module, device: str, dtype: torch.dtype) -> nn.Module:
    """`child` folded, in `dtype` and channels-last, and fused where that is for `device`."""
    folded = fusing.fold(child)
    if folded is not None and device == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        fusing.fuse(folded)
    converted = child if folded is None else folded
    converted.to(dtype=dtype)
    for module in converted.modules():
        if isinstance(module, nn.Conv2d):  # weights of other ranks refuse it
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return converted


def _loses_by_rounding(cnn: nn.Module) -> bool:
    """Whether `cnn` is of the MobileNet kind: depthwise convolutions, each with BatchNorm.

    With few products in a sum, errors do not cancel: MobileNetV1's published weights give features of cosine
    0.9967 to the float32 ones for the worst of 60 frames in plain bfloat16. These are small, fast CNNs anyway.
    """
    modules = list(cnn.modules())
    depthwise = any(isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 for m in modules)
    return depthwise and any(isinstance(m, nn.BatchNorm2d) for m in modules)
