"""Recurrent encoder: padded step features (B, T, F) and lengths (B,) -> stream vectors (B, D) float32."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from tristream.streams.config import RecurrentConfig
from tristream.streams.errors import UsageError

CELLS: dict[str, type[nn.GRU] | type[nn.LSTM] | type[nn.RNN]] = {
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "rnn": nn.RNN,
}


class RecurrentEncoder(nn.Module):
    """Step features of several clips in, their stream vectors out; hides padding, packing and state layouts.

    The paper's (Tkachenko 2018, IV.E): a two-layer bidirectional GRU of 512 units a direction, the final
    states of both directions of the last layer joined -> 1024. Dropout is on the input and between layers
    (V.D); the one before the dense layer belongs to the head that training puts on top. Cell `mean` is the
    mean of a clip's steps instead: no parameters, no dropout.

    Attributes:
        vector_size: D, the length of a stream vector.

    Raises:
        UsageError: an unknown cell, a size under 1, dropout outside [0, 1), attention heads that do not
            divide F, or attention before `mean`.
    """

    def __init__(self, feature_size: int, config: RecurrentConfig) -> None:
        super().__init__()
        _check_config(feature_size, config)
        self.feature_size = feature_size
        self.vector_size = feature_size
        self.attention: StepAttention | None = None
        self.recurrence: nn.RNNBase | None = None
        if config.cell == "mean":
            return
        self.vector_size = config.hidden * (2 if config.bidirectional else 1)
        self.dropout = nn.Dropout(config.dropout)
        if config.attention_heads:
            self.attention = StepAttention(feature_size, config.attention_heads)
        self.recurrence = CELLS[config.cell](
            feature_size,
            config.hidden,
            config.layers,
            batch_first=True,
            bidirectional=config.bidirectional,
            dropout=config.dropout if config.layers > 1 else 0.0,  # one layer has no "between", and PyTorch warns
        )

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The stream vectors (B, D) float32 of `features` (B, T, F), of which clip b has `lengths[b]` steps.

        `lengths` (B,) int64 stays on the CPU. What is beyond a clip's length, NaN included, changes nothing.

        Raises:
            UsageError: another shape, or a length that is not from 1 to T: mask clips without this stream.
        """
        self._check(features, lengths)
        if len(lengths) == 0:
            return features.new_zeros(0, self.vector_size, dtype=torch.float32)
        features = features[:, : int(lengths.max())]  # padding that no clip reaches costs nothing
        steps = torch.arange(features.shape[1], device=features.device)
        padding = steps >= lengths.to(features.device)[:, None]  # (B, T)
        features = features.masked_fill(padding[..., None], 0.0)  # NaN times an attention weight of 0 is NaN
        if self.recurrence is None:
            return _mean(features, lengths)
        features = self.dropout(features.to(next(self.parameters()).dtype))
        if self.attention is not None:
            features = self.attention(features, padding)
        return _final_states(self.recurrence, features, lengths).float()

    def _check(self, features: torch.Tensor, lengths: torch.Tensor) -> None:
        """Refuse what is not (B, T, F) with lengths (B,) from 1 to T."""
        if features.ndim != 3 or features.shape[2] != self.feature_size or lengths.shape != features.shape[:1]:
            raise UsageError(
                f"the recurrent encoder needs features (B, T, {self.feature_size}) and lengths (B,), "
                f"got {tuple(features.shape)} and {tuple(lengths.shape)}"
            )
        steps = features.shape[1]
        if bad := [length for length in lengths.tolist() if not 1 <= length <= steps]:
            raise UsageError(
                f"lengths must be from 1 to T = {steps}, got {bad[0]}: leave clips without this stream out"
            )


class StepAttention(nn.Module):
    """Self-attention over a clip's steps: features (B, T, F), padding (B, T) bool -> (B, T, F).

    The paper puts an attention layer after the input (V.E, with 75.03 % against 78.34 % without) and says no
    more than that it is Vaswani et al. 2017's. So it is their encoder's sub-layer (section 3.1),
    LayerNorm(x + attention(x)): the residual keeps each step's own features in place, and the recurrence that
    follows knows the order, so no position encoding is added.
    """

    def __init__(self, feature_size: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(feature_size, heads, batch_first=True)
        self.norm = nn.LayerNorm(feature_size)

    def forward(self, features: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        """The features (B, T, F), each in the light of its clip's; `padding` is True beyond the clip."""
        attended, _ = self.attention(features, features, features, key_padding_mask=padding, need_weights=False)
        normed: torch.Tensor = self.norm(features + attended)
        return normed


def _final_states(recurrence: nn.RNNBase, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The last layer's final states (B, D), those of both directions joined."""
    packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
    _, state = recurrence(packed)
    hidden = state[0] if isinstance(state, tuple) else state  # an LSTM's state is (hidden, cell)
    directions = 2 if recurrence.bidirectional else 1
    last: torch.Tensor = hidden[-directions:]  # (layers·directions, B, hidden) -> (directions, B, hidden)
    return last.transpose(0, 1).flatten(1)  # (B, D)


def _mean(features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The mean (B, F) of each clip's steps; the padding is zero already."""
    return features.float().sum(dim=1) / lengths.to(features.device)[:, None]


def _check_config(feature_size: int, config: RecurrentConfig) -> None:
    """Refuse a config that no encoder can be made of."""
    if config.cell != "mean" and config.cell not in CELLS:
        raise UsageError(f"recurrent cell must be one of {', '.join(CELLS)}, mean; got {config.cell!r}")
    sizes = {"feature_size": feature_size, "hidden": config.hidden, "layers": config.layers}
    for name, size in sizes.items():
        if size < 1:
            raise UsageError(f"{name} of a recurrent encoder must be at least 1, got {size}")
    if not 0.0 <= config.dropout < 1.0:
        raise UsageError(f"dropout must be at least 0 and under 1, got {config.dropout}")
    heads = config.attention_heads
    if heads < 0 or (heads and feature_size % heads):
        raise UsageError(f"attention_heads must divide the {feature_size} step features, got {heads}")
    if heads and config.cell == "mean":
        raise UsageError(f"cell 'mean' has no parameters: attention_heads must be 0, got {heads}")
