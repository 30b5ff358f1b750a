"""Trained encoders in, the classifier of a model out: fitted on the clips' embeddings, calibrated on unseen ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from tristream.training.bootstrap import Interval, accuracy_interval
from tristream.training.clipset import ClipSet
from tristream.training.recipes import ClassifierKind, Recipe
from tristream.training.reporting import Report
from tristream.training.sequence_stage import TrainedEncoder

Fusion = FusionSVM | SoftmaxFusion | LateFusion
FUSIONS: dict[str, type[Fusion]] = {"svm": FusionSVM, "softmax": SoftmaxFusion, "late": LateFusion}


@dataclass(frozen=True)
class Fused:
    """A model's classifier: its kind, its file, and top-1 on the clips held out.

    `validated` has that of the `fusion`, and that of each stream's own head on the clips that have the stream.
    """

    kind: ClassifierKind
    data: bytes
    validated: dict[str, Interval]


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
    validated: dict[str, Interval] = {}
    groups = np.array(validate.groups)
    for stream, encoder in encoders.items():
        clips = validate.of(stream)
        if encoder.validated is not None and clips:
            hits = encoder.encode(clips, final=False).probabilities.argmax(axis=1) == [clip.label for clip in clips]
            validated[stream] = accuracy_interval(hits, groups[list(validate.clips[stream])], seed=seed)
    if recipe.classifier in (VOTES, "head"):
        return Fused(recipe.classifier, _head(recipe, encoders, classes), validated)
    dims = {stream: encoder.final.encoder.vector_size for stream, encoder in encoders.items()}
    measured = new_fusion(recipe.classifier, dims, seed).fit(*_labelled(encoders, [learn], classes, final=False))
    final = new_fusion(recipe.classifier, dims, seed).fit(*_labelled(encoders, [learn, validate], classes, final=True))
    X, truth = _labelled(encoders, [validate], classes, final=False)
    if len(X):
        validated["fusion"] = accuracy_interval(measured.predict(X) == truth, groups, seed=seed)
        report.say(f"fusion: {validated['fusion'].value:.3f} of {len(X)} clips held out classified rightly")
        # Embeddings of clips that the encoders learnt from are too good to tell how sure a score is.
        final.temperature_ = measured.calibrate(X, truth).temperature_
    _, data = write_classifier(final)
    return Fused(recipe.classifier, data, validated)


def new_fusion(kind: str, dims: Dims, seed: int) -> Fusion:
    """A fusion of a kind, to be fitted; it is calibrated on clips held out, which needs no folds."""
    return FUSIONS[kind](dims=dims, random_state=seed, calibration_folds=0)


def _labelled(
    encoders: Mapping[StreamName, TrainedEncoder], sets: Sequence[ClipSet], classes: Sequence[str], *, final: bool
) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """The embeddings (N, D) of clips and their classes (N,).

    They are those of the final encoders, or of those that the clips held out are unknown to.
    """
    embeddings = []
    for clips in sets:
        vectors = {
            stream: encoder.encode(clips.of(stream), final=final).vectors for stream, encoder in encoders.items()
        }
        embeddings.append(clips.embeddings(vectors))
    names = np.array(classes)[np.concatenate([clips.labels for clips in sets])]
    return np.concatenate(embeddings), names


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
