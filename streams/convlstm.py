"""Convolutional LSTM encoder: step features (B, T, H·W·3) that are pictures -> stream vectors (B, D) float32.

(B, T, 3, 64, 64) -> ConvLSTM and max pool, four times -> (B, T, 16, 3, 3) -> (B, 2880) with 20 steps
"""

import math

import torch
from torch import Tensor, nn

from tristream.streams.config import RecurrentConfig
from tristream.streams.errors import UsageError


class ConvLSTM(nn.Module):
    """One layer: maps (B, T, C, H, W) -> hidden states at all steps (B, T, filters, H - 2, W - 2).

    An LSTM whose products are convolutions (Shi et al. 2015) without their peepholes, as Keras's ConvLSTM2D: a
    3x3 convolution of the input without padding, one of the hidden state that keeps its size, sigmoid gates (of
    Keras 3; Keras 2 had a piecewise linear one), and Keras's start: Glorot and orthogonal weights, forget bias 1.

    `dropout` is Keras's recurrent_dropout: in training, of the hidden state where it goes back into the gates,
    with one mask for all steps of a clip.
    """

    def __init__(self, channels: int, filters: int, dropout: float) -> None:
        super().__init__()
        self.filters = filters
        self.dropout = nn.Dropout(dropout)
        self.input = nn.Conv2d(channels, 4 * filters, 3)
        self.recurrent = nn.Conv2d(filters, 4 * filters, 3, padding=1, bias=False)  # one bias vector a gate is enough
        nn.init.xavier_uniform_(self.input.weight)
        nn.init.orthogonal_(self.recurrent.weight)
        bias = torch.zeros(4, filters)
        bias[1] = 1.0
        self.input.bias = nn.Parameter(bias.flatten())

    def forward(self, maps: Tensor) -> Tensor:
        """The hidden states at all steps (B, T, filters, H - 2, W - 2) of maps (B, T, C, H, W)."""
        inputs = self.input(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])  # (B, T, 4·filters, H - 2, W - 2)
        hidden = inputs.new_zeros(len(maps), self.filters, *inputs.shape[3:])
        cell, mask = hidden, self.dropout(torch.ones_like(hidden))
        states = []
        for step in inputs.unbind(1):
            gates = step + self.recurrent(hidden * mask)
            enter, keep, candidate, leave = gates.chunk(4, dim=1)
            cell = keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            states.append(hidden)
        return torch.stack(states, dim=1)


class ConvLSTMEncoder(nn.Module):
    """ConvLSTM layers over a clip's pictures, all their last outputs side by side (Vignesh et al. 2024, table 2).

    Each layer is followed by a 2x2 max pool that rounds sizes up (Keras's MaxPooling3D with padding "same"), and
    all but the last by dropout. The vector holds every step's maps, so every clip needs the same number of steps:
    `SamplingConfig.repeat_last` sees to that. Of the config it uses `filters` and `dropout`.

    Attributes:
        feature_size: F = 3·side², pictures as the `pixels` backbone gives them.
        vector_size: D = steps·side²·filters of the last maps, in the order (T, H, W, C).

    Raises:
        UsageError: no filters, features that are no square picture, pictures too small for so many layers, steps
            under 1, dropout outside [0, 1), or a config of layers that this encoder does not have.
    """

    def __init__(self, feature_size: int, config: RecurrentConfig, steps: int) -> None:
        super().__init__()
        _check_config(config, steps)
        self.feature_size = feature_size
        self.steps = steps
        self.side = _picture_side(feature_size)
        side = self.side
        for layer in range(len(config.filters)):
            if side < 3:
                raise UsageError(f"layer {layer + 1} of a convlstm needs maps of 3 pixels a side, {side} are left")
            side = math.ceil((side - 2) / 2)
        self.vector_size = steps * side**2 * config.filters[-1]
        channels = (3, *config.filters[:-1])
        self.layers = nn.ModuleList(
            ConvLSTM(before, filters, config.dropout) for before, filters in zip(channels, config.filters, strict=True)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The stream vectors (B, D) float32 of `features` (B, T, F); `lengths` (B,) are all the encoder's steps.

        What is beyond them changes nothing.

        Raises:
            UsageError: another shape, or a clip of another length.
        """
        self._check(features, lengths)
        if len(lengths) == 0:
            return features.new_zeros(0, self.vector_size, dtype=torch.float32)
        pictures = features[:, : self.steps].to(next(self.parameters()).dtype)
        pictures = pictures.reshape(*pictures.shape[:2], self.side, self.side, 3)
        maps = pictures.permute(0, 1, 4, 2, 3)  # (B, T, 3, H, W)
        for index, layer in enumerate(self.layers):
            maps = layer(self.dropout(maps) if index else maps)
            pooled: Tensor = self.pool(maps.flatten(0, 1))  # (B·T, C, H, W)
            maps = pooled.reshape(*maps.shape[:2], *pooled.shape[1:])  # (B, T, C, H, W)
        vectors: Tensor = maps.permute(0, 1, 3, 4, 2).flatten(1)  # (B, D)
        return vectors.float()

    def _check(self, features: Tensor, lengths: Tensor) -> None:
        """Refuse what is not (B, T, F) with as many steps in each clip as the encoder has."""
        if features.ndim != 3 or features.shape[2] != self.feature_size or lengths.shape != features.shape[:1]:
            raise UsageError(
                f"the convlstm encoder needs features (B, T, {self.feature_size}) and lengths (B,), "
                f"got {tuple(features.shape)} and {tuple(lengths.shape)}"
            )
        bad = [length for length in lengths.tolist() if length != self.steps or length > features.shape[1]]
        if bad:
            raise UsageError(
                f"a convlstm of {self.steps} steps needs clips of just so many, got {bad[0]} of T = "
                f"{features.shape[1]}: sampling.repeat_last repeats a clip's last step until it has them"
            )


def _picture_side(feature_size: int) -> int:
    """The side in pixels of the square RGB picture that `feature_size` numbers make up."""
    side = math.isqrt(max(feature_size, 0) // 3)
    if side < 1 or 3 * side**2 != feature_size:
        raise UsageError(f"a convlstm needs square RGB pictures, 3·side² step features, as of 'pixels': {feature_size}")
    return side


def _check_config(config: RecurrentConfig, steps: int) -> None:
    """Refuse a config that no encoder can be made of."""
    if not config.filters or min(config.filters) < 1:
        raise UsageError(f"a convlstm needs the filters of each of its layers, at least 1, got {config.filters}")
    if steps < 1:
        raise UsageError(f"a convlstm needs at least 1 step, got {steps}")
    if not 0.0 <= config.dropout < 1.0:
        raise UsageError(f"dropout must be at least 0 and under 1, got {config.dropout}")
    for name in ("attention_heads", "projection", "dense", "per_step"):
        if value := getattr(config, name):
            raise UsageError(f"a convlstm has no {name}, got {value}")
