"""The recurrent encoder: sizes, what its vector is, and that padding and batching never change it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tristream.streams.config import RecurrentConfig
from tristream.streams.errors import UsageError
from tristream.streams.recurrent import RecurrentEncoder

FEATURES = 8

CONFIGS = [
    RecurrentConfig(hidden=6),
    RecurrentConfig("gru", hidden=5, layers=1, bidirectional=False),
    RecurrentConfig("gru", hidden=6, attention_heads=2),
    RecurrentConfig("lstm", hidden=6, layers=2, bidirectional=True),
    RecurrentConfig("lstm", hidden=6, layers=1, bidirectional=False, attention_heads=1),
    RecurrentConfig("rnn", hidden=6, layers=3, bidirectional=True),
    RecurrentConfig("lstm", hidden=6, layers=1, bidirectional=False, dense=(7, 5)),
    RecurrentConfig("gru", hidden=6, layers=2, projection=(10, 6), attention_heads=3, per_step=True),
    RecurrentConfig("lstm", hidden=6, layers=3, projection=(9, 7), dense=(5,), per_step=True, dropout=0.0),
    RecurrentConfig("mean"),
]
PER_STEP = [config for config in CONFIGS if config.per_step]


pytestmark = pytest.mark.usefixtures("one_thread")


def encoder(config: RecurrentConfig, features: int = FEATURES) -> RecurrentEncoder:
    torch.manual_seed(0)
    return RecurrentEncoder(features, config).eval()


def clips(lengths: list[int], seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, FEATURES, generator=generator) for length in lengths]


def padded(sequences: list[torch.Tensor], steps: int, fill: float) -> tuple[torch.Tensor, torch.Tensor]:
    features = torch.full((len(sequences), steps, FEATURES), fill)
    for row, sequence in zip(features, sequences, strict=True):
        row[: len(sequence)] = sequence
    return features, torch.tensor([len(sequence) for sequence in sequences])


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def trainable(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


# Padding and batching


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    more=st.integers(0, 12),
    fill=st.sampled_from([0.0, 1.0, -1e30, float("nan"), float("inf")]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=30)
def test_padding_changes_nothing_and_a_batch_is_its_clips_one_by_one(
    config: RecurrentConfig, lengths: list[int], more: int, fill: float, seed: int
) -> None:
    network, sequences = encoder(config), clips(lengths, seed)
    with torch.inference_mode():
        bare = network(*padded(sequences, max(lengths), 0.0))
        filled = network(*padded(sequences, max(lengths) + more, fill))
        alone = torch.cat([network(clip[None], torch.tensor([len(clip)])) for clip in sequences])
    torch.testing.assert_close(filled, bare, atol=1e-6, rtol=0)
    torch.testing.assert_close(bare, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    more=st.integers(0, 5),
    fill=st.sampled_from([0.0, -1e30, float("nan")]),
)
@settings(deadline=None, max_examples=15)
def test_each_clips_outputs_are_its_own_and_zero_beyond_it(
    config: RecurrentConfig, lengths: list[int], more: int, fill: float
) -> None:
    network, sequences = encoder(config), clips(lengths)
    steps = max(lengths) + more
    with torch.inference_mode():
        outputs = network.outputs(*padded(sequences, steps, fill))
        alone = [network.outputs(clip[None], torch.tensor([len(clip)]))[0] for clip in sequences]
    assert outputs.shape == (len(lengths), steps, network.vector_size)
    assert outputs.dtype == torch.float32
    for row, own in zip(outputs, alone, strict=True):
        torch.testing.assert_close(row[: len(own)], own, atol=1e-5, rtol=0)
        assert not row[len(own) :].any()


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_nan_beyond_a_clip_reaches_no_gradient(config: RecurrentConfig) -> None:
    network = encoder(config).train()
    features, lengths = padded(clips([3, 5]), 7, float("nan"))
    network(features.requires_grad_(), lengths).sum().backward()
    grads = [features.grad, *(parameter.grad for parameter in network.parameters() if parameter.requires_grad)]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in grads)


def test_the_papers_encoder_does_not_mind_padding_at_full_size() -> None:
    network = encoder(RecurrentConfig(), features=64)
    features = torch.randn(2, 60, 64)
    with torch.inference_mode():
        short = network(features[1:, :40], torch.tensor([40]))
        long = network(features, torch.tensor([60, 40]))
    torch.testing.assert_close(long[1:], short, atol=1e-5, rtol=0)


# What the vector is


def test_the_papers_encoder_gives_1024_from_two_bidirectional_gru_layers() -> None:
    network = encoder(RecurrentConfig(), features=1536)
    assert network.vector_size == 1024
    # Each direction of a layer: 3 gates of 512 units over the input, the state and two biases.
    gates = 3 * 512
    assert parameters(network) == 2 * gates * (1536 + 512 + 2) + 2 * gates * (1024 + 512 + 2)


@pytest.mark.parametrize(
    ("cell", "layers", "bidirectional", "size"),
    [("gru", 1, False, 7), ("gru", 3, True, 14), ("lstm", 2, False, 7), ("lstm", 1, True, 14), ("mean", 2, True, 8)],
)
def test_vector_size_is_what_forward_gives(cell: str, layers: int, bidirectional: bool, size: int) -> None:
    config = RecurrentConfig(cell, hidden=7, layers=layers, bidirectional=bidirectional)  # type: ignore[arg-type]
    network = encoder(config)
    vectors = network(*padded(clips([2, 4, 3]), 4, 0.0))
    assert network.vector_size == size
    assert vectors.shape == (3, size)
    assert vectors.dtype == torch.float32


def test_mean_is_the_mean_of_each_clips_own_steps_in_training_too() -> None:
    network = encoder(RecurrentConfig("mean")).train()
    sequences = clips([1, 6])
    vectors = network(*padded(sequences, 8, float("nan")))
    torch.testing.assert_close(vectors, torch.stack([clip.mean(dim=0) for clip in sequences]))
    assert parameters(network) == 0


def test_centred_vectors_are_as_long_as_their_stream_counts() -> None:
    torch.manual_seed(0)
    network = RecurrentEncoder(FEATURES, RecurrentConfig(hidden=4, centred=True, weight=0.25)).eval()
    features, lengths = padded(clips([1, 4, 6]), 8, 0.0)
    vectors = network(features, lengths)
    torch.testing.assert_close(vectors.norm(dim=1), torch.full((3,), (8 * 0.25) ** 0.5))
    plain = RecurrentEncoder(FEATURES, RecurrentConfig(hidden=4)).eval()
    plain.load_state_dict({name: tensor for name, tensor in network.state_dict().items() if name != "centre"})
    network.centre = torch.linspace(-1, 1, 8)
    about = plain(features, lengths) - network.centre
    expected = about / about.norm(dim=1, keepdim=True) * (8 * 0.25) ** 0.5
    torch.testing.assert_close(network(features, lengths), expected)


def test_per_step_the_vector_is_the_mean_of_the_outputs_at_a_clips_own_steps() -> None:
    for config in PER_STEP:
        network, sequences = encoder(config), clips([1, 4, 6])
        features, lengths = padded(sequences, 8, float("nan"))
        means = network.outputs(features, lengths).sum(dim=1) / lengths[:, None]
        torch.testing.assert_close(network(features, lengths), means)


def test_the_outputs_of_one_direction_end_with_the_vector() -> None:
    network = encoder(RecurrentConfig("lstm", hidden=6, layers=1, bidirectional=False, dense=(5,)))
    batch = padded(clips([3, 5]), 5, 0.0)
    outputs = network.outputs(*batch)
    torch.testing.assert_close(network(*batch), torch.stack([outputs[0, 2], outputs[1, 4]]))


def test_corehars_layers_have_the_papers_sizes() -> None:
    """Table 3: dense 1024 and 768 -> 512, three bidirectional layers of 512, dense 256 at each step."""
    config = RecurrentConfig("lstm", 512, 3, projection=(1024, 768, 512), dense=(256,), per_step=True, dropout=0.0)
    network = encoder(config, features=2048)
    projection = (2048 + 1) * 1024 + (1024 + 1) * 768 + (768 + 1) * 512
    gates = 4 * 512
    recurrence = 2 * gates * (512 + 512 + 1) + 2 * 2 * gates * (1024 + 512 + 1)
    assert trainable(network) == projection + recurrence + (1024 + 1) * 256
    assert network.vector_size == 256


def test_dense_layers_are_of_relu_with_dropout_before_each_but_none_in_the_projection() -> None:
    network = encoder(RecurrentConfig("lstm", 6, 1, projection=(9, 7), dense=(5, 4), dropout=0.25))
    kinds = [nn.Dropout, nn.Linear, nn.ReLU] * 2
    assert [type(layer) for layer in network.dense] == kinds
    assert [network.dense[0].p, network.dense[3].p, network.dropout.p] == [0.25] * 3
    assert [network.projection[0].p, network.projection[3].p] == [0.0] * 2
    assert network(*padded(clips([5]), 5, 0.0)).min() >= 0


def test_an_lstm_trains_one_bias_vector_a_gate_as_keras_counts() -> None:
    network = encoder(RecurrentConfig("lstm", hidden=32, layers=1, bidirectional=False), features=64).train()
    assert trainable(network) == 4 * 32 * (64 + 32 + 1) == 12_416
    second = [parameter for name, parameter in network.named_parameters() if "bias_hh" in name]
    network(torch.randn(2, 3, 64), torch.tensor([3, 2])).sum().backward()
    torch.optim.SGD([each for each in network.parameters() if each.requires_grad], lr=1.0).step()
    assert len(second) == 1
    assert not second[0].any()


@pytest.mark.parametrize("config", CONFIGS[:-1], ids=str)
def test_the_order_of_steps_matters(config: RecurrentConfig) -> None:
    clip = clips([6])[0][None]
    network, lengths = encoder(config), torch.tensor([6])
    assert not torch.allclose(network(clip, lengths), network(clip.flip(1), lengths), atol=1e-3)


def test_attention_is_a_normed_residual_over_a_clips_own_steps() -> None:
    network = encoder(RecurrentConfig(hidden=6, attention_heads=2))
    assert network.attention is not None
    with torch.inference_mode():
        features, padding = torch.randn(1, 5, FEATURES), torch.zeros(1, 5, dtype=torch.bool)
        attended = network.attention(features, padding)
        for projection in network.attention.attention.out_proj.parameters():
            projection.zero_()
        alone = network.attention(features, padding)
    torch.testing.assert_close(alone, nn.functional.layer_norm(features, [FEATURES]))  # what the residual carries
    assert not torch.allclose(attended, alone, atol=1e-2)


# Dropout and precision


def test_dropout_is_on_the_input_and_between_layers_in_training_only() -> None:
    network = encoder(RecurrentConfig(hidden=6, dropout=0.5))
    assert network.recurrence is not None
    assert (network.dropout.p, network.recurrence.dropout.p) == (0.5, 0.5)
    batch = padded(clips([5]), 5, 0.0)
    torch.testing.assert_close(network(*batch), network(*batch), atol=0, rtol=0)
    network.train()
    assert not torch.allclose(network(*batch), network(*batch))


def test_one_layer_has_dropout_on_its_input_and_warns_of_nothing() -> None:
    network = encoder(RecurrentConfig(hidden=6, layers=1, dropout=0.5)).train()
    batch = padded(clips([5]), 5, 0.0)
    assert not torch.allclose(network(*batch), network(*batch))


@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[2], *PER_STEP, CONFIGS[-1]], ids=str)
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_features_of_any_float_type_give_float32(config: RecurrentConfig, kind: torch.dtype) -> None:
    features, lengths = padded(clips([3, 5]), 5, 0.0)
    network = encoder(config)
    vectors = network(features.to(kind), lengths)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors, network(features, lengths), atol=0.02, rtol=0.02)


def test_a_batch_of_no_clips_gives_no_vectors() -> None:
    nothing = torch.zeros(0, 0, FEATURES), torch.zeros(0, dtype=torch.int64)
    assert encoder(CONFIGS[0])(*nothing).shape == (0, 12)
    assert encoder(CONFIGS[0]).outputs(*nothing).shape == (0, 0, 12)


# Refusals


@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[-1]], ids=str)
@pytest.mark.parametrize(("bad", "message"), [(0, "from 1 to T = 4, got 0"), (5, "got 5"), (-2, "got -2")])
def test_a_length_that_no_clip_has_is_refused(config: RecurrentConfig, bad: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        encoder(config)(torch.zeros(2, 4, FEATURES), torch.tensor([3, bad]))


@pytest.mark.parametrize("shape", [(4, FEATURES), (2, 4, FEATURES + 1), (3, 4, FEATURES)])
def test_features_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"features \(B, T, 8\) and lengths \(B,\), got"):
        encoder(CONFIGS[0])(torch.zeros(shape), torch.tensor([3, 2]))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (RecurrentConfig(layers=0), "layers of a recurrent encoder must be at least 1, got 0"),
        (RecurrentConfig(hidden=-3), "hidden of a recurrent encoder must be at least 1, got -3"),
        (RecurrentConfig(attention_heads=3), "attention_heads must divide the 8 step features, got 3"),
        (RecurrentConfig(attention_heads=-1), "attention_heads must divide the 8 step features, got -1"),
        (RecurrentConfig(projection=(9,), attention_heads=2), "must divide the 9 step features, got 2"),
        (RecurrentConfig("mean", attention_heads=2), "'mean' has no parameters"),
        (RecurrentConfig("mean", projection=(4,)), "'mean' has no parameters: projection must be none"),
        (RecurrentConfig("mean", dense=(4,)), "'mean' has no parameters: dense must be none"),
        (RecurrentConfig(projection=(4, 0)), "projection of a recurrent encoder must be at least 1, got 0"),
        (RecurrentConfig(dense=(-1, 4)), "dense of a recurrent encoder must be at least 1, got -1"),
        (RecurrentConfig(filters=(4,)), "filters are those of a convlstm; 'gru' has none"),
        (
            RecurrentConfig(centred=True, weight=0.0),
            "weight of a centred stream is a number over 0, of others 1; got 0",
        ),
        (RecurrentConfig(centred=True, weight=float("nan")), "got nan"),
        (RecurrentConfig(weight=0.5), "of others 1; got 0.5"),
        (RecurrentConfig(dropout=1.0), "dropout must be at least 0 and under 1, got 1.0"),
        (RecurrentConfig("transformer"), "one of gru, lstm, rnn, mean; got 'transformer'"),  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_a_config_of_no_encoder_is_refused(config: RecurrentConfig, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RecurrentEncoder(FEATURES, config)
