"""Trained encoders in, the classifier of a model out: fitted on the clips' embeddings, calibrated on unseen ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save
from sklearn.metrics import log_loss

from tristream.fusion.blocks import Dims, blocks_of
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
LEAST_RELIABILITY = 0.05  # so little that a stream cannot do harm, and its share can be told
FUSIONS: dict[str, type[Fusion]] = {"svm": FusionSVM, "softmax": SoftmaxFusion, "late": LateFusion}


@dataclass(frozen=True)
class Fused:
    """A model's classifier: its kind, its file, and how it did on the clips held out."""

    kind: ClassifierKind
    data: bytes
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Labelled:
    """Embeddings (N, D) of clips, their classes (N,) and groups (N,)."""

    X: NDArray[np.float32]
    y: NDArray[np.str_]
    groups: NDArray[np.str_]

    def of(self, block: slice) -> tuple[NDArray[np.float32], NDArray[np.str_], NDArray[np.str_]]:
        """The vectors (n, D_s), classes and groups of the clips that have a stream."""
        having = self.X[:, block].any(axis=1)
        return self.X[having, block], self.y[having], self.groups[having]


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
    The clips held out tell also how much each stream counts, see `reliabilities`.
    """
    metrics: dict[str, Any] = {"validation_clips": len(validate.rows)}
    for stream, encoder in encoders.items():
        clips = validate.of(stream)
        if encoder.validated is not None and clips:
            hits = encoder.encode(clips, final=False).probabilities.argmax(axis=1) == [clip.label for clip in clips]
            metrics[f"validation_{stream}_top1"] = float(np.mean(hits))
    if recipe.classifier in (VOTES, "head"):
        return Fused(recipe.classifier, _head(recipe, encoders, classes), metrics)
    dims = {stream: encoder.final.encoder.vector_size for stream, encoder in encoders.items()}
    learnt, unseen = (_labelled(encoders, [clips], classes, final=False) for clips in (learn, validate))
    weights = reliabilities(recipe.classifier, dims, learnt, unseen, seed)
    measured = new_fusion(recipe.classifier, dims, seed, weights).fit(learnt.X, learnt.y, learnt.groups)
    both = _labelled(encoders, [learn, validate], classes, final=True)
    final = new_fusion(recipe.classifier, dims, seed, weights).fit(both.X, both.y, both.groups)
    if len(unseen.X):
        metrics["validation_top1"] = float(np.mean(measured.predict(unseen.X) == unseen.y))
        counts = ", ".join(f"{stream} {weight:.2f}" for stream, weight in weights.items())
        report.say(
            f"fusion: {metrics['validation_top1']:.3f} of {len(unseen.X)} clips held out classified rightly; "
            f"streams count {counts}"
        )
        if not isinstance(final, LateFusion):
            # Embeddings of clips that the encoders learnt from are too good to tell how sure a score is.
            final.temperature_ = measured.calibrate(unseen.X, unseen.y).temperature_
    _, data = write_classifier(final)
    return Fused(recipe.classifier, data, metrics)


def new_fusion(kind: str, dims: Dims, seed: int, weights: Mapping[Any, float]) -> Fusion:
    """A fusion of a kind, to be fitted; one that is calibrated on clips held out needs no folds for that."""
    folds = 5 if kind == "late" else 0
    own = {stream: weights[stream] for stream in dims}
    return FUSIONS[kind](dims=dims, stream_weights=own, random_state=seed, calibration_folds=folds)


def reliabilities(
    kind: str, dims: Mapping[StreamName, int], learnt: Labelled, unseen: Labelled, seed: int
) -> dict[StreamName, float]:
    """How much of what is to be known of clips each stream tells by itself, against the stream that tells most.

    Encoders know the clips that they learnt from too well: on these a stream that was trained from scratch on little
    looks as good as any, and would count as much. So a fusion of each stream alone is fitted to the clips learnt
    from, and its log loss L on those held out that have the stream is compared with L0, that of the classes' shares
    among such clips: 1 - L / L0, McFadden's (1974) pseudo-R². What the bare presence of the stream tells is in L0.

    All count alike where no clip that is held out can tell, and none less than `LEAST_RELIABILITY`.
    """
    told: dict[StreamName, float] = {}
    for stream, block in zip(dims, blocks_of(dims), strict=True):
        X, y, groups = learnt.of(block)
        others, truth, _ = unseen.of(block)
        known = np.isin(truth, y)
        if len(np.unique(y)) < 2 or not known.any():
            continue
        alone = new_fusion(kind, {stream: dims[stream]}, seed, {stream: 1.0}).fit(X, y, groups)
        alone.calibrate(others[known], truth[known])
        shares = np.array([np.mean(y == name) for name in alone.classes_])
        blind = log_loss(truth[known], np.tile(shares, (known.sum(), 1)), labels=alone.classes_)
        told[stream] = 1 - log_loss(truth[known], alone.predict_proba(others[known]), labels=alone.classes_) / blind
    most = max(told.values(), default=0.0)
    if most <= 0:
        return dict.fromkeys(dims, 1.0)
    return {stream: max(told.get(stream, 0.0) / most, LEAST_RELIABILITY) for stream in dims}


def _labelled(
    encoders: Mapping[StreamName, TrainedEncoder], sets: Sequence[ClipSet], classes: Sequence[str], *, final: bool
) -> Labelled:
    """The embeddings of clips, by the final encoders or those that the clips held out are unknown to."""
    embeddings = []
    for clips in sets:
        vectors = {
            stream: encoder.encode(clips.of(stream), final=final).vectors for stream, encoder in encoders.items()
        }
        embeddings.append(clips.embeddings(vectors))
    names = np.array(classes)[np.concatenate([clips.labels for clips in sets])]
    return Labelled(np.concatenate(embeddings), names, np.array([group for clips in sets for group in clips.groups]))


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
