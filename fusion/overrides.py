"""What a user may change of a model: streams, backbone, recurrent part, sampling, flow, and whose weights it has."""

from dataclasses import dataclass, replace
from pathlib import Path

from tristream.fusion.config import ModelConfig
from tristream.streams.config import (
    AudioCNNName,
    FlowEngineName,
    MotionCNNName,
    RecurrentCell,
    RecurrentConfig,
    SamplingStrategy,
    from_json,
    to_json,
)
from tristream.streams.errors import UsageError


@dataclass(frozen=True)
class Overrides:
    """What a user may change of a model; each field left None keeps the model's own."""

    streams: tuple[str, ...] | None = None
    backbone: str | None = None
    same_padding: bool | None = None
    temporal_cnn: MotionCNNName | None = None
    audio_cnn: AudioCNNName | None = None
    recurrent: RecurrentCell | None = None
    hidden: int | None = None  # units of each recurrent layer and direction
    sampling: SamplingStrategy | None = None
    frame_jump: int | None = None  # of every-nth sampling
    flow: FlowEngineName | None = None
    spatial_weights: Path | None = None
    temporal_weights: Path | None = None
    audio_weights: Path | None = None
    flow_weights: Path | None = None

    @property
    def files(self) -> dict[str, Path | None]:
        """The weights files by the part they are for."""
        return {
            "spatial.cnn": self.spatial_weights,
            "temporal.cnn": self.temporal_weights,
            "audio.cnn": self.audio_weights,
            "flow": self.flow_weights,
        }


def apply_overrides(config: ModelConfig, overrides: Overrides) -> ModelConfig:
    """The config as changed.

    Raises:
        UsageError: what such a model cannot be.
    """
    if isinstance(overrides.streams, str):
        raise UsageError(f"streams must be a sequence of names, as in ({overrides.streams!r},)")
    if overrides.streams is not None:
        config = config.with_streams(overrides.streams)
    if overrides.backbone is not None or overrides.same_padding is not None:
        config = config.with_backbone(overrides.backbone, overrides.same_padding)
    if overrides.temporal_cnn is not None:
        config = config.with_temporal_cnn(overrides.temporal_cnn)
    if overrides.audio_cnn is not None:
        config = config.with_audio_cnn(overrides.audio_cnn)
    if overrides.recurrent is not None:
        for stream in config.streams:
            recurrent = _with_cell(getattr(config, stream).recurrent, overrides.recurrent)
            config = replace(config, **{stream: replace(getattr(config, stream), recurrent=recurrent)})
    if overrides.hidden is not None:
        for stream in config.streams:
            recurrent = _with_hidden(getattr(config, stream).recurrent, overrides.hidden)
            config = replace(config, **{stream: replace(getattr(config, stream), recurrent=recurrent)})
    if overrides.sampling is not None:
        config = replace(config, sampling=replace(config.sampling, strategy=overrides.sampling))
    if overrides.frame_jump is not None:
        if config.sampling.strategy != "every-nth" or overrides.frame_jump < 1:
            raise UsageError(
                f"--frame-jump is a number from 1 for every-nth sampling, got {overrides.frame_jump} for "
                f"{config.sampling.strategy}: add --sampling every-nth"
            )
        config = replace(config, sampling=replace(config.sampling, frame_jump=overrides.frame_jump))
    if overrides.flow is not None:
        config = replace(config, flow=replace(config.flow, engine=overrides.flow))
    return from_json(ModelConfig, to_json(config), "model")  # checks the names


def _with_cell(config: RecurrentConfig, cell: RecurrentCell) -> RecurrentConfig:
    """Another cell, without what it cannot have: layers around a mean, filters."""
    if cell == "mean":
        config = replace(config, attention_heads=0, projection=(), dense=(), per_step=False)
    return replace(config, cell=cell, filters=config.filters if cell == "convlstm" else ())


def _with_hidden(config: RecurrentConfig, hidden: int) -> RecurrentConfig:
    """So many units in each layer and direction.

    Raises:
        UsageError: under 1, or of a cell that has none of such.
    """
    if hidden < 1 or config.cell in ("mean", "convlstm"):
        raise UsageError(f"--hidden is a number of units from 1 for gru, lstm and rnn, got {hidden} for {config.cell}")
    return replace(config, hidden=hidden)
