"""The convolutional LSTM: the paper's parameters and shapes, and that it is an LSTM."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tristream.streams.config import RecurrentConfig
from tristream.streams.convlstm import ConvLSTM, ConvLSTMEncoder
from tristream.streams.errors import UsageError

PAPERS = RecurrentConfig("convlstm", filters=(4, 8, 14, 16), dropout=0.2)
SMALL = RecurrentConfig("convlstm", filters=(2, 3), dropout=0.2)
SIDE = 9
FEATURES = 3 * SIDE**2
STEPS = 4


pytestmark = pytest.mark.usefixtures("one_thread")


def small_encoder() -> ConvLSTMEncoder:
    torch.manual_seed(0)
    return ConvLSTMEncoder(FEATURES, SMALL, STEPS).eval()


def clips(count: int, steps: int = STEPS, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, steps, FEATURES, generator=torch.Generator().manual_seed(seed))


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


# The paper's table


def test_the_papers_parameters_layer_by_layer_and_44524_with_four_classes() -> None:
    network = ConvLSTMEncoder(64 * 64 * 3, PAPERS, 20)
    head = nn.Linear(network.vector_size, 4)
    assert [parameters(layer) for layer in network.layers] == [1024, 3488, 11_144, 17_344]
    assert network.vector_size == 20 * 3 * 3 * 16 == 2880
    assert parameters(head) == 11_524
    assert parameters(network) + parameters(head) == 44_524


def test_the_papers_shapes_layer_by_layer() -> None:
    network = ConvLSTMEncoder(64 * 64 * 3, PAPERS, 20).eval()
    shapes: list[tuple[int, ...]] = []
    for layer in network.layers:
        layer.register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape[1:])))
    network.pool.register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape)))
    with torch.inference_mode():
        assert network(torch.rand(1, 20, 12_288), torch.tensor([20])).shape == (1, 2880)
    assert shapes == [
        *((20, 4, 62, 62), (20, 4, 31, 31), (20, 8, 29, 29), (20, 8, 15, 15)),
        *((20, 14, 13, 13), (20, 14, 7, 7), (20, 16, 5, 5), (20, 16, 3, 3)),
    ]


# What a layer is


def test_on_a_single_pixel_it_is_an_lstm() -> None:
    """3x3 pictures leave one pixel, of whose state the recurrent convolution sees its middle only."""
    torch.manual_seed(0)
    layer, lstm = ConvLSTM(2, 5, dropout=0.0), nn.LSTM(2 * 9, 5, batch_first=True)
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(layer.input.weight.flatten(1))
        lstm.weight_hh_l0.copy_(layer.recurrent.weight[:, :, 1, 1])
        lstm.bias_ih_l0.copy_(layer.input.bias)
        lstm.bias_hh_l0.zero_()
    maps = torch.randn(3, 6, 2, 3, 3)
    states, _ = lstm(maps.flatten(2))
    torch.testing.assert_close(layer(maps).flatten(2), states)


def test_the_state_reaches_one_pixel_further_with_every_step() -> None:
    torch.manual_seed(0)
    layer = ConvLSTM(1, 3, dropout=0.0)
    maps = torch.zeros(2, 3, 1, 11, 11)
    maps[1, 0, 0, 5, 5] = 1.0  # seen by the 3x3 states around the middle of 9x9
    changed = (layer(maps)[0] - layer(maps)[1]).abs().sum(dim=1) > 1e-9  # (T, 9, 9)
    assert changed.sum(dim=(1, 2)).tolist() == [9, 25, 49]


def test_it_starts_with_keras_biases() -> None:
    bias = ConvLSTM(3, 4, dropout=0.0).input.bias
    assert bias is not None
    assert bias.reshape(4, 4).tolist() == [[0] * 4, [1] * 4, [0] * 4, [0] * 4]  # the second gate forgets


def test_recurrent_dropout_leaves_the_first_step_and_is_for_training_only() -> None:
    torch.manual_seed(0)
    layer, maps = ConvLSTM(1, 3, dropout=0.5), torch.randn(1, 2, 1, 6, 6)
    one, other = layer(maps), layer(maps)
    assert torch.equal(one[:, 0], other[:, 0])  # nothing went back yet
    assert not torch.equal(one[:, 1], other[:, 1])
    layer.eval()
    assert torch.equal(layer(maps), layer(maps))


# The encoder


@given(count=st.integers(1, 4), more=st.integers(0, 3), fill=st.sampled_from([0.0, 1e30, float("nan")]))
@settings(deadline=None, max_examples=15)
def test_padding_changes_nothing_and_a_batch_is_its_clips_one_by_one(count: int, more: int, fill: float) -> None:
    network, features = small_encoder(), clips(count)
    lengths = torch.full((count,), STEPS)
    filled = torch.cat([features, torch.full((count, more, FEATURES), fill)], dim=1)
    with torch.inference_mode():
        bare = network(features, lengths)
        alone = torch.cat([network(clip[None], torch.tensor([STEPS])) for clip in features])
        torch.testing.assert_close(network(filled, lengths), bare, atol=1e-6, rtol=0)
    torch.testing.assert_close(alone, bare, atol=1e-6, rtol=0)
    assert bare.shape == (count, network.vector_size)
    assert bare.dtype == torch.float32


def test_the_vector_holds_the_steps_in_their_order() -> None:
    network = small_encoder()
    features = clips(1)
    later = features.clone()
    later[:, 2] = 0.0  # changes the third step and those after it
    lengths = torch.tensor([STEPS])
    same = (network(features, lengths) == network(later, lengths)).reshape(STEPS, -1)
    assert same.all(dim=1).tolist() == [True, True, False, False]


def test_features_are_pictures_row_by_row_with_their_colours_together() -> None:
    network = small_encoder()
    seen: list[torch.Tensor] = []
    network.layers[0].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    pictures = torch.rand(1, STEPS, SIDE, SIDE, 3)
    network(pictures.flatten(2), torch.tensor([STEPS]))
    assert torch.equal(seen[0], pictures.permute(0, 1, 4, 2, 3))


def test_it_learns() -> None:
    torch.manual_seed(0)
    network = small_encoder().train()
    network(clips(2).half(), torch.tensor([STEPS] * 2)).sum().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in network.parameters())


def test_a_batch_of_no_clips_gives_no_vectors() -> None:
    network = small_encoder()
    nothing = network(torch.zeros(0, 0, FEATURES), torch.zeros(0, dtype=torch.int64))
    assert nothing.shape == (0, network.vector_size)


# Refusals


@pytest.mark.parametrize("length", [0, 3, 5])
def test_a_clip_of_another_length_is_refused_and_says_what_to_do(length: int) -> None:
    with pytest.raises(UsageError, match=rf"of 4 steps needs clips of just so many, got {length} .*repeat_last"):
        small_encoder()(clips(2, 5), torch.tensor([STEPS, length]))
    with pytest.raises(UsageError, match="got 4 of T = 3"):
        small_encoder()(clips(1, 3), torch.tensor([STEPS]))


@pytest.mark.parametrize("shape", [(4, FEATURES), (2, 4, FEATURES + 3), (3, 4, FEATURES)])
def test_features_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"features \(B, T, 243\) and lengths \(B,\), got"):
        small_encoder()(torch.zeros(shape), torch.tensor([STEPS] * 2))


@pytest.mark.parametrize(
    ("features", "config", "steps", "message"),
    [
        (2048, SMALL, 4, r"square RGB pictures.*2048"),
        (0, SMALL, 4, "square RGB pictures"),
        (3 * 5**2, SMALL, 4, "layer 2 of a convlstm needs maps of 3 pixels a side, 2 are left"),
        (FEATURES, RecurrentConfig("convlstm"), 4, r"filters of each of its layers, at least 1, got \(\)"),
        (FEATURES, RecurrentConfig("convlstm", filters=(4, 0)), 4, r"got \(4, 0\)"),
        (FEATURES, SMALL, 0, "at least 1 step, got 0"),
        (FEATURES, RecurrentConfig("convlstm", filters=(4,), dropout=1.0), 4, "under 1, got 1.0"),
        (FEATURES, RecurrentConfig("convlstm", filters=(4,), dense=(8,)), 4, r"has no dense, got \(8,\)"),
        (FEATURES, RecurrentConfig("convlstm", filters=(4,), per_step=True), 4, "has no per_step"),
    ],
)
def test_a_config_of_no_encoder_is_refused(features: int, config: RecurrentConfig, steps: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ConvLSTMEncoder(features, config, steps)
