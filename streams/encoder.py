"""The encoder that a config names: step features (B, T, F) and lengths (B,) -> stream vectors (B, D) float32."""

from tristream.streams.config import RecurrentConfig
from tristream.streams.convlstm import ConvLSTMEncoder
from tristream.streams.recurrent import RecurrentEncoder

Encoder = RecurrentEncoder | ConvLSTMEncoder


def build_encoder(feature_size: int, config: RecurrentConfig, max_steps: int) -> Encoder:
    """The encoder of step features (B, T, `feature_size`), with random weights.

    Args:
        max_steps: of a clip; a `convlstm` takes clips of just so many.

    Raises:
        UsageError: a config that no encoder can be made of.
    """
    if config.cell == "convlstm":
        return ConvLSTMEncoder(feature_size, config, max_steps)
    return RecurrentEncoder(feature_size, config)
