"""The factory of encoders: the cell decides."""

import pytest

from tristream.streams.config import RecurrentConfig
from tristream.streams.convlstm import ConvLSTMEncoder
from tristream.streams.encoder import build_encoder
from tristream.streams.errors import UsageError
from tristream.streams.recurrent import RecurrentEncoder


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn", "mean"])
def test_most_cells_are_of_any_number_of_steps(cell: str) -> None:
    config = RecurrentConfig(cell, hidden=4, layers=1)  # type: ignore[arg-type]
    encoder = build_encoder(12, config, max_steps=20)
    assert isinstance(encoder, RecurrentEncoder)
    assert encoder.vector_size == (12 if cell == "mean" else 8)


def test_a_convlstm_is_of_just_so_many() -> None:
    config = RecurrentConfig("convlstm", filters=(5,))
    encoder = build_encoder(3 * 8**2, config, max_steps=7)
    assert isinstance(encoder, ConvLSTMEncoder)
    assert (encoder.steps, encoder.vector_size) == (7, 7 * 3 * 3 * 5)


def test_an_unknown_cell_is_refused() -> None:
    with pytest.raises(UsageError, match="got 'transformer'"):
        build_encoder(12, RecurrentConfig("transformer"), 20)  # type: ignore[arg-type]
