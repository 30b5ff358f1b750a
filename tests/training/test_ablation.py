"""Ablation: what each set of streams gets, and knowledge told from bare presence."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from tristream.streams.config import from_json
from tristream.streams.errors import UsageError
from tristream.training.ablation import Ablation, Clips, FitAndScore, ablate, presence_scores

STREAMS = ("spatial", "temporal", "audio")
CLASSES = 6
WITH_SOUND = 3  # the first three classes have sound, the others none


def part(per_class: int, present: NDArray[np.bool_] | None = None) -> Clips:
    """Clips of six classes, two of each in a group; by default sound tells the first three from the others."""
    labels = np.repeat(np.arange(CLASSES), per_class)
    groups = np.array([f"{label}-{index // 2}" for index, label in enumerate(labels)])
    seen = np.ones(len(labels), dtype=bool)
    return Clips(labels, groups, np.stack([seen, seen, labels < WITH_SOUND], axis=1) if present is None else present)


def guesses(labels: NDArray[np.int64], right: NDArray[np.bool_] | bool, confidence: float = 0.9) -> NDArray[np.float64]:
    """Probabilities (N, K) for the true class where `right`, else for the next one."""
    chosen = np.where(right, labels, (labels + 1) % CLASSES)
    rest = (1 - confidence) / (CLASSES - 1)
    return rest + (confidence - rest) * np.eye(CLASSES)[chosen]


def always(scores: NDArray[np.float64]) -> FitAndScore:
    return lambda _: scores


def row_of(ablation: Ablation, *streams: str) -> float:
    (row,) = [row for row in ablation.rows if row.streams == streams]
    return row.top1


# The sets


def test_every_set_of_streams_is_fitted_once_singles_first() -> None:
    asked: list[tuple[str, ...]] = []

    def fit_and_score(streams: tuple[str, ...]) -> NDArray[np.float64]:
        asked.append(streams)
        return guesses(test.labels, True)

    train, test = part(4), part(6)
    ablation = ablate(fit_and_score, STREAMS, CLASSES, train, test)
    expected = [
        ("spatial",),
        ("temporal",),
        ("audio",),
        ("spatial", "temporal"),
        ("spatial", "audio"),
        ("temporal", "audio"),
        STREAMS,
    ]
    assert asked == expected == [row.streams for row in ablation.rows]
    assert [gain.stream for gain in ablation.gains] == list(STREAMS)


def test_clips_without_any_of_a_sets_streams_get_the_commonest_class_of_training() -> None:
    test = part(4)
    train = part(4)
    commonest = 4  # a class without sound
    more = np.concatenate([train.labels, [commonest]])
    present = np.concatenate([train.present, [[True, True, False]]])
    train = Clips(more, np.arange(len(more)), present)
    ablation = ablate(always(guesses(test.labels, True)), STREAMS, CLASSES, train, test)
    (audio,) = [row for row in ablation.rows if row.streams == ("audio",)]
    assert (audio.clips, audio.guessed) == (24, 12)
    assert audio.top1 == audio.interval.value == pytest.approx((12 + 4) / 24)  # sound, and class 4 by guess
    assert audio.mean_per_class == pytest.approx(4 / 6)
    assert audio.on_present is not None
    assert (audio.on_present.value, audio.on_present.clips) == (1.0, 12)
    others = [row for row in ablation.rows if row.streams != ("audio",)]
    assert {row.guessed for row in others} == {0}
    assert {row.on_present.clips for row in others if row.on_present and "audio" in row.streams} == {12}


def test_a_stream_that_no_test_clip_has() -> None:
    present = np.array([[True, True, False]] * 12)
    ablation = ablate(always(guesses(part(2).labels, True)), STREAMS, CLASSES, part(2), part(2, present))
    (audio,) = [row for row in ablation.rows if row.streams == ("audio",)]
    assert audio.guessed == 12
    assert audio.on_present is None
    assert ablation.gains[2].on_present is None


def test_one_stream_has_nothing_to_gain_over() -> None:
    seen = np.ones((12, 1), dtype=bool)
    ablation = ablate(always(guesses(part(2).labels, True)), ["spatial"], CLASSES, part(2, seen), part(2, seen))
    assert [row.streams for row in ablation.rows] == [("spatial",)]
    assert ablation.gains == ()


def test_top5_counts_the_five_likeliest_of_six() -> None:
    test = part(2)
    scores = np.tile(np.linspace(0.3, 0.05, CLASSES), (12, 1))  # always the same order, class 5 last
    row = ablate(always(scores), STREAMS, CLASSES, part(2), test).rows[0]
    assert (row.top1, row.top5) == pytest.approx((1 / 6, 5 / 6))


# What a stream adds


def test_a_gain_is_paired_and_is_counted_where_the_stream_is_too() -> None:
    train, test = part(10), part(10)
    few = np.arange(60) % 5 > 0  # 0.8 right without sound, evenly among classes
    with_sound = few | test.present[:, 2]

    def fit_and_score(streams: tuple[str, ...]) -> NDArray[np.float64]:
        return guesses(test.labels, with_sound if "audio" in streams else few)

    ablation = ablate(fit_and_score, STREAMS, CLASSES, train, test)
    audio = ablation.gains[2]
    assert row_of(ablation, "spatial", "temporal") == pytest.approx(0.8)
    assert row_of(ablation, *STREAMS) == pytest.approx(0.9)
    assert audio.gain.value == pytest.approx(0.1)
    assert audio.gain.low > 0
    assert audio.on_present is not None
    assert (audio.on_present.value, audio.on_present.clips) == (pytest.approx(0.2), 30)
    assert ablation.gains[0].gain.value == 0.0  # sound alone is as right, but on clips that have it
    assert ablation.gains[0].on_present is not None
    assert ablation.gains[0].on_present.clips == 60


def test_a_stream_that_only_tells_by_being_there_adds_nothing_beyond_its_presence() -> None:
    train, test = part(10), part(10)
    opposite = (test.labels + WITH_SOUND) % CLASSES  # a class that has sound where this one has none
    torn = np.eye(CLASSES)[test.labels] * 0.45 + np.eye(CLASSES)[opposite] * 0.55  # sees all but that

    def fit_and_score(streams: tuple[str, ...]) -> NDArray[np.float64]:
        return guesses(test.labels, True) if "audio" in streams else torn

    audio = ablate(fit_and_score, STREAMS, CLASSES, train, test).gains[2]
    assert audio.gain.value == 1.0
    assert audio.beyond_presence.value == 0.0


def test_what_a_stream_knows_beyond_its_presence_stays() -> None:
    train, test = part(10), part(10)
    # Without sound a class is taken for one that has sound as well, so that presence cannot help.
    neighbour = np.where(test.labels < WITH_SOUND, (test.labels + 1) % WITH_SOUND, test.labels)
    torn = np.eye(CLASSES)[test.labels] * 0.4 + np.eye(CLASSES)[neighbour] * 0.6

    def fit_and_score(streams: tuple[str, ...]) -> NDArray[np.float64]:
        return guesses(test.labels, True) if "audio" in streams else torn

    audio = ablate(fit_and_score, STREAMS, CLASSES, train, test).gains[2]
    assert audio.gain.value == audio.beyond_presence.value == 0.5


def test_a_stream_that_all_clips_have_tells_nothing_by_being_there() -> None:
    seen = np.ones((60, 3), dtype=bool)
    few = guesses(part(10).labels, np.arange(60) % 3 > 0)
    ablation = ablate(always(few), STREAMS, CLASSES, part(10, seen), part(10, seen))
    assert all(gain.gain == gain.beyond_presence == gain.on_present for gain in ablation.gains)


# Bare presence


def test_presence_alone_knows_the_commonest_class_among_those_that_have_sound() -> None:
    train = part(10)
    keep = (train.labels != 1) | (np.arange(60) % 2 == 0)  # classes 0 and 2 are commoner than 1, and 3 to 5 alike
    train = Clips(train.labels[keep], train.groups[keep], train.present[keep])
    test = part(4)
    ablation = ablate(always(guesses(test.labels, True)), STREAMS, CLASSES, train, test)
    row = ablation.presence_only
    assert row.streams == ()
    assert row.top1 == pytest.approx(2 / 6)  # class 0 where there is sound, class 3 where there is none
    assert row.guessed == 0
    assert row.on_present == row.interval


def test_a_set_of_streams_that_training_never_saw_gets_the_shares_of_all() -> None:
    train = part(4)
    present = np.array([[True, False, False]] * 12)
    scores, unseen = presence_scores(train, part(2, present), CLASSES)
    assert unseen.all()
    np.testing.assert_allclose(scores, 1 / CLASSES)
    known, unseen = presence_scores(train, part(2), CLASSES)
    assert not unseen.any()
    np.testing.assert_allclose(known[0], [1 / 3, 1 / 3, 1 / 3, 0, 0, 0])
    np.testing.assert_allclose(known[-1], [0, 0, 0, 1 / 3, 1 / 3, 1 / 3])


# JSON and refusals


def test_json_and_back() -> None:
    present = np.array([[True, True, False]] * 12)
    ablation = ablate(always(guesses(part(2).labels, True)), STREAMS, CLASSES, part(2), part(2, present))
    data = json.loads(json.dumps(ablation.to_json(), allow_nan=False))
    assert data["rows"][0]["streams"] == ["spatial"]
    assert from_json(Ablation, data) == ablation


@pytest.mark.parametrize(
    ("streams", "train", "test", "scores", "message"),
    [
        ((), part(2), part(2), None, "needs streams"),
        (("audio", "audio", "spatial"), part(2), part(2), None, "each once"),
        (STREAMS[:2], part(2), part(2), None, r"training part needs .* presence \(N, 2\).*\(12, 3\)"),
        (STREAMS, part(2), part(0), None, "test part needs .* at least one clip"),
        (STREAMS, part(2), Clips(np.array([6]), np.array([0]), np.ones((1, 3), bool)), None, "test part must be from"),
        (STREAMS, part(2), part(2), np.full((12, 6), -1.0), "class probabilities, got -1 from spatial"),
        (STREAMS, part(2), part(2), np.ones((12, 5)), r"scores \(N, 6\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    streams: tuple[str, ...], train: Clips, test: Clips, scores: NDArray[np.float64] | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ablate(always(np.ones((12, CLASSES)) if scores is None else scores), streams, CLASSES, train, test)
