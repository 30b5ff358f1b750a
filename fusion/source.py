"""Where a model comes from: a name or folder and the weights of each part; needs no torch.

A source is small and plain, so that it can be handed to worker processes, and it knows the model's id
before anything is loaded.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tristream.fusion.config import (
    CAMERA,
    CONVLSTM2024,
    COREHAR2020,
    KONAKALLA,
    LRCN2024,
    OROZCO2021,
    TKACHENKO2018,
    ModelConfig,
)
from tristream.fusion.folder import CLASSIFIER_FILE, model_id_of, read_manifest, sha256_of
from tristream.fusion.overrides import Overrides, apply_overrides
from tristream.streams.config import (
    OWN_BACKBONES,
    RecurrentConfig,
    StreamName,
)
from tristream.streams.errors import ModelError, UsageError

DEFAULT_MODEL = "pocket"
# What a model folder may hold: the manifest names and checks each file.
FOLDER_PATTERNS = ("*.json", "*.safetensors", "*.png", "README.md")
SHIPPED = Path(__file__).resolve().parent / "models"
RECIPES: dict[str, ModelConfig] = {
    "tkachenko2018": TKACHENKO2018,
    "corehar2020": COREHAR2020,
    "orozco2021": OROZCO2021,
    "konakalla": KONAKALLA,
    "lrcn2024": LRCN2024,
    "convlstm2024": CONVLSTM2024,
}
# Every architecture that has a name: those, and one with nothing to train.
NAMED: dict[str, ModelConfig] = RECIPES | {"camera": CAMERA}


@dataclass(frozen=True)
class Weights:
    """The weights of one part: of a file (with its sha256), of timm's hub, or, with neither, of the seed.

    `untrained` is what a model folder says of its own weights, be they in a file or the seed's.
    """

    path: Path | None = None
    sha256: str = ""
    hub: str = ""
    prefix: str = ""  # of the part's tensors in the file
    untrained: bool = False

    @property
    def origin(self) -> str:
        """What goes into the model's id."""
        return self.sha256 or (f"hub:{self.hub}" if self.hub else "seed")

    @property
    def trained(self) -> bool:
        """Whether they come from training."""
        return not self.untrained and self.origin != "seed"


@dataclass(frozen=True)
class ModelSource:
    """An architecture and where the weights of its parts are."""

    name: str
    config: ModelConfig
    weights: Mapping[str, Weights]
    classes: tuple[str, ...] = ()
    classifier: str = ""  # its kind; empty where the model has none
    classifier_path: Path | None = None
    # What `find_model` was asked for, as plain JSON data, with which `find_again` finds it; empty where it was not.
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model_id(self) -> str:
        """12 hex digits that name this architecture with these weights."""
        return model_id_of(self.config, {part: weights.origin for part, weights in self.weights.items()})

    @property
    def untrained(self) -> tuple[str, ...]:
        """The parts whose weights do not come from training."""
        return tuple(part for part, weights in self.weights.items() if not weights.trained)

    @property
    def warning(self) -> str:
        """What a user has to know of the embeddings; empty where all is trained."""
        if not self.untrained:
            return ""
        which = "" if len(self.untrained) == len(self.weights) else f" ({', '.join(self.untrained)})"
        return f"untrained weights{which}"


def find_model(
    name_or_path: str | Path | ModelSource = DEFAULT_MODEL,
    overrides: Overrides | None = None,
    *,
    untrained: bool = False,
    to_train: Container[str] = (),
) -> ModelSource:
    """The source of a model by name (`pocket`, `tkachenko2018`), folder or `hf:owner/name`, with overrides applied.

    It may be one that was found before. A model that was changed has no classifier any more. Parts in `to_train` need
    no weights yet.

    Raises:
        UsageError: an override that does not fit the model.
        ModelError: no such model, a damaged folder, or parts without weights and not `untrained`.
    """
    overrides = overrides or Overrides()
    source = name_or_path if isinstance(name_or_path, ModelSource) else _found(name_or_path)
    config = apply_overrides(source.config, overrides)
    for part, path in overrides.files.items():
        if path is not None and part not in parts_of(config):
            raise UsageError(
                f"{path} was given for {part}, which this model has not: it has {', '.join(parts_of(config))}"
            )
    weights: dict[str, Weights] = {}
    for part in parts_of(config):  # a stream's CNN comes before its encoder
        weights[part] = _choose(part, source, config, overrides, untrained, weights)
    for stream in config.streams:
        if not weights.get(f"{stream}.recurrent", Weights()).trained:
            config = config.with_new_encoder(stream)
    asked = {} if isinstance(name_or_path, ModelSource) else _asked(name_or_path, overrides, untrained)
    chosen = replace(source, config=config, weights=weights, asked=asked)
    if chosen.model_id != source.model_id:
        chosen = replace(chosen, classes=(), classifier="", classifier_path=None)
    seeded = (part for part, each in weights.items() if each.origin == "seed" and not each.untrained)
    missing = [part for part in seeded if part not in to_train]
    if missing and not untrained:
        changed = [part for part in missing if source.weights.get(part, Weights()).trained]
        raise ModelError(_no_weights_as_changed(source.name, changed) if changed else _no_weights(source.name, missing))
    return chosen


def find_again(asked: Mapping[str, Any]) -> ModelSource:
    """The model of which `asked` was kept.

    Raises:
        ModelError: it is not where it was, or nothing was kept.
        UsageError: what was kept does not fit it.
    """
    overrides = dict(asked.get("overrides", {}))
    try:
        for name in overrides.keys() & {f"{part}_weights" for part in ("spatial", "temporal", "audio", "flow")}:
            overrides[name] = Path(overrides[name])
        overrides |= {"streams": tuple(overrides["streams"])} if "streams" in overrides else {}
        return find_model(asked["model"], Overrides(**overrides), untrained=bool(asked["untrained"]))
    except (KeyError, TypeError) as error:
        raise ModelError("it was not kept which model this is of") from error


def _asked(name_or_path: str | Path, overrides: Overrides, untrained: bool) -> dict[str, Any]:
    """What a model was asked for, with folders and files by their whole path."""
    model = str(name_or_path)
    if model not in NAMED and not _is_shipped(model) and Path(model).is_dir():
        model = str(Path(model).absolute())
    given = {name: value for name, value in vars(overrides).items() if value is not None}
    plain = {name: str(value.absolute()) if isinstance(value, Path) else value for name, value in given.items()}
    return {"model": model, "overrides": plain, "untrained": untrained}


def _found(name_or_path: str | Path) -> ModelSource:
    name = str(name_or_path)
    if name in NAMED:
        config = NAMED[name]
        return ModelSource(name, config, {part: Weights() for part in parts_of(config)})
    if name.startswith("hf:"):
        return _of_folder(_download(name.removeprefix("hf:")))
    folder = SHIPPED / name if _is_shipped(name) else Path(name)
    if not folder.is_dir():
        known = sorted([*NAMED, *(path.parent.name for path in SHIPPED.glob("*/model.json"))])
        raise ModelError(f"no model {name!r}: give a model folder, hf:owner/name, or one of {', '.join(known)}")
    return _of_folder(folder)


def _is_shipped(name: str) -> bool:
    return (SHIPPED / name / "model.json").is_file()


def _download(repository: str) -> Path:
    """The folder that a hub repository was downloaded to."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(repository, allow_patterns=list(FOLDER_PATTERNS)))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise ModelError(f"the model hf:{repository} cannot be downloaded: {error}") from error


def _of_folder(folder: Path) -> ModelSource:
    manifest = read_manifest(folder)
    files = {
        stream: Weights(folder / file, manifest.files[file]["sha256"])
        for stream in (*manifest.architecture.streams, "flow")
        if (file := f"{stream}.safetensors") in manifest.files
    }
    weights = {}
    for part in parts_of(manifest.architecture):
        stream, _, piece = part.partition(".")
        of_file = replace(files.get(stream, Weights()), prefix=f"{piece}." if piece else "")
        untrained = part in manifest.untrained or not (manifest.trained or manifest.untrained)
        weights[part] = replace(of_file, untrained=untrained)
    kind = manifest.classifier
    if kind and CLASSIFIER_FILE not in manifest.files:
        raise ModelError(f"{folder / 'model.json'} names a {kind} classifier, but not its file {CLASSIFIER_FILE}")
    path = folder / CLASSIFIER_FILE if kind else None
    return ModelSource(manifest.name, manifest.architecture, weights, tuple(manifest.classes), kind, path)


def parts_of(config: ModelConfig) -> tuple[str, ...]:
    """The parts of a model that have weights: `spatial.cnn`, `spatial.recurrent`, …, `flow`."""
    parts = []
    for stream in config.streams:
        if not _is_fixed(config, stream):
            parts.append(f"{stream}.cnn")
        if getattr(config, stream).recurrent.cell != "mean":
            parts.append(f"{stream}.recurrent")
    return (*parts, "flow") if config.flow.engine == "raft" else tuple(parts)


def _is_fixed(config: ModelConfig, stream: StreamName) -> bool:
    """Whether a stream's CNN is a formula, without weights."""
    if stream == "spatial":
        return config.spatial is not None and config.spatial.backbone == "pixels"
    return stream == "temporal" and config.temporal is not None and config.temporal.cnn == "histogram"


def _choose(
    part: str,
    source: ModelSource,
    config: ModelConfig,
    overrides: Overrides,
    untrained: bool,
    chosen: Mapping[str, Weights],
) -> Weights:
    """The weights of a part: the user's file, else the model's own where the part is unchanged, else a hub's.

    With `untrained` no backbone is downloaded, so that a model is the same with a network and without one. `chosen`
    are those of the parts before.
    """
    if (path := overrides.files.get(part)) is not None:
        if not path.is_file():
            raise ModelError(f"no weights file at {path}")
        return Weights(path, sha256_of(path))
    own = source.weights.get(part, Weights())
    unchanged = _describes(source.config, part) == _describes(config, part)
    if unchanged and (own.path or own.untrained) and not _reads_other(part, source, chosen):
        return own
    if part == "flow":
        return Weights(hub="raft_small")
    if part == "spatial.cnn" and config.spatial and config.spatial.backbone not in OWN_BACKBONES and not untrained:
        return Weights(hub=config.spatial.backbone)
    return Weights(untrained=any(each.untrained for each in source.weights.values()))


def _reads_other(part: str, source: ModelSource, chosen: Mapping[str, Weights]) -> bool:
    """Whether a part is an encoder that would read what another CNN gives than the one it was trained on."""
    stream, _, piece = part.partition(".")
    cnn = f"{stream}.cnn"
    return piece == "recurrent" and cnn in chosen and chosen[cnn].origin != source.weights.get(cnn, Weights()).origin


def _describes(config: ModelConfig, part: str) -> object:
    """The piece of the architecture that the weights of a part depend on."""
    stream, _, piece = part.partition(".")
    described = getattr(config, stream)
    return replace(described, recurrent=RecurrentConfig()) if piece == "cnn" else described


def _no_weights_as_changed(name: str, changed: Sequence[str]) -> str:
    without = ", --recurrent mean does without" if all(part.endswith(".recurrent") for part in changed) else ""
    return (
        f"the weights of {', '.join(changed)} in model {name} are not for the model as it is changed here, with "
        f"another network or another CNN before it: train-video --model {name} with the same changes trains new ones"
        f"{without}"
    )


def _no_weights(name: str, missing: Sequence[str]) -> str:
    hints = {
        "audio.cnn": "--audio-weights FILE gives the audio CNN its weights (--audio-cnn says which it is)",
        "recurrent": "--recurrent mean does without recurrent networks",
        "temporal.cnn": "--temporal-weights FILE gives the motion CNN weights, --streams spatial,audio leaves it out",
    }
    fitting = [hint for part, hint in hints.items() if any(each.endswith(part) for each in missing)]
    return (
        f"model {name} has no trained weights for {', '.join(missing)}. Train it first, or change it "
        f"({'; '.join(fitting) or 'another --backbone'}), or pass --untrained to embed with random weights all the same"
    )
