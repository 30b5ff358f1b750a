"""The motion CNNs: the paper's layers and sizes, the small one's budget, and what all step CNNs promise."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tristream.streams.config import FlowConfig, TemporalConfig
from tristream.streams.errors import UsageError
from tristream.streams.temporal import (
    SLOW_PIXELS,
    SMALLEST_SIDE_PIXELS,
    MotionCNN,
    SmallMotionCNN,
    build_motion_cnn,
    motion_pictures,
)


@pytest.fixture(scope="module", autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def paper_cnn() -> MotionCNN:
    """The paper's motion CNN for 240x320, 590 MB of weights: built once."""
    torch.manual_seed(0)
    return MotionCNN().eval()


def small_cnn() -> SmallMotionCNN:
    torch.manual_seed(0)
    return SmallMotionCNN().eval()


def tiny_cnn() -> MotionCNN:
    """The paper's layers on the smallest picture it takes."""
    torch.manual_seed(0)
    return MotionCNN(pairs=2, height=SMALLEST_SIDE_PIXELS, width=SMALLEST_SIDE_PIXELS).eval()


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def on_paper(pairs: int, height: int, width: int) -> MotionCNN:
    """A motion CNN without memory for its weights."""
    with torch.device("meta"):
        return MotionCNN(pairs, height, width)


# The paper's


def test_the_papers_layers_have_the_papers_filters_and_strides() -> None:
    layers = [layer for layer in on_paper(10, 240, 320).modules() if not list(layer.children())]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size, c.stride) for c in convolutions] == [
        (96, (7, 7), (2, 2)),
        (256, (5, 5), (2, 2)),
        (512, (3, 3), (1, 1)),
        (512, (3, 3), (1, 1)),
        (512, (3, 3), (1, 1)),
    ]
    short = {"Conv2d": "conv", "MaxPool2d": "pool", "BatchNorm2d": "norm", "Linear": "full", "Dropout": "drop"}
    names = [short[type(layer).__name__] for layer in layers if not isinstance(layer, nn.ReLU)]
    assert " ".join(names) == "conv pool norm conv pool conv conv conv pool full drop full drop"


def test_the_papers_cnn_has_the_parameters_of_its_layers() -> None:
    convolutions = 96 * (20 * 49 + 1) + 2 * 96 + 256 * (96 * 25 + 1) + 512 * (256 * 9 + 1) + 2 * 512 * (512 * 9 + 1)
    full = 4096 * (512 * 7 * 9 + 1) + 2048 * (4096 + 1)
    assert convolutions + full == 147_124_128
    assert parameters(on_paper(10, 240, 320)) == convolutions + full


def test_on_224_pixels_full6_sees_the_6x6_cells_of_cnn_m() -> None:
    full6 = on_paper(10, 224, 224).full[0]
    assert isinstance(full6, nn.Linear)
    assert full6.in_features == 512 * 6 * 6


@pytest.mark.parametrize("height", range(SMALLEST_SIDE_PIXELS, SMALLEST_SIDE_PIXELS + 20))
def test_full6_fits_every_size_of_picture(height: int) -> None:
    cnn = on_paper(1, height, 2 * height + 3).eval()
    assert cnn(torch.zeros(1, 2, height, 2 * height + 3, device="meta")).shape == (1, 2048)


def test_full_size_step_features_are_2048_rectified_values_of_a_sound_size(paper_cnn: MotionCNN) -> None:
    with torch.inference_mode():
        features = paper_cnn(torch.randn(2, 20, 240, 320, generator=torch.Generator().manual_seed(1)))
    assert features.shape == (2, paper_cnn.feature_size) == (2, 2048)
    assert features.dtype == torch.float32
    assert features.min() == 0
    assert 0.3 < (features > 0).float().mean() < 0.7
    assert 0.3 < features.std() < 10  # neither faded nor blown up by eight layers
    assert not torch.allclose(features[0], features[1], rtol=0.1)


def test_a_picture_too_small_for_the_papers_pools_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 57x57 pixels, got 240x56"):
        MotionCNN(10, 240, 56)


# The small one


def test_the_small_cnn_is_within_its_budget() -> None:
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        small_cnn()(torch.zeros(1, 20, 120, 160))
    assert parameters(small_cnn()) == 1_081_472
    assert counter.get_total_flops() < 257e6  # a multiply-add is two


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (80, 112), (120, 160)])
def test_the_small_cnn_takes_any_picture(height: int, width: int) -> None:
    stacks = torch.randn(2, 20, height, width, generator=torch.Generator().manual_seed(1))
    network = small_cnn()
    with torch.inference_mode():
        features, second = network(stacks), network(stacks[1:])
    assert features.shape == (2, 2067)
    assert torch.isfinite(features).all()
    torch.testing.assert_close(second, features[1:])  # whatever it is in a batch with
    assert (features[0] - features[1]).abs().max() > 0.01


def moving_square(left: int, pixels: float) -> torch.Tensor:
    """A stack in which a square moves to the right."""
    stack = torch.zeros(1, 20, 120, 160)
    stack[:, ::2, 40:80, left : left + 40] = pixels
    return stack


def test_the_pictures_of_motion_are_the_shape_of_what_moves_and_its_outline() -> None:
    pictures = motion_pictures(moving_square(60, 3.0))
    assert pictures.shape == (1, 2, 120, 160)
    shape, outline = pictures[0].clone()
    assert shape[40:80, 60:100].min() > 0.85
    shape[40:80, 60:100] = -1
    assert shape.max() == -1
    assert outline[40:79, 59].min() == outline[40:79, 99].min() == outline[39, 60:99].min() == 1
    outline[39:80, 59:100] = -1
    assert outline.max() == -1
    assert pictures[0, 1, 41:79, 60:98].max() == -1  # it is hollow
    torch.testing.assert_close(motion_pictures(moving_square(60, 12.0)), pictures, atol=0.1, rtol=0)
    assert motion_pictures(torch.zeros(2, 20, 120, 160)).max() == -1
    assert motion_pictures(moving_square(60, 1e-4))[:, 0].max() < -0.8  # noise is not blown up


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47)])
def test_the_95th_percentile_of_motion_is_white_however_fast_a_speck_is(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    stack = torch.rand(1, 2, height, width, generator=generator).repeat(1, 10, 1, 1) * 8
    stack[:, :, 0, 0] = 1e4
    shape = motion_pictures(stack)[0, 0]
    lengths = torch.hypot(stack[0, 0], stack[0, 1]).sqrt()
    longest = np.quantile(lengths[::4, ::4].numpy(), 0.95, method="lower")
    torch.testing.assert_close(shape, (lengths / (float(longest) + 0.1)).clamp(max=1) * 2 - 1)


def test_the_outline_is_left_where_the_camera_moves() -> None:
    stack = moving_square(60, 3.0)
    panned = stack.clone()
    panned[:, ::2] += 5.0
    torch.testing.assert_close(motion_pictures(panned)[:, 1], motion_pictures(stack)[:, 1])


def test_the_small_cnn_tells_how_fast_and_where_to() -> None:
    cnn = small_cnn()
    with torch.inference_mode():
        slow, fast, back = (cnn(moving_square(60, pixels))[0] for pixels in (2.0, 6.0, -2.0))
    speeds = [SLOW_PIXELS * torch.expm1(each[2048:]) for each in (slow, fast, back)]  # of which it gives the logarithm
    assert float(speeds[1][8]) == pytest.approx(3 * float(speeds[0][8]), rel=1e-3)  # the mean length
    assert speeds[0][0] > 0 == speeds[2][0]  # to the right
    torch.testing.assert_close(slow[:2048], back[:2048])  # its shapes are the same


# Both


@pytest.mark.parametrize("build", [small_cnn, tiny_cnn])
@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_stacks_of_any_float_type_give_float32(build: Callable[[], nn.Module], kind: torch.dtype) -> None:
    cnn = build()
    stacks = torch.randn(2, 20 if build is small_cnn else 4, 57, 57)
    with torch.inference_mode():
        features, expected = cnn(stacks.to(kind)), cnn(stacks)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("build", [small_cnn, tiny_cnn])
def test_bfloat16_and_channels_last_give_the_same_features_nearly(build: Callable[[], nn.Module]) -> None:
    cnn = build()
    stacks = torch.randn(2, 20 if build is small_cnn else 4, 57, 57)
    with torch.inference_mode():
        expected = cnn(stacks)
        last = cnn.to(memory_format=torch.channels_last)(stacks.to(memory_format=torch.channels_last))
        rough = cnn.to(torch.bfloat16)(stacks)
    torch.testing.assert_close(last, expected, atol=1e-4, rtol=1e-4)
    assert rough.dtype == torch.float32
    assert nn.functional.cosine_similarity(rough, expected).min() > 0.999


@pytest.mark.parametrize("build", [small_cnn, tiny_cnn])
def test_every_weight_learns(build: Callable[[], nn.Module]) -> None:
    cnn = build().train()
    cnn(torch.randn(4, 20 if build is small_cnn else 4, 57, 57)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in cnn.parameters())


def test_the_config_says_which_cnn_and_its_shapes() -> None:
    with torch.device("meta"):
        motion = build_motion_cnn(TemporalConfig(cnn="motion", pairs=5), FlowConfig(height=224, width=224))
        small = build_motion_cnn(TemporalConfig(cnn="small", pairs=5), FlowConfig(height=120, width=160))
    assert isinstance(motion, MotionCNN)
    assert motion(torch.zeros(1, 10, 224, 224, device="meta")).shape == (1, motion.feature_size)
    assert isinstance(small, SmallMotionCNN)
    assert small(torch.zeros(3, 10, 120, 160, device="meta")).shape == (3, small.feature_size)


@pytest.mark.parametrize("name", ["motion", "small"])
def test_a_stack_of_no_pairs_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="at least one pair, got pairs = 0"):
        build_motion_cnn(TemporalConfig(cnn=name, pairs=0), FlowConfig())  # type: ignore[arg-type]


def test_an_unknown_cnn_is_refused() -> None:
    with pytest.raises(UsageError, match="one of motion, small, histogram, got 'resnet'"):
        build_motion_cnn(TemporalConfig(cnn="resnet"), FlowConfig())  # type: ignore[arg-type]
