"""A model into a folder that `load_model` reads: one safetensors file a stream, `model.json`, a model card."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from tristream.fusion.assemble import build_parts
from tristream.fusion.folder import CLASSIFIER_FILE, ModelManifest, write_atomically, write_manifest
from tristream.fusion.source import ModelSource
from tristream.streams.errors import ModelError
from tristream.streams.weights import read_weights


@dataclass(frozen=True)
class Training:
    """What a training adds to a model: its classifier, and what it was made of and came to."""

    classes: tuple[str, ...] = ()
    classifier: str = ""  # its kind
    classifier_data: bytes = b""
    trained_on: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)  # pictures and the like, by name


def save_model(
    source: ModelSource,
    folder: Path,
    *,
    name: str,
    card: str,
    training: Training | None = None,
    float16: bool = False,
) -> None:
    """Write the networks of `source` into a new folder, in float32.

    Args:
        name: of the model, kept in its manifest.
        card: the model card, Markdown.
        training: what to write besides, for a model that was just trained; by default the source's own classifier.
        float16: write matrices and kernels in float16, for half the size; norms and biases, which are few, stay.

    Raises:
        ModelError: the folder exists and is not empty, or cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ModelError(f"{folder} exists and is not empty: save the model into a new folder")
    parts = build_parts(source)
    training = training or _own(source)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stream, (cnn, recurrent) in parts.items():
            tensors = _named("cnn", cnn) | _named("recurrent", recurrent)
            if float16:
                tensors = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in tensors.items()}
            write_atomically(folder / f"{stream}.safetensors", save(tensors))
        if (flow := source.weights.get("flow")) is not None and flow.path is not None:
            write_atomically(folder / "flow.safetensors", save(read_weights(flow.path)))
        files = dict(training.files)
        if training.classifier:
            files[CLASSIFIER_FILE] = training.classifier_data
        for file, data in files.items():
            write_atomically(folder / file, data)
        dims = {str(stream): recurrent.vector_size for stream, (_, recurrent) in parts.items()}
        untrained = list(source.untrained)
        manifest = ModelManifest(
            name=name,
            trained=not untrained,
            untrained=untrained,
            architecture=source.config,
            dims=dims,
            classes=list(training.classes),
            classifier=training.classifier,
            trained_on=training.trained_on,
            metrics=dict(training.metrics),
        )
        write_manifest(folder, manifest, card)
    except OSError as error:
        raise ModelError(f"cannot write the model to {folder}: {error.strerror or error}") from error


def _own(source: ModelSource) -> Training:
    """The classifier that the source has already."""
    if source.classifier_path is None:
        return Training()
    return Training(source.classes, source.classifier, source.classifier_path.read_bytes())


def _named(piece: str, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a piece of a stream, as they are named in its file."""
    # A backbone is stored under timm's own names.
    module = getattr(module, "backbone", module)
    return {f"{piece}.{name}": tensor.contiguous() for name, tensor in module.state_dict().items()}
