"""The audio CNNs: VGGish equal to TensorFlow's definition under both ports' names, the small CNN, the choice."""

from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tristream.streams.audio import SmallAudioCNN, VGGish, build_audio_cnn, load_audio_cnn, load_vggish
from tristream.streams.config import AudioCNNName, AudioConfig
from tristream.streams.errors import ModelError
from tristream.streams.log_mel import LOG_OFFSETS, log_mel_examples
from tristream.streams.weights import read_weights
from tristream.streams.yamnet import YAMNet

# The released checkpoint: scope, shape of its weights, in the order of the network.
TF_LAYERS = {
    "vggish/conv1": (3, 3, 1, 64),
    "vggish/conv2": (3, 3, 64, 128),
    "vggish/conv3/conv3_1": (3, 3, 128, 256),
    "vggish/conv3/conv3_2": (3, 3, 256, 256),
    "vggish/conv4/conv4_1": (3, 3, 256, 512),
    "vggish/conv4/conv4_2": (3, 3, 512, 512),
    "vggish/fc1/fc1_1": (12_288, 4096),
    "vggish/fc1/fc1_2": (4096, 4096),
    "vggish/fc2": (4096, 128),
}
POOLED = {"vggish/conv1", "vggish/conv2", "vggish/conv3/conv3_2", "vggish/conv4/conv4_2"}
PORT_LAYERS = [f"features.{k}" for k in (0, 3, 6, 8, 11, 13)] + [f"embeddings.{k}" for k in (0, 2, 4)]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tf_arrays() -> dict[str, NDArray[np.float32]]:
    """Random weights as TensorFlow names and lays them out, of a scale that keeps the signal's."""
    random, arrays = np.random.default_rng(0), {}
    for scope, shape in TF_LAYERS.items():
        scale = np.float32(np.sqrt(2 / np.prod(shape[:-1])))
        arrays[f"{scope}/weights"] = scale * random.standard_normal(shape, np.float32)
        arrays[f"{scope}/biases"] = np.float32(0.1) * random.standard_normal(shape[-1], np.float32)
    return arrays


@pytest.fixture(scope="module")
def vggish(tf_arrays: dict[str, NDArray[np.float32]]) -> VGGish:
    """VGGish with the weights of `tf_arrays`."""
    module = VGGish().eval()
    load_vggish(module, tensors(tf_arrays), "vggish.npz")
    return module


@pytest.fixture(scope="module")
def examples() -> Tensor:
    """Log-mel examples (3, 96, 64): noise, a tone and silence."""
    noise = np.random.default_rng(1).uniform(-1, 1, 15_600)
    tone = np.sin(2 * np.pi * 800 * np.arange(15_600) / 16_000)
    return torch.from_numpy(np.concatenate([log_mel_examples(x) for x in (noise, tone, np.zeros(15_600))]))


@pytest.fixture
def empty_vggish() -> VGGish:
    """VGGish without memory, for what must be refused before anything is loaded."""
    with torch.device("meta"):
        return VGGish()


def tensors(arrays: dict[str, NDArray[np.float32]], suffix: str = "") -> dict[str, Tensor]:
    return {name + suffix: torch.from_numpy(array) for name, array in arrays.items()}


def features_of(module: nn.Module, examples: Tensor) -> Tensor:
    with torch.inference_mode():
        features: Tensor = module(examples)
    return features


def tf_forward(arrays: dict[str, NDArray[np.float32]], example: NDArray[np.float32]) -> NDArray[np.float32]:
    """TensorFlow's definition in plain numpy: (96, 64) -> (128,), channels last throughout."""
    net = example[:, :, None]  # (96, 64, 1)
    for scope, shape in TF_LAYERS.items():
        weights, biases = arrays[f"{scope}/weights"], arrays[f"{scope}/biases"]
        if len(shape) == 4:
            windows = sliding_window_view(np.pad(net, ((1, 1), (1, 1), (0, 0))), (3, 3), axis=(0, 1))
            net = np.einsum("hwcij,ijco->hwo", windows, weights, optimize=True) + biases
        else:
            net = net.reshape(-1) @ weights + biases  # (6, 4, 512) flattens to 12,288 here
        if scope != "vggish/fc2":
            net = np.maximum(net, 0)
        if scope in POOLED:
            height, width, channels = net.shape
            net = net.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))
    return net


def test_vggish_equals_the_tensorflow_definition(
    vggish: VGGish, tf_arrays: dict[str, NDArray[np.float32]], examples: Tensor
) -> None:
    features = features_of(vggish, examples)
    assert features.shape == (3, vggish.feature_size)
    expected = tf_forward(tf_arrays, examples[0].numpy())
    assert expected.std() > 0.1
    np.testing.assert_allclose(features[0].numpy(), expected, rtol=1e-3, atol=1e-4 * expected.std())


def test_features_are_those_before_the_last_activation(vggish: VGGish, examples: Tensor) -> None:
    share_below_zero = float((features_of(vggish, examples) < 0).float().mean())
    assert 0.2 < share_below_zero < 0.8


def test_both_namings_give_the_same_network(
    vggish: VGGish, tf_arrays: dict[str, NDArray[np.float32]], examples: Tensor
) -> None:
    port = {"pproc.pca_means": torch.zeros(128, 1)}  # the port's file may hold more than the network
    for layer, scope in zip(PORT_LAYERS, TF_LAYERS, strict=True):
        weights = tf_arrays[f"{scope}/weights"]
        port[f"{layer}.weight"] = torch.from_numpy(weights.transpose((3, 2, 0, 1) if weights.ndim == 4 else (1, 0)))
        port[f"{layer}.bias"] = torch.from_numpy(tf_arrays[f"{scope}/biases"])
    other = VGGish().eval()
    before = features_of(other, examples)
    load_vggish(other, port, "vggish.safetensors")
    assert not torch.allclose(before, features_of(vggish, examples), atol=1e-3)
    assert torch.equal(features_of(other, examples), features_of(vggish, examples))
    with torch.no_grad():
        other.embeddings[4].bias.zero_()
    more = {"global_step": torch.tensor(1), "vggish/conv1/weights/Adam:0": torch.zeros(1)}
    load_vggish(other, {**tensors(tf_arrays, suffix=":0"), **more}, "vggish.npz")
    assert torch.equal(features_of(other, examples), features_of(vggish, examples))


def test_parameters_are_named_as_in_the_port(empty_vggish: VGGish) -> None:
    names = [f"{layer}.{kind}" for layer in PORT_LAYERS for kind in ("weight", "bias")]
    state = empty_vggish.state_dict()
    assert list(state) == names
    assert state["features.11.weight"].shape == (512, 256, 3, 3)
    assert state["embeddings.0.weight"].shape == (4096, 12_288)
    assert sum(tensor.numel() for tensor in state.values()) == 72_141_184  # of the release


@pytest.mark.parametrize(
    ("names", "met"),
    [
        ([], "got nothing"),
        (["layer1.conv.weight", "a.bias"], r"yam\.npz holds no VGGish weights.*2 tensors: 'a.bias', 'layer1"),
        (["embeddings.0.weight"], "features.0.weight"),
        (["features.0.weight"], "lacks 17 of 18 tensors, first 'features.0.bias'"),
        (["vggish/conv1/weights:0"], "lacks 17 of VGGish's 18 tensors, first 'vggish/conv1/biases'"),
    ],
)
def test_other_weights_are_refused_by_name(empty_vggish: VGGish, names: list[str], met: str) -> None:
    with pytest.raises(ModelError, match=met):
        load_vggish(empty_vggish, {name: torch.zeros(1) for name in names}, "yam.npz")


@pytest.mark.parametrize("shape", [(3, 3, 64, 1), (64, 1), (5,), ()])
def test_a_tensor_of_another_shape_is_refused(empty_vggish: VGGish, shape: tuple[int, ...]) -> None:
    weights = {f"{scope}/{kind}": torch.zeros(1) for scope in TF_LAYERS for kind in ("weights", "biases")}
    weights["vggish/conv1/weights"] = torch.zeros(shape)
    with pytest.raises(ModelError, match=r"w\.npz, turned from .*features\.0\.weight has shape"):
        load_vggish(empty_vggish, weights, "w.npz")


def test_names_survive_an_npz_file(empty_vggish: VGGish, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{"vggish/conv1/weights:0": np.zeros((3, 3, 1, 64), np.float32)})
    with pytest.raises(ModelError, match="first 'vggish/conv1/biases'"):
        load_vggish(empty_vggish, read_weights(tmp_path / "w.npz"), "w.npz")


@pytest.fixture
def small() -> SmallAudioCNN:
    torch.manual_seed(0)
    return SmallAudioCNN().eval()


def test_small_cnn_is_small(small: SmallAudioCNN, examples: Tensor) -> None:
    with FlopCounterMode(display=False) as counter:
        features_of(small, examples[:1])
    assert sum(p.numel() for p in small.parameters()) == 1_081_472
    assert counter.get_total_flops() < 40e6  # a multiply-add is two


@pytest.mark.parametrize("name", ["small", "vggish"])
def test_each_example_is_seen_alone(request: pytest.FixtureRequest, name: str, examples: Tensor) -> None:
    module: nn.Module = request.getfixturevalue(name)
    features = features_of(module, examples)
    assert features.shape == (3, module.feature_size)
    for k in range(3):
        torch.testing.assert_close(features_of(module, examples[k : k + 1])[0], features[k], rtol=1e-4, atol=1e-5)
    assert torch.pdist(features).min() > 1e-5  # noise, tone and silence differ, if little while untrained
    assert features_of(module, examples[:0]).shape == (0, module.feature_size)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_bfloat16_stays_near_float32(small: SmallAudioCNN, examples: Tensor, layout: torch.memory_format) -> None:
    expected = features_of(small, examples)
    half = small.to(dtype=torch.bfloat16, memory_format=layout)
    features = features_of(half, examples)
    assert features.dtype == torch.float32
    assert torch.cosine_similarity(features, expected).min() > 0.999
    assert features_of(half, examples.double()).equal(features)  # steps of any float type


def test_vggish_in_channels_last_is_the_same(vggish: VGGish, examples: Tensor) -> None:
    expected = features_of(vggish, examples[:1])
    vggish.to(memory_format=torch.channels_last)
    features = features_of(vggish, examples[:1].double())
    vggish.to(memory_format=torch.contiguous_format)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def test_small_cnn_learns_to_tell_two_tones() -> None:
    torch.manual_seed(0)
    cnn, head = SmallAudioCNN(), nn.Linear(1024, 2)
    random, time = np.random.default_rng(2), np.arange(15_600) / 16_000
    hertz = np.where(np.arange(160) % 2, random.uniform(600, 1200, 160), random.uniform(1800, 3600, 160))
    steps = torch.from_numpy(np.concatenate([log_mel_examples(np.sin(2 * np.pi * f * time)) for f in hertz]))
    labels = torch.arange(160) % 2
    optimiser = torch.optim.Adam([*cnn.parameters(), *head.parameters()], lr=1e-3)
    for _ in range(12):
        optimiser.zero_grad()
        nn.functional.cross_entropy(head(cnn(steps[:128])), labels[:128]).backward()
        optimiser.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in cnn.parameters())
    for norm in [m for m in cnn.modules() if isinstance(m, nn.BatchNorm2d)]:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean: the running ones lag behind so short a training
    features_of(cnn, steps[:128])
    right = features_of(head, features_of(cnn.eval(), steps[128:])).argmax(1) == labels[128:]
    assert right.float().mean() > 0.9


def test_the_config_names_the_cnn() -> None:
    kinds = {"vggish": VGGish, "yamnet": YAMNet, "small": SmallAudioCNN}
    assert set(get_args(get_type_hints(AudioConfig)["cnn"])) == set(kinds) == set(LOG_OFFSETS)
    with torch.device("meta"):
        assert {name: type(build_audio_cnn(AudioConfig(cnn=name))) for name in kinds} == kinds


def test_the_seed_decides_the_weights(small: SmallAudioCNN, examples: Tensor) -> None:
    torch.manual_seed(0)
    again = build_audio_cnn(AudioConfig(cnn="small")).eval()
    assert torch.equal(features_of(again, examples), features_of(small, examples))


def built(cnn: AudioCNNName) -> VGGish | YAMNet | SmallAudioCNN:
    with torch.device("meta"):
        return build_audio_cnn(AudioConfig(cnn=cnn))


@pytest.mark.parametrize("chosen", ["vggish", "yamnet", "small"])
@pytest.mark.parametrize("held", ["vggish", "yamnet", "small"])
def test_weights_of_another_audio_cnn_are_refused_with_its_name(chosen: AudioCNNName, held: AudioCNNName) -> None:
    weights = built(held).state_dict()
    if held == chosen:
        return load_audio_cnn(built(chosen), weights, "w.npz")
    with pytest.raises(ModelError, match=rf"w\.npz holds the weights of {held}, .* is {chosen}: .*--audio-cnn {held}"):
        load_audio_cnn(built(chosen), weights, "w.npz")


def test_vggish_is_known_by_tensorflows_names_too(tf_arrays: dict[str, NDArray[np.float32]]) -> None:
    with pytest.raises(ModelError, match="holds the weights of vggish, but the audio CNN is yamnet"):
        load_audio_cnn(built("yamnet"), tensors(tf_arrays, suffix=":0"), "vggish.npz")


@pytest.mark.parametrize("cnn", ["vggish", "yamnet", "small"])
def test_weights_of_something_else_are_refused(cnn: AudioCNNName) -> None:
    with pytest.raises(ModelError, match=r"^r\.npz (holds no VGGish weights|lacks \d+ of \d+ tensors)"):
        load_audio_cnn(built(cnn), {"conv1.weight": torch.zeros(1)}, "r.npz")


def test_loaded_weights_are_the_files(small: SmallAudioCNN, examples: Tensor) -> None:
    torch.manual_seed(1)
    other = SmallAudioCNN().eval()
    assert not torch.equal(features_of(other, examples), features_of(small, examples))
    load_audio_cnn(other, small.state_dict(), "small.npz")
    assert torch.equal(features_of(other, examples), features_of(small, examples))
