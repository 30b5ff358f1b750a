"""Placement: the same features, faster; which device, which dtype, and what becomes of the modules."""

import copy
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from tristream.streams.errors import UsageError
from tristream.streams.fusing import FusedConv2d, fold, fuse
from tristream.streams.placement import place, select_device, select_dtype
from tristream.streams.spatial import SpatialCNN


def cosine(a: Tensor, b: Tensor) -> float:
    return nn.functional.cosine_similarity(a.flatten(1), b.flatten(1)).min().item()


def trained_looking(cnn: nn.Module) -> nn.Module:
    """`cnn` with norms that do something: fresh ones are the identity and would hide a wrong fold."""
    for module in cnn.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return cnn.eval()


def spatial(name: str, **options: Any) -> SpatialCNN:
    torch.manual_seed(0)
    return SpatialCNN(trained_looking(timm.create_model(name, num_classes=0, **options))).eval()


def frames_for(cnn: SpatialCNN, count: int) -> Tensor:
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    size = (cnn.picture.height, cnn.picture.width)
    smooth = nn.functional.interpolate(coarse, size, mode="bilinear").mul(255).to(torch.uint8)
    return smooth.permute(0, 2, 3, 1).contiguous()


def count(cnn: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in cnn.modules())


# What each adds: residual additions in place; squeeze-and-excite, hardswish; no convolution but one; layer norm;
# SiLU and same padding; concatenation and norms before convolutions; a graph that cannot be traced.
ARCHITECTURES = [
    "resnet18", "mobilenetv3_small_050", "vit_tiny_patch16_224", "convnext_atto", "tf_efficientnet_b0",
    "densenet121", "mobilevit_xxs",
]  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_backbone_keeps_its_features(name: str) -> None:
    cnn = spatial(name)
    frames = frames_for(cnn, 2)
    with torch.inference_mode():
        expected = cnn(frames)
        exact, rounded = (place(copy.deepcopy(cnn), "cpu", dtype)(frames) for dtype in ("float32", "bfloat16"))
    assert exact.dtype == rounded.dtype == torch.float32
    torch.testing.assert_close(exact, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    assert cosine(rounded, expected) >= 0.999


def test_paper_backbone_keeps_its_features_whatever_the_batch() -> None:
    cnn = spatial("inception_resnet_v2")
    frames = frames_for(cnn, 3)
    with torch.inference_mode():
        expected = cnn(frames)
        exact = place(copy.deepcopy(cnn), "cpu", "float32")
        parts = torch.cat([exact(frames[:2]), exact(frames[2:])])
        rounded = place(cnn, "cpu", "bfloat16")(frames)
    torch.testing.assert_close(parts, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    assert cosine(rounded, expected) >= 0.999


def test_norms_are_folded_and_convolutions_fused() -> None:
    placed = place(spatial("resnet18"), "cpu", "bfloat16")
    assert count(placed, nn.BatchNorm2d) == 0
    assert count(placed, FusedConv2d) == 20  # all there are
    assert sum(type(module.activation) is nn.ReLU for module in fused(placed)) == 17  # all there are
    assert {parameter.dtype for parameter in placed.parameters()} == {torch.bfloat16}
    assert placed.mean.dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in placed.parameters())


def test_auto_rounds_all_of_a_resnet_and_all_but_the_stem_of_a_mobilenet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    rounded, spared = (place(spatial(name), "cpu", "auto") for name in ("resnet18", "mobilenetv3_small_050"))
    assert {p.dtype for p in rounded.parameters()} == {torch.bfloat16}
    assert {m.bias.dtype for m in fused(rounded) if m.bias is not None} == {torch.float32}
    # MobileNetV3's stem: the first convolution and the depthwise one after it
    dtypes = [m.weight.dtype for m in fused(spared)]
    assert dtypes[:2] == [torch.float32] * 2
    assert set(dtypes[2:]) == {torch.bfloat16}


def test_a_folded_mobilenet_in_a_row_of_layers_keeps_its_stem_too() -> None:
    def layer(depthwise: bool) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(8, 8, 3, groups=8 if depthwise else 1), nn.ReLU())

    torch.manual_seed(0)
    cnn, x = nn.Sequential(layer(False), layer(True), layer(True)), torch.randn(2, 8, 9, 9)
    with torch.inference_mode():
        expected = cnn(x)
        placed = place(cnn, "cpu", "bfloat16")
        assert cosine(placed(x).float(), expected) >= 0.999
    assert placed is cnn
    assert [m.weight.dtype for m in fused(placed)] == [torch.float32, torch.float32, torch.bfloat16]
    normed = place(nn.Sequential(layer(True), nn.GroupNorm(1, 8)), "cpu", "bfloat16")  # as ConvNeXt: errors shrink
    assert {p.dtype for p in normed.parameters()} == {torch.bfloat16}


def fused(cnn: nn.Module) -> list[FusedConv2d]:
    return [module for module in cnn.modules() if isinstance(module, FusedConv2d)]


def test_what_cannot_be_traced_runs_as_it_is() -> None:
    placed = place(spatial("mobilevit_xxs"), "cpu", "bfloat16")
    assert count(placed, FusedConv2d) == 0
    assert type(placed.backbone).__name__ == "ByobNet"


class Tricky(nn.Module):
    """Every shape of graph that must not be fused carelessly."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.shared = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm, self.shared_norm = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.third, self.fourth = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.shift = nn.Parameter(torch.rand(1, 4, 1, 1))
        self.silu, self.relu = nn.SiLU(), nn.ReLU()

    def forward(self, x: Tensor, scale: float | None = None) -> Tensor:
        if scale is not None:
            x = x * scale
        x = self.first(x)
        both = self.norm(x) + x  # a convolution of two users
        both = self.shared_norm(self.shared(both)) - self.shared_norm(self.shared(x))  # called twice
        both = self.silu(self.second(both) + x)  # an activation that cannot follow an addition
        both = self.relu(self.third(both) * 0.5 + self.shift)  # broadcast
        kept = both
        both += self.fourth(both)  # seen through another name
        return both + kept


def test_graphs_that_must_not_be_fused_carelessly_keep_their_results() -> None:
    torch.manual_seed(0)
    cnn = trained_looking(Tricky())
    x = torch.randn(2, 3, 9, 9)
    with torch.inference_mode():
        expected = cnn(x)
        folded = fold(cnn)
        assert folded is not None
        torch.testing.assert_close(folded(x), expected)
        torch.testing.assert_close(fuse(folded)(x), expected)


def test_float32_folding_happens_before_the_cast() -> None:
    # A norm that divides by 0.001 after a weight that bfloat16 cannot hold: cast first, the error is 4e-3.
    child = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0))
    with torch.no_grad():
        child[0].weight.fill_(1 + 2**-9)
        child[0].bias.zero_()
        child[1].weight.fill_(1 / (1 + 2**-9))
    placed = place(nn.Sequential(child), "cpu", "bfloat16")
    assert [parameter.item() for parameter in placed.parameters()] == [1.0]


def test_device_and_dtype_names_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device("auto") == select_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="no usable CUDA GPU"):
        select_device("cuda")
    with pytest.raises(UsageError, match="'tpu'"):
        select_device("tpu")
    with pytest.raises(UsageError, match="'float16'"):
        select_dtype("cpu", "float16")  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert select_device("auto") == select_device("cuda") == "cuda"


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_takes_bfloat16_only_where_the_cpu_has_it(
    native: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    assert select_dtype("cpu", "auto") == dtype
    assert select_dtype("cpu", "bfloat16") == torch.bfloat16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_features_on_a_gpu_are_those_of_the_cpu() -> None:
    cnn = spatial("resnet18")
    frames = frames_for(cnn, 2)
    with torch.inference_mode():
        expected = cnn(frames)
        features = place(cnn, "cuda", "auto")(frames.cuda()).cpu()
    assert cosine(features, expected) >= 0.999
