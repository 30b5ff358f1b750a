"""YAMNet: equal to TensorFlow's definition, true to the released weights on real sounds, and safe to round."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tristream.streams.errors import ModelError
from tristream.streams.fusing import FusedConv2d
from tristream.streams.log_mel import LOG_OFFSETS, log_mel_examples
from tristream.streams.media import AudioBlock, MediaReader
from tristream.streams.placement import place
from tristream.streams.weights import load_weights, read_weights
from tristream.streams.yamnet import YAMNet

# Of the release (yamnet.py, _YAMNET_LAYER_DEFS).
STRIDES = [2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
FILTERS = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]

# ESC-10's folders and AudioSet's class of the same meaning (yamnet_class_map.csv).
AUDIOSET_CLASSES = {
    "001 - Dog bark": 69,
    "002 - Rain": 283,
    "003 - Sea waves": 288,  # ocean
    "004 - Baby cry": 20,
    "005 - Clock tick": 401,
    "006 - Person sneeze": 44,
    "007 - Helicopter": 333,
    "008 - Chainsaw": 341,
    "009 - Rooster": 94,
    "010 - Fire crackling": 293,
}
SILENCE, FIRST_PLACE = 494, 500  # classes of no sound, and from 500 on of rooms and noise


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def yamnet() -> YAMNet:
    """YAMNet with random weights, and biases that are not zero."""
    torch.manual_seed(0)
    module = YAMNet().eval()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.uniform_(layer.bias, -0.1, 0.1)
    return module


@pytest.fixture(scope="module")
def weights(shared: Path) -> dict[str, Tensor]:
    return read_weights(shared / "weights" / "yamnet.safetensors")


@pytest.fixture(scope="module")
def released(weights: dict[str, Tensor]) -> YAMNet:
    """YAMNet with AudioSet's weights."""
    module = YAMNet().eval()
    load_weights(module, weights, "yamnet.safetensors")
    return module


@pytest.fixture(scope="module")
def sounds(shared: Path) -> dict[str, list[Tensor]]:
    """The log-mel examples (N, 96, 64) of ESC-10's first four sounds of each class."""
    folders = {name: sorted((shared / "data" / "esc10" / name).glob("*.ogg"))[:4] for name in AUDIOSET_CLASSES}
    return {name: [examples_of(path) for path in paths] for name, paths in folders.items()}


def examples_of(path: Path) -> Tensor:
    with MediaReader(path, video=False, threads=1) as reader:
        samples = np.concatenate([block.samples for block in reader if isinstance(block, AudioBlock)])
    return torch.from_numpy(log_mel_examples(samples, LOG_OFFSETS["yamnet"]))


def random_examples(count: int) -> Tensor:
    return torch.randn(count, 96, 64, generator=torch.Generator().manual_seed(1)).mul(2).sub(2)


def features_of(module: nn.Module, examples: Tensor) -> Tensor:
    with torch.inference_mode():
        features: Tensor = module(examples)
    return features


def tf_windows(maps: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """What a 3x3 kernel sees of maps (H, W, C) with TensorFlow's padding "SAME": (H', W', C, 3, 3)."""
    pads = []
    for size in maps.shape[:2]:
        total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
        pads.append((total // 2, total - total // 2))  # the odd one goes behind
    return sliding_window_view(np.pad(maps, (*pads, (0, 0))), (3, 3), axis=(0, 1))[::stride, ::stride]


def tf_forward(module: YAMNet, example: NDArray[np.float32]) -> NDArray[np.float32]:
    """TensorFlow's definition in plain numpy: (96, 64) -> (1024,), channels last throughout."""
    arrays = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    net = example[:, :, None]  # (96, 64, 1)
    for number, stride in enumerate(STRIDES, start=1):
        windows = tf_windows(net, stride)
        if number == 1:
            kernel, bias = arrays["layer1.conv.weight"], arrays["layer1.conv.bias"]
            net = np.maximum(np.einsum("hwcij,ocij->hwo", windows, kernel, optimize=True) + bias, 0)
            continue
        layer = f"layer{number}"
        kernel, bias = arrays[f"{layer}.depthwise.weight"][:, 0], arrays[f"{layer}.depthwise.bias"]
        net = np.maximum(np.einsum("hwcij,cij->hwc", windows, kernel) + bias, 0)
        kernel, bias = arrays[f"{layer}.pointwise.weight"][:, :, 0, 0], arrays[f"{layer}.pointwise.bias"]
        net = np.maximum(net @ kernel.T + bias, 0)
    assert net.shape == (3, 2, 1024)
    return net.mean(axis=(0, 1))


def test_equals_the_tensorflow_definition(yamnet: YAMNet) -> None:
    examples = random_examples(2)
    features = features_of(yamnet, examples)
    assert features.dtype == torch.float32
    assert features.shape == (2, yamnet.feature_size)
    expected = tf_forward(yamnet, examples[0].numpy())
    assert expected.std() > 0.01
    np.testing.assert_allclose(features[0].numpy(), expected, rtol=1e-3, atol=1e-4 * expected.std())
    assert features_of(yamnet, examples[:0]).shape == (0, 1024)


def test_parameters_are_named_and_sized_as_in_the_release(yamnet: YAMNet) -> None:
    expected = {"layer1.conv.weight": (32, 1, 3, 3), "layer1.conv.bias": (32,)}
    for number in range(2, 15):
        before, after = FILTERS[number - 2], FILTERS[number - 1]
        layer = f"layer{number}"
        expected |= {f"{layer}.depthwise.weight": (before, 1, 3, 3), f"{layer}.depthwise.bias": (before,)}
        expected |= {f"{layer}.pointwise.weight": (after, before, 1, 1), f"{layer}.pointwise.bias": (after,)}
    assert {name: tuple(tensor.shape) for name, tensor in yamnet.state_dict().items()} == expected
    with FlopCounterMode(display=False) as counter:
        features_of(yamnet, random_examples(1))
    assert sum(tensor.numel() for tensor in yamnet.parameters()) == 3_195_456
    assert counter.get_total_flops() // 10**6 == 137


def test_weights_of_another_network_are_refused(yamnet: YAMNet) -> None:
    with pytest.raises(ModelError, match=r"w\.npz lacks 54 of 54 tensors, first 'layer1\.conv\.weight'"):
        load_weights(yamnet, {"features.0.weight": torch.zeros(1)}, "w.npz")


def test_it_can_be_trained() -> None:
    torch.manual_seed(0)
    module = YAMNet()
    module(random_examples(2)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_placed_it_is_the_same_and_its_stem_stays_in_float32(yamnet: YAMNet) -> None:
    examples = random_examples(3)
    expected = features_of(yamnet, examples)
    exact, rounded = (place(copy.deepcopy(yamnet), "cpu", dtype) for dtype in ("float32", "bfloat16"))
    torch.testing.assert_close(features_of(exact, examples), expected, rtol=0, atol=1e-5 * expected.max().item())
    assert torch.cosine_similarity(features_of(rounded, examples), expected).min() > 0.999
    convolutions = [module for module in rounded.modules() if isinstance(module, FusedConv2d)]
    assert len(convolutions) == 27
    dtypes = [module.weight.dtype for module in convolutions]
    assert dtypes == [torch.float32] * 2 + [torch.bfloat16] * 25  # up to the first depthwise convolution


@pytest.mark.reference
def test_real_sounds_have_audiosets_class_of_their_name(
    released: YAMNet, weights: dict[str, Tensor], sounds: dict[str, list[Tensor]]
) -> None:
    hits = {}
    for name, clips in sounds.items():
        scores = [features_of(released, clip) @ weights["dense.weight"].T + weights["dense.bias"] for clip in clips]
        loudest = torch.stack([score.max(dim=0).values for score in scores])  # (4, 521): a bark is short
        loudest[:, [SILENCE, *range(FIRST_PLACE, 521)]] = -torch.inf
        hits[name] = sum(AUDIOSET_CLASSES[name] in five for five in loudest.topk(5).indices.tolist())
    assert min(hits.values()) >= 1, hits
    assert sum(hits.values()) >= 26, hits  # of 40; by chance it would be 0.4


@pytest.mark.reference
def test_rounding_keeps_the_features_of_real_sounds(released: YAMNet, sounds: dict[str, list[Tensor]]) -> None:
    examples = torch.cat([clip for clips in sounds.values() for clip in clips])  # (200, 96, 64)
    expected = features_of(released, examples)
    rounded = place(copy.deepcopy(released), "cpu", "bfloat16")
    cosines = torch.cosine_similarity(features_of(rounded, examples), expected)
    assert cosines.min() > 0.999  # all in bfloat16: 0.9971
