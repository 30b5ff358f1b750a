"""The whole of a model's architecture as one frozen dataclass, and the named ones; needs no torch."""

from dataclasses import dataclass, field, replace

from tristream.streams.config import (
    STREAM_NAMES,
    AudioConfig,
    FlowConfig,
    RecurrentConfig,
    SamplingConfig,
    SpatialConfig,
    StreamName,
    TemporalConfig,
)
from tristream.streams.errors import UsageError


@dataclass(frozen=True)
class ModelConfig:
    """The streams a model has (None: it has not), and what they share."""

    spatial: SpatialConfig | None = field(default_factory=SpatialConfig)
    temporal: TemporalConfig | None = field(default_factory=TemporalConfig)
    audio: AudioConfig | None = field(default_factory=AudioConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    seed: int = 0  # of weights that no file gives

    @property
    def streams(self) -> tuple[StreamName, ...]:
        """The streams the model has, in the order in which their vectors are joined."""
        return tuple(name for name in STREAM_NAMES if getattr(self, name) is not None)

    def with_streams(self, names: tuple[str, ...]) -> "ModelConfig":
        """The same model with only the streams named.

        Raises:
            UsageError: a name that is no stream of this model, or none at all.
        """
        if unknown := [name for name in names if name not in self.streams]:
            raise UsageError(f"no stream {unknown[0]!r} in this model; it has {', '.join(self.streams)}")
        if not names:
            raise UsageError(f"no stream left; this model has {', '.join(self.streams)}")
        return ModelConfig(
            spatial=self.spatial if "spatial" in names else None,
            temporal=self.temporal if "temporal" in names else None,
            audio=self.audio if "audio" in names else None,
            sampling=self.sampling,
            flow=self.flow,
            seed=self.seed,
        )

    def with_backbone(self, backbone: str | None, same_padding: bool | None) -> "ModelConfig":
        """The same model with another timm backbone, or other padding in it; None keeps what there is.

        Raises:
            UsageError: the model has no spatial stream.
        """
        if self.spatial is None:
            raise UsageError("a backbone was given, but the spatial stream is left out")
        spatial = self.spatial if backbone is None else replace(self.spatial, backbone=backbone, same_padding=False)
        return replace(self, spatial=spatial if same_padding is None else replace(spatial, same_padding=same_padding))


# Tkachenko 2018: InceptionResNetV2 1536, motion CNN 2048, VGGish 128, a stacked BiGRU 512 each -> 3 x 1024.
TKACHENKO2018 = ModelConfig()

_POCKET_RECURRENT = RecurrentConfig(hidden=128)  # both directions -> 256
POCKET = ModelConfig(
    spatial=SpatialConfig(backbone="mobilenetv3_small_050", recurrent=_POCKET_RECURRENT),
    temporal=TemporalConfig(cnn="small", recurrent=_POCKET_RECURRENT),
    audio=AudioConfig(cnn="small", recurrent=_POCKET_RECURRENT),
    flow=FlowConfig(height=120, width=160),
)
