"""Temperatures: found where they are known, bounded by the number of clips, and cross-validated by group."""

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax

from tristream.fusion import calibration
from tristream.fusion.calibration import cross_validated_temperature, fit_temperature
from tristream.fusion.svm import FusionSVM
from tristream.streams.errors import UsageError


def drawn(logits: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.intp]:
    """A class for each row, drawn by the softmax of its logits."""
    cumulative = softmax(logits, axis=1).cumsum(axis=1)
    return (generator.random((len(logits), 1)) > cumulative[:, :-1]).sum(axis=1)


@given(temperature=st.floats(0.05, 20), classes=st.integers(2, 6), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_the_temperature_that_made_the_classes_is_found(temperature: float, classes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(4000, classes))
    assert fit_temperature(temperature * logits, drawn(logits, generator)) == pytest.approx(temperature, rel=0.15)


@pytest.mark.parametrize("clips", [10, 100, 1000])
def test_clips_that_are_all_right_are_as_sure_as_so_many_allow(clips: int) -> None:
    labels = np.arange(clips) % 2
    logits = np.where(labels[:, None] == np.arange(2), 3.0, -3.0)
    sure = softmax(logits / fit_temperature(logits, labels), axis=1).max(axis=1)
    np.testing.assert_allclose(sure, (clips + 1) / (clips + 2), rtol=1e-4)


def test_scores_that_know_nothing_give_no_odds() -> None:
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(500, 3)), generator.integers(0, 3, 500)
    np.testing.assert_allclose(softmax(logits / fit_temperature(logits, labels), axis=1), 1 / 3, atol=0.1)


class Recorder(FusionSVM):
    """Keeps the rows that its copies were fitted on (`X` holds their numbers)."""

    fitted_on: ClassVar[list[set[int]]] = []

    def fit(self, X, y, groups=None):  # type: ignore[no-untyped-def]
        self.fitted_on.append(set(X[:, 1].astype(int)))
        return super().fit(X, y, groups)


def numbered(labels: NDArray[np.intp]) -> NDArray[np.float64]:
    generator = np.random.default_rng(0)
    return np.stack([labels + generator.normal(size=len(labels)), np.arange(len(labels))], axis=1)


def test_a_group_is_never_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "fitted_on", [])
    labels, groups = np.arange(60) % 2, np.arange(60) // 6
    cross_validated_temperature(Recorder(), numbered(labels), labels, groups)
    assert len(Recorder.fitted_on) == 5
    for rows in Recorder.fitted_on:
        assert 0 < len(rows) < 60
        assert not {groups[row] for row in rows} & {groups[row] for row in set(range(60)) - rows}


@pytest.mark.parametrize(("counts", "folds"), [((20, 20), 5), ((20, 3), 3), ((20, 1), 0)])
def test_there_are_as_many_folds_as_the_rarest_class_allows(
    monkeypatch: pytest.MonkeyPatch, counts: tuple[int, int], folds: int
) -> None:
    monkeypatch.setattr(Recorder, "fitted_on", [])
    labels = np.repeat([0, 1], counts)
    temperature = cross_validated_temperature(Recorder(), numbered(labels), labels, None)
    assert len(Recorder.fitted_on) == folds
    assert (temperature == 1.0) == (folds == 0)


def test_further_folds_are_left_out_where_one_has_clips_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "fitted_on", [])
    monkeypatch.setattr(calibration, "ENOUGH_CLIPS", 20)
    labels = np.arange(60) % 2
    cross_validated_temperature(Recorder(), numbered(labels), labels, None)
    assert len(Recorder.fitted_on) == 2  # of 12 clips each


def test_a_class_of_one_group_leaves_the_temperature_at_1() -> None:
    labels = np.arange(20) % 2
    assert cross_validated_temperature(FusionSVM(), numbered(labels), labels, labels) == 1.0


@pytest.mark.parametrize("groups", [[1, 2], np.zeros((20, 2))])
def test_groups_that_are_not_one_a_clip_are_refused(groups: list[int]) -> None:
    labels = np.arange(20) % 2
    with pytest.raises(UsageError, match="one group for each of the 20 clips"):
        cross_validated_temperature(FusionSVM(), numbered(labels), labels, groups)
