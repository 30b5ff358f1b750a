"""Recurrent encoder: padded step features (B, T, F) and lengths (B,) -> stream vectors (B, D) float32."""

from math import isfinite, sqrt

import torch
from torch import nn

from tristream.streams.config import RecurrentConfig
from tristream.streams.errors import UsageError
from tristream.streams.initial import start_weights
from tristream.streams.recurrence import CELLS, Recurrence


class RecurrentEncoder(nn.Module):
    """Step features of several clips in, their stream vectors out; hides padding and state layouts.

    The paper's (Tkachenko 2018, IV.E): a two-layer bidirectional GRU of 512 units a direction, the final
    states of both directions of the last layer joined -> 1024. Dropout is on the recurrence's input, between
    layers (V.D) and before each dense layer; the one before the classifier belongs to the head that training
    puts on top. Around the recurrence there may be dense layers with ReLU: `projection` on each step before it
    (CoReHAR, table 3: 1024, 768 -> 512), `dense` after it. With `per_step` the vector is the mean of the outputs
    at a clip's steps. With `centred`, `centre` is taken from each vector, which is then scaled to length
    sqrt(D * weight); it is zero until it was measured. Cell `mean` is the mean of the step features instead: no
    parameters, no dropout.

    Attributes:
        vector_size: D, the length of a stream vector.

    Raises:
        UsageError: an unknown cell, a size under 1, dropout outside [0, 1), attention heads that do not divide
            what attention sees, filters, or layers with parameters around `mean`.
    """

    centre: torch.Tensor | None

    def __init__(self, feature_size: int, config: RecurrentConfig) -> None:
        super().__init__()
        _check_config(feature_size, config)
        self.feature_size = feature_size
        self.vector_size = feature_size
        self.per_step = config.per_step
        self.weight = config.weight
        self.attention: StepAttention | None = None
        self.recurrence: Recurrence | None = None
        self.register_buffer("centre", None)
        if config.cell == "mean":
            return
        self.projection = _dense_layers(feature_size, config.projection, dropout=0.0)
        self.dropout = nn.Dropout(config.dropout)
        projected = (feature_size, *config.projection)[-1]
        if config.attention_heads:
            self.attention = StepAttention(projected, config.attention_heads)
        self.recurrence = Recurrence(projected, config)
        self.dense = _dense_layers(self.recurrence.output_size, config.dense, config.dropout)
        self.vector_size = (self.recurrence.output_size, *config.dense)[-1]
        if config.centred:
            self.centre = torch.zeros(self.vector_size)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The stream vectors (B, D) float32 of `features` (B, T, F), of which clip b has `lengths[b]` steps.

        `lengths` (B,) int64 stays on the CPU. What is beyond a clip's length, NaN included, changes nothing.

        Raises:
            UsageError: another shape, or a length that is not from 1 to T: mask clips without this stream.
        """
        self._check(features, lengths)
        if len(lengths) == 0:
            return features.new_zeros(0, self.vector_size, dtype=torch.float32)
        features, padding = _trimmed(features, lengths)
        if self.recurrence is None or self.per_step:
            return self._centred(_mean(self._each_step(features, padding, lengths), lengths))
        _, states = self._recur(self.recurrence, features, padding, lengths)
        vectors: torch.Tensor = self.dense(states)
        return self._centred(vectors.float())

    def _centred(self, vectors: torch.Tensor) -> torch.Tensor:
        """The vectors (B, D) as they leave the encoder."""
        if self.centre is None:
            return vectors
        return nn.functional.normalize(vectors - self.centre) * sqrt(self.vector_size * self.weight)

    def outputs(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The outputs (B, T, D) float32 at each step, dense layers included; zero beyond a clip's length.

        A head that lets the steps vote classifies these; with `per_step` their mean is the vector.

        Raises:
            UsageError: as forward.
        """
        self._check(features, lengths)
        steps = features.shape[1]
        if len(lengths) == 0:
            return features.new_zeros(0, steps, self.vector_size, dtype=torch.float32)
        features, padding = _trimmed(features, lengths)
        outputs = self._each_step(features, padding, lengths)
        return nn.functional.pad(outputs, (0, 0, 0, steps - outputs.shape[1]))

    def _each_step(self, features: torch.Tensor, padding: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The outputs (B, T, D) at the steps of trimmed features, zero in the padding."""
        if self.recurrence is None:
            return features.float()
        states, _ = self._recur(self.recurrence, features, padding, lengths)  # (B, T, hidden of both directions)
        outputs: torch.Tensor = self.dense(states)
        return outputs.float().masked_fill(padding[..., None], 0.0)

    def _recur(
        self, recurrence: Recurrence, features: torch.Tensor, padding: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The recurrence's outputs at all steps (B, T, D) and its final states (B, D)."""
        features = features.to(next(self.parameters()).dtype)
        features = self.dropout(self.projection(features))
        if self.attention is not None:
            features = self.attention(features, padding)
        outputs, states = recurrence(features, lengths)
        return outputs, states

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


def _dense_layers(size: int, sizes: tuple[int, ...], dropout: float) -> nn.Sequential:
    """Dense layers with ReLU from `size` on, dropout before each; none leave their input as it is."""
    layers: list[nn.Module] = []
    for before, after in zip((size, *sizes), sizes, strict=False):
        layers += [nn.Dropout(dropout), nn.Linear(before, after), nn.ReLU()]
    dense = nn.Sequential(*layers)
    start_weights(dense)
    return dense


def _trimmed(features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The features (B, T, F) up to the longest clip's end, zero in the padding, which is (B, T) bool."""
    features = features[:, : int(lengths.max())]  # padding that no clip reaches costs nothing
    steps = torch.arange(features.shape[1], device=features.device)
    padding = steps >= lengths.to(features.device)[:, None]  # (B, T)
    return features.masked_fill(padding[..., None], 0.0), padding  # NaN times an attention weight of 0 is NaN


def _mean(features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The mean (B, D) of each clip's steps (B, T, D); the padding is zero already."""
    return features.float().sum(dim=1) / lengths.to(features.device)[:, None]


def _check_config(feature_size: int, config: RecurrentConfig) -> None:
    """Refuse a config that no encoder can be made of."""
    if config.cell != "mean" and config.cell not in CELLS:
        raise UsageError(f"recurrent cell must be one of {', '.join(CELLS)}, mean; got {config.cell!r}")
    sizes = {"feature_size": feature_size, "hidden": config.hidden, "layers": config.layers}
    sizes |= {"projection": min(config.projection, default=1), "dense": min(config.dense, default=1)}
    for name, size in sizes.items():
        if size < 1:
            raise UsageError(f"{name} of a recurrent encoder must be at least 1, got {size}")
    if config.filters:
        raise UsageError(f"filters are those of a convlstm; {config.cell!r} has none, got {config.filters}")
    if not 0.0 <= config.dropout < 1.0:
        raise UsageError(f"dropout must be at least 0 and under 1, got {config.dropout}")
    if not (isfinite(config.weight) and config.weight > 0) or (config.weight != 1 and not config.centred):
        raise UsageError(f"the weight of a centred stream is a number over 0, of others 1; got {config.weight}")
    if config.centred and config.per_step:
        raise UsageError("centred is the final state, not the mean of outputs that are votes: per_step must be off")
    heads, attended = config.attention_heads, (feature_size, *config.projection)[-1]
    if heads < 0 or (heads and attended % heads):
        raise UsageError(f"attention_heads must divide the {attended} step features, got {heads}")
    for name in ("attention_heads", "projection", "dense", "centred"):
        if config.cell == "mean" and (value := getattr(config, name)):
            raise UsageError(f"cell 'mean' has no parameters: {name} must be none, got {value}")
