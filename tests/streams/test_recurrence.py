"""Recurrent layers without packing: the same as PyTorch's own, packed, with the same weights."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tristream.streams.config import RecurrentConfig
from tristream.streams.recurrence import CELLS, Recurrence

INPUTS, HIDDEN = 5, 4
CONFIGS = [
    RecurrentConfig(cell, hidden=HIDDEN, layers=layers, bidirectional=bidirectional)
    for cell in ("gru", "lstm", "rnn")
    for layers in (1, 3)
    for bidirectional in (False, True)
]


def pytorchs_own(recurrence: Recurrence, config: RecurrentConfig) -> nn.RNNBase:
    """PyTorch's stacked layers with the weights of ours."""
    own = CELLS[config.cell](
        INPUTS, HIDDEN, config.layers, batch_first=True, bidirectional=config.bidirectional, dropout=0.0
    )
    weights = {}
    for number, layer in enumerate(recurrence.layers):
        for direction, module in enumerate(layer.children()):
            end = f"_l{number}" + ("_reverse" if direction else "")
            weights |= {name.replace("_l0", end): tensor for name, tensor in module.state_dict().items()}
    own.load_state_dict(weights)
    return own


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_it_gives_what_pytorch_gives_for_packed_sequences(config: RecurrentConfig) -> None:
    torch.manual_seed(0)
    recurrence = Recurrence(INPUTS, config).eval()
    own = pytorchs_own(recurrence, config)
    steps, lengths = torch.randn(4, 9, INPUTS), torch.tensor([9, 1, 6, 8])
    with torch.inference_mode():
        outputs, states = recurrence(steps, lengths)
        packed, state = own(pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, batch_first=True)
    hidden = state[0] if isinstance(state, tuple) else state  # an LSTM gives its hidden state, not its cell
    directions = 2 if config.bidirectional else 1
    torch.testing.assert_close(states, hidden[-directions:].transpose(0, 1).flatten(1))
    assert recurrence.output_size == outputs.shape[2] == directions * HIDDEN
    for row, wanted, length in zip(outputs, expected, lengths.tolist(), strict=True):
        torch.testing.assert_close(row[:length], wanted[:length])


def test_only_one_bias_of_an_lstm_is_trained() -> None:
    recurrence = Recurrence(64, RecurrentConfig("lstm", hidden=32, layers=1, bidirectional=False))
    trained = sum(parameter.numel() for parameter in recurrence.parameters() if parameter.requires_grad)
    assert trained == 4 * (64 * 32 + 32 * 32 + 32) == 12_416  # PAPERS.md, lrcn2024
