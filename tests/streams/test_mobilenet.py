"""MobileNet: the layers of the paper, thinner, for pictures of any number of channels."""

import copy

import pytest
import torch
from timm.models import group_parameters
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tristream.streams.config import SpatialConfig
from tristream.streams.mobilenet import LAYERS, MobileNet, SquareRoot
from tristream.streams.picture import PictureFormat
from tristream.streams.placement import place
from tristream.streams.spatial import build_spatial_cnn


def built(inputs: int = 3, width: float = 0.75, features: int = 1024) -> MobileNet:
    torch.manual_seed(0)
    return MobileNet(inputs, width, features).eval()


def test_it_costs_less_than_a_third_of_the_whole_one_at_224_pixels() -> None:
    cnn = built()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        cnn(torch.zeros(1, 3, 160, 160))
    assert sum(p.numel() for p in cnn.parameters()) == 2_013_680
    assert counter.get_total_flops() / 2 < 569e6 / 3  # multiply-adds, table 8 of the paper


@pytest.mark.parametrize(("inputs", "height", "width"), [(1, 120, 160), (1, 96, 64), (20, 33, 47), (3, 32, 32)])
def test_any_picture_gives_features_from_zero_on(inputs: int, height: int, width: int) -> None:
    cnn = built(inputs, 0.25, 24)
    with torch.inference_mode():
        features = cnn(torch.randn(2, inputs, height, width))
    assert features.shape == (2, 24) == (2, cnn.num_features)
    assert features.min() >= 0


def test_its_means_are_the_squares_of_its_features_and_of_the_same_weights() -> None:
    cnn = built(1, 0.25, 16)
    pictures = torch.randn(4, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(SquareRoot()(cnn.means(pictures)), cnn(pictures))
    assert cnn.means.layer1 is cnn.layer1
    assert len(cnn) == len(LAYERS) + 3


def test_roots_begin_at_zero_with_a_bounded_slope() -> None:
    features = torch.tensor([0.0, 0.25, 4.0], requires_grad=True)
    roots = SquareRoot()(features)
    torch.testing.assert_close(roots, torch.tensor([0.0, 0.5, 2.0]), atol=0.011, rtol=0)
    roots.sum().backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


class Holder(nn.Module):
    """A CNN as `place` takes it: what it holds is a child."""

    def __init__(self, child: nn.Module) -> None:
        super().__init__()
        self.child = child

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.child(pictures.to(next(self.child.parameters()).dtype)).float()


def test_placed_it_gives_the_same_nearly() -> None:
    cnn = built(3, 0.75, 64)
    with torch.no_grad():
        cnn.train()(torch.randn(8, 3, 96, 96))  # norms with statistics of something
    pictures = torch.randn(4, 3, 96, 96)
    with torch.inference_mode():
        expected = cnn.eval()(pictures)
        exact = place(Holder(copy.deepcopy(cnn)), "cpu", "float32")(pictures)
        rough = place(Holder(cnn), "cpu", "bfloat16")(pictures)
    torch.testing.assert_close(exact, expected, atol=1e-3, rtol=1e-3)
    assert nn.functional.cosine_similarity(rough, expected).min() > 0.99


def test_its_last_blocks_can_be_told_from_the_others() -> None:
    groups = group_parameters(built(3, 0.75, 64), MobileNet.group_matcher(built(3, 0.75, 64)))
    assert len(groups) == 14
    assert set(groups[13]) >= {"layer14.pointwise.weight", "layer14.depthwise.weight"}
    assert all(name.startswith("layer1.") for name in groups[0])


def test_it_sees_whole_frames_at_its_own_size() -> None:
    picture = build_spatial_cnn(SpatialConfig("mobilenetv1_075"), None, "", pretrained=False).picture
    assert picture == PictureFormat(160, 160, "rgb24", None, "area")
