"""The whole of a model's architecture as one frozen dataclass, and the named ones; needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tristream.streams.config import (
    STREAM_NAMES,
    AudioCNNName,
    AudioConfig,
    FlowConfig,
    MotionCNNName,
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

    @property
    def stream_weights(self) -> dict[str, float]:
        """How much each stream counts where embeddings are compared."""
        return {name: getattr(self, name).recurrent.weight for name in self.streams}

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

    def with_stream_weights(self, weights: Mapping[StreamName, float]) -> "ModelConfig":
        """The same model with streams that count so much."""
        changed = {}
        for name, weight in weights.items():
            stream = getattr(self, name)
            changed[name] = replace(stream, recurrent=replace(stream.recurrent, weight=weight))
        return replace(self, **changed)

    def with_new_encoder(self, name: StreamName) -> "ModelConfig":
        """The same model with a stream whose encoder is to be trained anew: no centre or weight was measured for it."""
        stream = getattr(self, name)
        return replace(self, **{name: replace(stream, recurrent=replace(stream.recurrent, centred=False, weight=1.0))})

    def with_backbone(self, backbone: str | None, same_padding: bool | None) -> "ModelConfig":
        """The same model with another timm backbone, or other padding in it; None keeps what there is.

        Raises:
            UsageError: the model has no spatial stream.
        """
        if self.spatial is None:
            raise UsageError("a backbone was given, but the spatial stream is left out")
        spatial = self.spatial
        if backbone not in (None, spatial.backbone):
            spatial = replace(spatial, backbone=backbone, same_padding=False)
        return replace(self, spatial=spatial if same_padding is None else replace(spatial, same_padding=same_padding))

    def with_temporal_cnn(self, cnn: MotionCNNName) -> "ModelConfig":
        """The same model with another motion CNN; `histogram` has a step for each pair of frames.

        Raises:
            UsageError: the model has no temporal stream.
        """
        if self.temporal is None:
            raise UsageError("a motion CNN was given, but the model has no temporal stream, or it is left out")
        temporal = replace(self.temporal, cnn=cnn)
        if cnn == "histogram":
            temporal = replace(temporal, pairs=1, stride=1)
        return replace(self, temporal=temporal)

    def with_audio_cnn(self, cnn: AudioCNNName) -> "ModelConfig":
        """The same model with another audio CNN, and the log-mel that goes with it.

        Raises:
            UsageError: the model has no audio stream.
        """
        if self.audio is None:
            raise UsageError("an audio CNN was given, but the model has no audio stream, or it is left out")
        return replace(self, audio=replace(self.audio, cnn=cnn))


# Tkachenko 2018: InceptionResNetV2 1536, motion CNN 2048, VGGish 128, a stacked BiGRU 512 each -> 3 x 1024.
TKACHENKO2018 = ModelConfig()

# CoReHAR (Mihanpour et al. 2020, 3 and table 3): ResNet152 2048, dense 1024, 768 -> 512 on each step, three
# bidirectional LSTM layers, dense 256 on each step's output. PyTorch throughout, so torchvision's first weights.
COREHAR2020 = ModelConfig(
    spatial=SpatialConfig(
        backbone="resnet152.tv_in1k",
        recurrent=RecurrentConfig(
            "lstm", hidden=512, layers=3, dropout=0.0, projection=(1024, 768, 512), dense=(256,), per_step=True
        ),
    ),
    temporal=None,
    audio=None,
    sampling=SamplingConfig("every-nth", frame_jump=4),
)

# Orozco et al. 2021 (algorithms 1 and 2): VGG16's last max pool 7x7x512 -> 25088, one LSTM; 360 units are those
# of KTH, its best (UCF-11 320, HMDB-51 400). Their weights are those of the VGG authors, in Caffe's pixel values;
# timm has torchvision's alone, trained anew.
OROZCO2021 = ModelConfig(
    spatial=SpatialConfig(
        backbone="vgg16.tv_in1k",
        pooling="flatten",
        recurrent=RecurrentConfig("lstm", hidden=360, layers=1, bidirectional=False, dropout=0.0),
    ),
    temporal=None,
    audio=None,
    sampling=SamplingConfig("first", max_steps=40, repeat_last=True),
)

# Konakalla et al. (3.3 and 3.4): InceptionV3 2048 through Keras, which has TensorFlow's weights; LSTM 2048 with
# dropout 0.5 and dense layers of sizes not given: 512 is that of the well-known script whose LSTM has 2048 units
# too (M. Harvey, five-video-classification-methods).
KONAKALLA = ModelConfig(
    spatial=SpatialConfig(
        backbone="inception_v3.tf_in1k",
        recurrent=RecurrentConfig("lstm", hidden=2048, layers=1, bidirectional=False, dropout=0.5, dense=(512,)),
    ),
    temporal=None,
    audio=None,
    sampling=SamplingConfig("segments", max_steps=40),
)

# Vignesh et al. 2024: 20 frames of 64x64 pixels, spread over the clip, through networks of their own. Table 3:
_TWENTY_FRAMES = SamplingConfig("segments", max_steps=20, repeat_last=True)
LRCN2024 = ModelConfig(
    spatial=SpatialConfig(
        backbone="lrcn2024",
        recurrent=RecurrentConfig("lstm", hidden=32, layers=1, bidirectional=False, dropout=0.0),
    ),
    temporal=None,
    audio=None,
    sampling=_TWENTY_FRAMES,
)
# And table 2; dropout 0.2 is that of the Keras model it lists.
CONVLSTM2024 = ModelConfig(
    spatial=SpatialConfig(
        backbone="pixels", recurrent=RecurrentConfig("convlstm", filters=(4, 8, 14, 16), dropout=0.2)
    ),
    temporal=None,
    audio=None,
    sampling=_TWENTY_FRAMES,
)

# What tells unusual motion in front of a fixed camera, and has nothing to train: histograms of flow, a step a frame.
CAMERA = ModelConfig(
    spatial=None,
    temporal=TemporalConfig(cnn="histogram", pairs=1, stride=1, recurrent=RecurrentConfig("mean")),
    audio=None,
)

# What ships: small, trained, for a CPU. Four frames and flow stacks a second; both directions of 128 units -> 256.
_POCKET_RECURRENT = RecurrentConfig(hidden=128, dropout=0.0, centred=True)
POCKET = ModelConfig(
    spatial=SpatialConfig("mobilenetv1_075", recurrent=_POCKET_RECURRENT),
    temporal=TemporalConfig(cnn="small", stride=1, recurrent=_POCKET_RECURRENT),
    audio=AudioConfig(cnn="small", recurrent=_POCKET_RECURRENT),
    sampling=SamplingConfig("per-second", per_second=4.0),
    flow=FlowConfig(height=120, width=160, preset="fast"),
)
