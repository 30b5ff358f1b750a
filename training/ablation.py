"""What each stream is worth: the scores of every set of streams -> accuracies and gains with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tristream.streams.config import to_json
from tristream.streams.errors import UsageError
from tristream.training.bootstrap import Interval, accuracy_interval, gain_interval
from tristream.training.metrics import TOP_K, Labels, Scores, checked, top_k_hits

FitAndScore = Callable[[tuple[str, ...]], Scores]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Clips:
    """What is known of N clips: labels (N,) int, groups (N,), and which of the S streams they have (N, S) bool."""

    labels: Labels
    groups: NDArray[Any]
    present: Mask


@dataclass(frozen=True)
class AblationRow:
    """What one set of streams gets on the test part; no streams stands for their bare presence.

    `guessed` of the `clips` have none of the streams, and get the commonest class of the training part. They
    count in every figure but `on_present`, which is top-1 on the clips that have all of the set's streams.
    """

    streams: tuple[str, ...]
    clips: int
    guessed: int
    top1: float
    interval: Interval  # of top1
    top5: float
    mean_per_class: float
    on_present: Interval | None  # None where no clip has them all


@dataclass(frozen=True)
class StreamGain:
    """What a stream adds: top-1 of all streams less that of all but this one, on the same clips."""

    stream: str
    gain: Interval  # on all clips
    on_present: Interval | None  # on those that have the stream; None where none has
    beyond_presence: Interval  # on all clips, where the other streams are told whether this one is there


@dataclass(frozen=True)
class Ablation:
    """Every set of streams, what each stream adds, and what the bare presence of streams tells.

    Where only some classes have sound, that a clip has any tells much of its class, and says nothing of what
    it sounds like. `presence_only` is the accuracy of a rule that sees the presence mask alone.
    """

    rows: tuple[AblationRow, ...]  # singles first, all streams last
    gains: tuple[StreamGain, ...]  # none where there is one stream
    presence_only: AblationRow

    def to_json(self) -> dict[str, Any]:
        """As plain JSON data."""
        return to_json(self)


def ablate(
    fit_and_score: FitAndScore, streams: Sequence[str], class_count: int, train: Clips, test: Clips, *, seed: int = 0
) -> Ablation:
    """Score the test part with every set of `streams`, and compare.

    `fit_and_score` fits a classifier on the training part's vectors of a set of streams, and gives its class
    probabilities (N, K) on the test part; it is called once for each of the 2^S - 1 sets. `seed` is that of
    the intervals.

    Raises:
        UsageError: a part without clips, arrays that are not alike, or scores that are no probabilities.
    """
    names = tuple(streams)
    _check(names, class_count, train, test)
    sets = [chosen for size in range(1, len(names) + 1) for chosen in combinations(names, size)]
    scores = {chosen: _scores_of(fit_and_score, chosen, names, class_count, train, test) for chosen in sets}
    rows = []
    for chosen, values in scores.items():
        present = _present(test, chosen, names)
        rows.append(_row(chosen, values, test, present, guessed=~_any(present), seed=seed))
    gains = tuple(_gain(name, names, scores, train, test, seed) for name in names if len(names) > 1)
    told, unseen = presence_scores(train, test, class_count)
    presence_only = _row((), told, test, test.present[:, :0], guessed=unseen, seed=seed)
    return Ablation(tuple(rows), gains, presence_only)


def presence_scores(train: Clips, test: Clips, class_count: int) -> tuple[Scores, Mask]:
    """The class shares (N, K) of the training clips that have the very streams a test clip has.

    And which test clips (N,) have streams that no training clip has: they get the shares of all.
    """
    scores = np.tile(_shares(train.labels, class_count), (len(test.labels), 1))
    unseen = np.ones(len(test.labels), dtype=bool)
    for pattern in np.unique(train.present, axis=0):
        alike = (test.present == pattern).all(axis=1)
        scores[alike] = _shares(train.labels[(train.present == pattern).all(axis=1)], class_count)
        unseen &= ~alike
    return scores, unseen


def _scores_of(
    fit_and_score: FitAndScore,
    chosen: tuple[str, ...],
    names: tuple[str, ...],
    class_count: int,
    train: Clips,
    test: Clips,
) -> Scores:
    """The probabilities (N, K) of a set of streams; the class shares of training for clips with none of it."""
    _, scores = checked(test.labels, fit_and_score(chosen), class_count)
    if scores.min() < 0:
        raise UsageError(f"an ablation needs class probabilities, got {scores.min():g} from {', '.join(chosen)}")
    has_any = _any(_present(test, chosen, names))
    return np.where(has_any[:, None], scores, _shares(train.labels, class_count))


def _row(streams: tuple[str, ...], scores: Scores, test: Clips, present: Mask, guessed: Mask, seed: int) -> AblationRow:
    hits = top_k_hits(test.labels, scores, 1)
    interval = accuracy_interval(hits, test.groups, seed=seed)
    has_all = np.asarray(present.all(axis=1))
    return AblationRow(
        streams=streams,
        clips=len(hits),
        guessed=int(guessed.sum()),
        top1=interval.value,
        interval=interval,
        top5=float(top_k_hits(test.labels, scores, TOP_K).mean()),
        mean_per_class=float(np.mean([hits[test.labels == label].mean() for label in np.unique(test.labels)])),
        on_present=accuracy_interval(hits[has_all], test.groups[has_all], seed=seed) if has_all.any() else None,
    )


def _gain(
    stream: str, names: tuple[str, ...], scores: dict[tuple[str, ...], Scores], train: Clips, test: Clips, seed: int
) -> StreamGain:
    others = scores[tuple(name for name in names if name != stream)]
    hits = top_k_hits(test.labels, scores[names], 1)
    other_hits = top_k_hits(test.labels, others, 1)
    index = names.index(stream)
    has = test.present[:, index]
    told = others * _presence_ratios(train.labels, train.present[:, index], others.shape[1])[has.astype(int)]
    told_hits = top_k_hits(test.labels, told, 1)
    return StreamGain(
        stream,
        gain_interval(hits, other_hits, test.groups, seed=seed),
        gain_interval(hits[has], other_hits[has], test.groups[has], seed=seed) if has.any() else None,
        gain_interval(hits, told_hits, test.groups, seed=seed),
    )


def _presence_ratios(labels: Labels, present: Mask, class_count: int) -> Scores:
    """p(absent | class) / p(absent), then the same of present: (2, K), for Bayes' rule on class probabilities.

    Each class counts as if it had one clip more, that has the stream as often as all clips have: a class of
    few clips is never ruled out. A stream that all training clips have, or none, tells nothing: ratios of 1.
    """
    rate = float(present.mean())
    if rate in (0.0, 1.0):
        return np.ones((2, class_count))
    clips = np.bincount(labels, minlength=class_count)
    having = np.bincount(labels[present], minlength=class_count)
    share = (having + rate) / (clips + 1)  # (K,) p(present | class)
    return np.stack([(1 - share) / (1 - rate), share / rate])


def _shares(labels: Labels, class_count: int) -> Scores:
    """The share (K,) of each class; the highest is that of the commonest class."""
    shares: Scores = np.bincount(labels, minlength=class_count) / len(labels)
    return shares


def _present(clips: Clips, chosen: tuple[str, ...], names: tuple[str, ...]) -> Mask:
    """Which of the chosen streams each clip has (N, S')."""
    return clips.present[:, [names.index(name) for name in chosen]]


def _any(present: Mask) -> Mask:
    return np.asarray(present.any(axis=1))


def _check(names: tuple[str, ...], class_count: int, train: Clips, test: Clips) -> None:
    """Refuse parts that are no labelled clips of these streams."""
    if not names or len(set(names)) != len(names):
        raise UsageError(f"an ablation needs streams, each once, got {names}")
    for part, clips in (("training", train), ("test", test)):
        count = len(clips.labels)
        shapes = (clips.labels.shape, clips.groups.shape, clips.present.shape)
        if count == 0 or shapes != ((count,), (count,), (count, len(names))):
            raise UsageError(
                f"the {part} part needs labels (N,), groups (N,) and presence (N, {len(names)}) of at least one "
                f"clip, got {shapes[0]}, {shapes[1]} and {shapes[2]}"
            )
        if not 0 <= clips.labels.min() <= clips.labels.max() < class_count:
            raise UsageError(
                f"labels of the {part} part must be from 0 to {class_count - 1}, "
                f"got {clips.labels.min()} to {clips.labels.max()}"
            )
