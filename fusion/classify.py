"""A model's embedding of a clip or video in, what its classifier says of it out; needs no torch.

vector (D,) -> probabilities (K,), and each stream's share (S, K) of each class's score
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tristream.fusion.classifier import Classifier, read_classifier
from tristream.fusion.embedding import ClipEmbedding, VideoEmbedding
from tristream.fusion.linear import LinearFusion
from tristream.fusion.source import ModelSource, find_model
from tristream.streams.config import StreamName
from tristream.streams.errors import ModelError, UsageError

VOTES = "votes"  # the kind of a model whose steps vote; its head is part of the stream


@dataclass(frozen=True)
class Verdict:
    """What a classifier says of one embedding.

    `probabilities` (K,) are in the order of `classes`. `shares` has for each stream its part (K,) of each class's
    score; together they are the `scores` (K,).
    """

    classes: Sequence[str]
    probabilities: NDArray[np.float64]
    scores: NDArray[np.float64]
    shares: Mapping[StreamName, NDArray[np.float64]]

    def top(self, count: int) -> list[tuple[str, float]]:
        """The `count` most probable classes, each with its probability."""
        return [(self.classes[index], float(self.probabilities[index])) for index in self.order[:count]]

    @property
    def order(self) -> list[int]:
        """The indices of the classes, the most probable first."""
        indices: list[int] = np.argsort(-self.probabilities, kind="stable").tolist()
        return indices

    def to_json(self, count: int) -> list[dict[str, Any]]:
        """The `count` most probable classes as plain JSON data; the streams' shares add up to the score."""
        return [
            {
                "class": self.classes[index],
                "probability": float(self.probabilities[index]),
                "score": float(self.scores[index]),
                "streams": {stream: float(share[index]) for stream, share in self.shares.items()},
            }
            for index in self.order[:count]
        ]


class ModelClassifier:
    """The classifier of a model.

    Raises:
        ModelError: the model has none, or a damaged one.
    """

    def __init__(self, source: ModelSource, dims: Mapping[StreamName, int]) -> None:
        if not source.classifier or source.classifier_path is None:
            raise _no_classifier(source)
        self.kind = source.classifier
        self.classes = source.classes
        self._dims = dims
        self._classifier: Classifier | None = None
        if self.kind != VOTES:
            self._classifier = read_classifier(self.kind, _read(source.classifier_path), dims, source.classes)

    @property
    def temperature(self) -> float:
        """What a fusion's scores are divided by before the softmax; 1 where it is none."""
        return self._classifier.temperature_ if isinstance(self._classifier, LinearFusion) else 1.0

    def of(self, results: Sequence[ClipEmbedding | VideoEmbedding]) -> list[Verdict]:
        """What it says of clips, or of whole videos.

        Raises:
            UsageError: a result of another model, or without an embedding.
        """
        if not results:
            return []
        if self._classifier is None:
            return [self._by_votes(result) for result in results]
        if wrong := [result for result in results if len(result.vector) != sum(self._dims.values())]:
            raise UsageError(f"this classifier needs embeddings of {dict(self._dims)}, got {wrong[0].vector.shape = }")
        X = np.stack([result.vector for result in results]).astype(np.float64)  # (N, D)
        shares = self._classifier.contributions(X)  # (N, S, K)
        return [
            Verdict(self.classes, probabilities, own.sum(axis=0), dict(zip(self._dims, own, strict=True)))
            for probabilities, own in zip(self._classifier.predict_proba(X), shares, strict=True)
        ]

    def _by_votes(self, result: ClipEmbedding | VideoEmbedding) -> Verdict:
        """The votes themselves; a video's are those of its clips, by their length."""
        clips = result.clips if isinstance(result, VideoEmbedding) else (result,)
        lengths = [clip.end_seconds - clip.start_seconds for clip in clips]
        if not clips or any(len(clip.votes) != len(self.classes) for clip in clips):
            raise UsageError(f"this model's steps vote on {len(self.classes)} classes; the embedding has no such votes")
        shares = np.average([clip.votes for clip in clips], axis=0, weights=lengths).astype(np.float64)  # (K,)
        return Verdict(self.classes, shares, shares, {next(iter(self._dims)): shares})


def find_classifying_model(name_or_path: str | Path) -> ModelSource:
    """The source of a model that has a classifier; it reads no weights.

    Raises:
        ModelError: no such model, a damaged folder, or a model without classifier or weights.
    """
    # A recipe's name lacks weights, too; what it lacks first of all is a training.
    source = find_model(name_or_path, untrained=True)
    if not source.classifier:
        raise _no_classifier(source)
    if missing := [part for part, weights in source.weights.items() if weights.origin == "seed"]:
        raise ModelError(f"model {source.name} has no weights for {', '.join(missing)}; copy its whole folder again")
    return source


def _no_classifier(source: ModelSource) -> ModelError:
    return ModelError(
        f"model {source.name} has no classifier: train one with train-video, "
        "or give the folder of a model that was trained with classes, unchanged"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
