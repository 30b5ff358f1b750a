"""What a stream is made of, as frozen dataclasses that are saved as JSON; needs no torch."""

import dataclasses
import types
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tristream.streams.errors import UsageError

SamplingStrategy = Literal["adaptive", "uniform", "per-second", "every-nth", "segments", "first"]
FlowEngineName = Literal["dis", "tvl1", "farneback", "raft", "codec"]
MotionCNNName = Literal["motion", "small", "histogram"]
FlowCentre = Literal["mean", "median", "none"]
DisPreset = Literal["ultrafast", "fast", "medium"]
AudioCNNName = Literal["vggish", "yamnet", "small"]
RecurrentCell = Literal["gru", "lstm", "rnn", "mean", "convlstm"]
StreamName = Literal["spatial", "temporal", "audio"]

# The backbones that are not timm's, and so have no hub to download weights from.
OWN_BACKBONES = ("lrcn2024", "pixels", "mobilenetv1_075")
STREAM_NAMES: tuple[StreamName, ...] = get_args(StreamName)


@dataclass(frozen=True)
class SamplingConfig:
    """Which frames of a clip become steps (Tkachenko 2018, IV.F and V.C)."""

    strategy: SamplingStrategy = "adaptive"
    max_steps: int = 180
    per_second: float = 5.0  # for per-second: at most so many frames, whatever the frame rate
    frame_jump: int = 5  # for every-nth: one frame in so many
    repeat_last: bool = False  # repeat a clip's last step until it has max_steps
    # Frames nearer than 1/max_fps to the last one kept are passed over: 50 and 60 fps become 25 and 30,
    # so that a flow vector means about the same speed in every video, and a window's frames are bounded.
    max_fps: float = 40.0

    def __post_init__(self) -> None:
        """Refuse numbers that give no steps."""
        if min(self.max_steps, self.frame_jump) < 1:
            raise UsageError(f"max_steps and frame_jump must be at least 1, got {self.max_steps} and {self.frame_jump}")
        if not (self.per_second > 0 and self.max_fps > 0):
            raise UsageError(f"per_second and max_fps must be over 0, got {self.per_second} and {self.max_fps}")


@dataclass(frozen=True)
class FlowConfig:
    """How optical flow is computed; height and width are those of the picture it is computed on."""

    engine: FlowEngineName = "dis"
    height: int = 240
    width: int = 320
    preset: DisPreset = "medium"  # of `dis`: `fast` takes a sixth of the time, and its flow is coarser


@dataclass(frozen=True)
class RecurrentConfig:
    """The recurrent encoder of one stream; the defaults are the paper's stacked BiGRU (IV.E)."""

    cell: RecurrentCell = "gru"
    hidden: int = 512
    layers: int = 2
    bidirectional: bool = True
    attention_heads: int = 0  # self-attention over the steps before the recurrence (V.E); 0 is none
    dropout: float = 0.5
    projection: tuple[int, ...] = ()  # dense layers with ReLU on each step, before the recurrence
    dense: tuple[int, ...] = ()  # dense layers with ReLU after the recurrence; the last is the vector
    per_step: bool = False  # the vector is the mean of the outputs at all steps, not the final state
    filters: tuple[int, ...] = ()  # of each layer of a convlstm
    # Whether what clips have in common is taken from each vector, and the rest scaled to length sqrt(D), so that the
    # cosine of unrelated clips is about 0.
    centred: bool = False
    # How much the stream counts beside the others where whole embeddings are compared: centred vectors have length
    # sqrt(D * weight), and search takes it as the stream's weight.
    weight: float = 1.0


@dataclass(frozen=True)
class SpatialConfig:
    """Frames through a CNN: `backbone` is any timm model name, `architecture.tag` or plain, or one of our own.

    Our own are `lrcn2024`, that recipe's convolutions, `pixels`, no CNN: the picture itself, and `mobilenetv1_075`, the
    small model's, which timm has in other widths only.
    """

    backbone: str = "inception_resnet_v2.tf_in1k"
    # Pad as TensorFlow does, for weights converted from it: timm's pad_type="same". Its tf_ models do anyway.
    same_padding: bool = False
    pooling: Literal["average", "flatten"] = "average"  # of the last map: the backbone's own, or none (H·W·C)
    size_pixels: int | None = None  # of the square picture; None is the backbone's own
    recurrent: RecurrentConfig = field(default_factory=RecurrentConfig)


@dataclass(frozen=True)
class TemporalConfig:
    """Stacks of `pairs` flow fields through a motion CNN."""

    cnn: MotionCNNName = "motion"
    pairs: int = 10  # L: a stack is (2L, H, W)
    # A stack for one in so many of the frames that are steps. The paper has no number: half of L, so that stacks
    # overlap by half; one for each frame costs five times as much and says hardly more.
    stride: int = 5
    recurrent: RecurrentConfig = field(default_factory=RecurrentConfig)


@dataclass(frozen=True)
class AudioConfig:
    """Log-mel examples through an audio CNN."""

    cnn: AudioCNNName = "vggish"
    recurrent: RecurrentConfig = field(default_factory=RecurrentConfig)


T = TypeVar("T")


def to_json(config: Any) -> dict[str, Any]:
    """A config dataclass as plain JSON data."""
    return dataclasses.asdict(config)


def from_json(kind: type[T], data: Any, where: str = "config") -> T:
    """The config dataclass `kind` from plain JSON data.

    Raises:
        UsageError: an unknown key, or a value of the wrong type or outside its choices.
    """
    if not isinstance(data, dict):
        raise UsageError(f"{where} must be an object, got {data!r}")
    hints = get_type_hints(kind)
    if unknown := sorted(set(data) - set(hints)):
        raise UsageError(f"{where} has unknown keys {unknown}; known are {sorted(hints)}")
    return kind(**{key: _value(hints[key], value, f"{where}.{key}") for key, value in data.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as the annotated type `hint`, checked."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):  # only "X | None" occurs
        return None if value is None else _value(next(a for a in args if a is not type(None)), value, where)
    if origin is Literal:
        if value not in args:
            raise UsageError(f"{where} must be one of {', '.join(map(str, args))}, got {value!r}")
        return value
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple:  # only "tuple[X, ...]" occurs
        if not isinstance(value, (list, tuple)):
            raise UsageError(f"{where} must be a list, got {value!r}")
        return tuple(_value(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if hint is float and type(value) is int:
        return float(value)
    if not (hint is Any or type(value) is (origin or hint)):
        raise UsageError(f"{where} must be {hint.__name__}, got {value!r}")
    return value
