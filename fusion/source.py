"""Where a model comes from: a name or folder and the weights of each part; needs no torch.

A source is small and plain, so that it can be handed to worker processes, and it knows the model's id
before anything is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tristream.fusion.config import TKACHENKO2018, ModelConfig
from tristream.fusion.folder import model_id_of, read_manifest, sha256_of
from tristream.streams.config import FlowEngineName, RecurrentCell, RecurrentConfig, SamplingStrategy
from tristream.streams.errors import ModelError

DEFAULT_MODEL = "pocket"
SHIPPED = Path(__file__).resolve().parent / "models"
RECIPES: dict[str, ModelConfig] = {"tkachenko2018": TKACHENKO2018}


@dataclass(frozen=True)
class Weights:
    """The weights of one part: of a file (with its sha256), of timm's hub, or, with neither, of the seed."""

    path: Path | None = None
    sha256: str = ""
    hub: str = ""
    prefix: str = ""  # of the part's tensors in the file

    @property
    def origin(self) -> str:
        """What goes into the model's id."""
        return self.sha256 or (f"hub:{self.hub}" if self.hub else "seed")


@dataclass(frozen=True)
class Overrides:
    """What a user may change of a model; each field left None keeps the model's own."""

    streams: tuple[str, ...] | None = None
    backbone: str | None = None
    same_padding: bool | None = None
    recurrent: RecurrentCell | None = None
    sampling: SamplingStrategy | None = None
    flow: FlowEngineName | None = None
    spatial_weights: Path | None = None
    audio_weights: Path | None = None
    flow_weights: Path | None = None


@dataclass(frozen=True)
class ModelSource:
    """An architecture and where the weights of its parts are."""

    name: str
    config: ModelConfig
    weights: Mapping[str, Weights]
    warning: str = ""

    @property
    def model_id(self) -> str:
        """12 hex digits that name this architecture with these weights."""
        return model_id_of(self.config, {part: weights.origin for part, weights in self.weights.items()})

    @property
    def untrained(self) -> tuple[str, ...]:
        """The parts whose weights are the seed's."""
        return tuple(part for part, weights in self.weights.items() if weights.origin == "seed")


def find_model(
    name_or_path: str | Path = DEFAULT_MODEL, overrides: Overrides | None = None, *, untrained: bool = False
) -> ModelSource:
    """The source of a model by name (`pocket`, `tkachenko2018`) or folder, with overrides applied.

    Raises:
        UsageError: an override that does not fit the model.
        ModelError: no such model, a damaged folder, or parts without weights and not `untrained`.
    """
    overrides = overrides or Overrides()
    source = _found(name_or_path)
    config = _apply(source.config, overrides)
    weights = {part: _choose(part, source, config, overrides, untrained) for part in parts_of(config)}
    chosen = replace(source, config=config, weights=weights)
    if chosen.untrained and not untrained and not source.warning:
        raise ModelError(_no_weights(chosen))
    if chosen.untrained:
        which = "" if len(chosen.untrained) == len(weights) else f" ({', '.join(chosen.untrained)})"
        chosen = replace(chosen, warning=f"untrained weights{which}")
    return chosen


def _found(name_or_path: str | Path) -> ModelSource:
    name = str(name_or_path)
    if name in RECIPES:
        config = RECIPES[name]
        return ModelSource(name, config, {part: Weights() for part in parts_of(config)})
    folder = SHIPPED / name if (SHIPPED / name / "model.json").is_file() else Path(name)
    if not folder.is_dir():
        known = sorted([*RECIPES, *(path.parent.name for path in SHIPPED.glob("*/model.json"))])
        raise ModelError(f"no model {name!r}: give a model folder, or one of {', '.join(known)}")
    manifest = read_manifest(folder)
    files = {
        stream: Weights(folder / file, manifest.files[file]["sha256"])
        for stream in (*manifest.architecture.streams, "flow")
        if (file := f"{stream}.safetensors") in manifest.files
    }
    weights = {}
    for part in parts_of(manifest.architecture):
        stream, _, piece = part.partition(".")
        weights[part] = replace(files[stream], prefix=f"{piece}." if piece else "") if stream in files else Weights()
    warning = "" if manifest.trained else "untrained"
    return ModelSource(manifest.name, manifest.architecture, weights, warning)


def parts_of(config: ModelConfig) -> tuple[str, ...]:
    """The parts of a model that have weights: `spatial.cnn`, `spatial.recurrent`, …, `flow`."""
    parts = []
    for stream in config.streams:
        parts.append(f"{stream}.cnn")
        if getattr(config, stream).recurrent.cell != "mean":
            parts.append(f"{stream}.recurrent")
    return (*parts, "flow") if config.flow.engine == "raft" else tuple(parts)


def _apply(config: ModelConfig, overrides: Overrides) -> ModelConfig:
    if overrides.streams is not None:
        config = config.with_streams(overrides.streams)
    if overrides.backbone is not None or overrides.same_padding is not None:
        config = config.with_backbone(overrides.backbone, overrides.same_padding)
    if overrides.recurrent is not None:
        for stream in config.streams:
            recurrent: RecurrentConfig = replace(getattr(config, stream).recurrent, cell=overrides.recurrent)
            config = replace(config, **{stream: replace(getattr(config, stream), recurrent=recurrent)})
    if overrides.sampling is not None:
        config = replace(config, sampling=replace(config.sampling, strategy=overrides.sampling))
    if overrides.flow is not None:
        config = replace(config, flow=replace(config.flow, engine=overrides.flow))
    return config


def _choose(part: str, source: ModelSource, config: ModelConfig, overrides: Overrides, untrained: bool) -> Weights:
    """The weights of a part: the user's file, else the model's own where the part is unchanged, else a hub's.

    With `untrained` no backbone is downloaded, so that a model is the same with a network and without one.
    """
    files = {
        "spatial.cnn": overrides.spatial_weights,
        "audio.cnn": overrides.audio_weights,
        "flow": overrides.flow_weights,
    }
    if (path := files.get(part)) is not None:
        if not path.is_file():
            raise ModelError(f"no weights file at {path}")
        return Weights(path, sha256_of(path))
    own = source.weights.get(part, Weights())
    if own.path is not None and _describes(source.config, part) == _describes(config, part):
        return own
    if part == "flow":
        return Weights(hub="raft_small")
    if part == "spatial.cnn" and not untrained and (not source.warning or overrides.backbone is not None):
        return Weights(hub=config.spatial.backbone if config.spatial else "")
    return Weights()


def _describes(config: ModelConfig, part: str) -> object:
    """The piece of the architecture that the weights of a part depend on."""
    stream, _, piece = part.partition(".")
    described = getattr(config, stream)
    return replace(described, recurrent=RecurrentConfig()) if piece == "cnn" else described


def _no_weights(source: ModelSource) -> str:
    hints = {
        "audio.cnn": "--audio-weights FILE gives the audio network its weights",
        "recurrent": "--recurrent mean does without recurrent networks",
        "temporal.cnn": "--streams spatial,audio leaves motion out",
    }
    fitting = [hint for part, hint in hints.items() if any(name.endswith(part) for name in source.untrained)]
    return (
        f"model {source.name} has no trained weights for {', '.join(source.untrained)}. Train it, "
        f"{'; '.join(fitting)}; or pass --untrained to embed with random weights all the same"
    )
