"""Trained encoders in, the classifier of a model out: fitted on the clips' embeddings, calibrated on unseen ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from tristream.fusion.blocks import Dims
from tristream.fusion.classifier import Classifier, write_classifier
from tristream.fusion.classify import VOTES
from tristream.fusion.head import Activation, HeadClassifier
from tristream.fusion.late_fusion import LateFusion
from tristream.fusion.softmax_fusion import SoftmaxFusion
from tristream.fusion.svm import FusionSVM
from tristream.streams.config import StreamName
from tristream.training.clipset import ClipSet
from tristream.training.recipes import ClassifierKind, Recipe
from tristream.training.reporting import Report
from tristream.training.sequence_stage import TrainedEncoder

Fusion = FusionSVM | SoftmaxFusion | LateFusion
FUSIONS: dict[str, type[Fusion]] = {"svm": FusionSVM, "softmax": SoftmaxFusion, "late": LateFusion}


@dataclass(frozen=True)
class Fused:
    """A model's classifier: its kind, its file, and how it did on the clips held out."""

    kind: ClassifierKind
    data: bytes
    metrics: dict[str, Any]


def fuse(
    recipe: Recipe,
    encoders: Mapping[StreamName, TrainedEncoder],
    learn: ClipSet,
    validate: ClipSet,
    classes: Sequence[str],
    seed: int,
    report: Report,
) -> Fused:
    """The classifier of a recipe.

    That of a head is the one that its stream was trained with. A fusion is fitted twice: on the clips learnt from,
    to be measured and calibrated on those held out; then on all of them, whose embeddings the final encoders make.
    """
    metrics: dict[str, Any] = {"validation_clips": len(validate.rows)}
    for stream, encoder in encoders.items():
        clips = validate.of(stream)
        if encoder.validated is not None and clips:
            hits = encoder.encode(clips, final=False).probabilities.argmax(axis=1) == [clip.label for clip in clips]
            metrics[f"validation_{stream}_top1"] = float(np.mean(hits))
    if recipe.classifier in (VOTES, "head"):
        return Fused(recipe.classifier, _head(recipe, encoders, classes), metrics)
    measured = _fitted(recipe.classifier, encoders, learn, classes, seed, final=False)
    X, truth = _embeddings(encoders, validate, final=False), _names(classes, validate)
    if len(X):
        metrics["validation_top1"] = float(np.mean(measured.predict(X) == truth))
        report.say(f"fusion: {metrics['validation_top1']:.3f} of {len(X)} clips held out classified rightly")
    final = _fitted(recipe.classifier, encoders, learn, classes, seed, final=True, more=validate)
    if not isinstance(measured, LateFusion) and not isinstance(final, LateFusion) and len(X):
        # Embeddings of clips that the encoders learnt from are too good to tell how sure a score is.
        final.temperature_ = measured.calibrate(X, truth).temperature_
    _, data = write_classifier(final)
    return Fused(recipe.classifier, data, metrics)


def _fitted(
    kind: ClassifierKind,
    encoders: Mapping[StreamName, TrainedEncoder],
    clips: ClipSet,
    classes: Sequence[str],
    seed: int,
    *,
    final: bool,
    more: ClipSet | None = None,
) -> Fusion:
    """A fusion of the clips' embeddings."""
    sets = [clips] if more is None else [clips, more]
    X = np.concatenate([_embeddings(encoders, each, final=final) for each in sets])
    truth = np.concatenate([_names(classes, each) for each in sets])
    groups = [group for each in sets for group in each.groups]
    dims = {stream: encoder.final.encoder.vector_size for stream, encoder in encoders.items()}
    fusion = new_fusion(kind, dims, seed)
    fusion.fit(X, truth, groups)
    return fusion


def new_fusion(kind: str, dims: Dims, seed: int) -> Fusion:
    """A fusion of a kind, to be fitted; one that is calibrated on clips held out needs no folds for that."""
    return FUSIONS[kind](dims=dims, random_state=seed, calibration_folds=5 if kind == "late" else 0)


def _embeddings(encoders: Mapping[StreamName, TrainedEncoder], clips: ClipSet, *, final: bool) -> NDArray[np.float32]:
    """The embeddings (N, D) of clips."""
    vectors = {stream: encoder.encode(clips.of(stream), final=final).vectors for stream, encoder in encoders.items()}
    return clips.embeddings(vectors)


def _names(classes: Sequence[str], clips: ClipSet) -> NDArray[np.str_]:
    return np.array(classes)[clips.labels]


def _head(recipe: Recipe, encoders: Mapping[StreamName, TrainedEncoder], classes: Sequence[str]) -> bytes:
    """The file of the head of a recipe's one stream."""
    encoder = next(iter(encoders.values()))
    weight, bias = (each.detach().cpu().numpy() for each in (encoder.final.head.weight, encoder.final.head.bias))
    if recipe.classifier == VOTES:
        return save({"weight": weight, "bias": bias})
    activation: Activation = "sigmoid" if recipe.sequence.head == "sigmoid" else "softmax"
    dims = {encoder.stream: encoder.final.encoder.vector_size}
    head: Classifier = HeadClassifier(weight, bias, list(classes), dims, activation)
    _, data = write_classifier(head)
    return data
