"""Metrics: what each figure says, against scikit-learn's, and where a figure cannot be had."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, top_k_accuracy_score

from tristream.streams.config import from_json
from tristream.streams.errors import UsageError
from tristream.training.metrics import Metrics, measure, top_k_hits


def names(count: int) -> list[str]:
    return [f"class {index}" for index in range(count)]


def probabilities(labels: NDArray[np.int64], classes: int, seed: int = 0, skill: float = 1.5) -> NDArray[np.float64]:
    """Class probabilities (N, K) that are higher for the true class by a skill."""
    scores = np.random.default_rng(seed).normal(size=(len(labels), classes))
    scores[np.arange(len(labels)), labels] += skill
    raised: NDArray[np.float64] = np.exp(scores)
    return raised / raised.sum(axis=1, keepdims=True)


# What they are


def test_five_clips_counted_by_hand() -> None:
    scores = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0]]
    metrics = measure([0, 0, 1, 1, 2], scores, ["run", "swim", "fly"])
    assert metrics.clips == 5
    assert metrics.top1 == pytest.approx(0.8)
    assert metrics.confusion == ((1, 1, 0), (0, 2, 0), (0, 0, 1))
    assert metrics.per_class == (0.5, 1.0, 1.0)
    assert metrics.mean_per_class == metrics.balanced_accuracy == pytest.approx(2.5 / 3)
    assert metrics.log_loss == pytest.approx(-np.log([0.7, 0.3, 0.8, 0.5, 1.0]).mean())
    # Each clip alone in its bin of confidence: |right - confidence| of each.
    assert metrics.calibration_error == pytest.approx((0.3 + 0.6 + 0.2 + 0.5 + 0.0) / 5)


@given(
    classes=st.integers(3, 9),
    clips=st.integers(2, 60),
    seed=st.integers(0, 99),
    skill=st.sampled_from([0.0, 1.5, 20.0]),
)
@settings(deadline=None, max_examples=60)
def test_they_are_scikit_learns_where_it_has_them(classes: int, clips: int, seed: int, skill: float) -> None:
    labels = np.resize(np.arange(classes), max(clips, 2 * classes))  # every class has clips
    scores = probabilities(labels, classes, seed, skill)
    metrics = measure(labels, scores, names(classes))
    everything = np.arange(classes)
    assert metrics.top1 == pytest.approx(top_k_accuracy_score(labels, scores, k=1, labels=everything))
    if classes > 5:
        assert metrics.top5 == pytest.approx(top_k_accuracy_score(labels, scores, k=5, labels=everything))
    assert metrics.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, scores.argmax(axis=1)))
    areas = roc_auc_score(labels, scores, multi_class="ovr", average=None)
    assert metrics.roc_auc == pytest.approx(tuple(areas))
    assert metrics.macro_roc_auc == pytest.approx(np.mean(areas))
    assert np.sum(metrics.confusion) == metrics.clips == len(labels)
    assert metrics.top1 == pytest.approx(np.trace(np.array(metrics.confusion)) / metrics.clips)


@given(clips=st.integers(1, 20), classes=st.integers(2, 8), k=st.integers(1, 9), seed=st.integers(0, 99))
def test_of_equal_scores_the_first_class_counts_as_argmax_says(clips: int, classes: int, k: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels, scores = generator.integers(classes, size=clips), generator.integers(3, size=(clips, classes)).astype(float)
    best_first = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(top_k_hits(labels, scores, k), (best_first == labels[:, None]).any(axis=1))
    np.testing.assert_array_equal(top_k_hits(labels, scores, 1), scores.argmax(axis=1) == labels)


@pytest.mark.parametrize("classes", [2, 5])
def test_top5_of_five_classes_or_fewer_is_one_by_definition(classes: int) -> None:
    labels = np.arange(classes)
    assert measure(labels, np.eye(classes)[::-1], names(classes)).top5 == 1.0


def test_a_perfect_and_a_blind_classifier() -> None:
    labels = np.repeat(np.arange(4), 5)
    perfect = measure(labels, np.eye(4)[labels], names(4))
    assert (perfect.top1, perfect.macro_roc_auc, perfect.calibration_error) == (1.0, 1.0, 0.0)
    assert perfect.log_loss == pytest.approx(0.0)
    blind = measure(labels, np.full((20, 4), 0.25), names(4))
    assert (blind.top1, blind.macro_roc_auc) == (0.25, 0.5)
    assert blind.log_loss == pytest.approx(np.log(4))
    assert blind.calibration_error == pytest.approx(0.0)  # it says 1/4 and is right in 1/4


def test_probabilities_drawn_from_themselves_are_calibrated_and_boasts_are_not() -> None:
    generator = np.random.default_rng(3)
    said = generator.dirichlet(np.ones(3), size=6000)
    labels = (generator.random((6000, 1)) > said.cumsum(axis=1)[:, :2]).sum(axis=1)
    honest, boasting = measure(labels, said, names(3)), measure(labels, np.eye(3)[said.argmax(axis=1)], names(3))
    assert honest.calibration_error is not None
    assert honest.calibration_error < 0.03
    assert boasting.calibration_error == pytest.approx(1 - boasting.top1)


# What cannot be had


def test_a_class_without_clips_has_no_figure_and_counts_in_no_mean() -> None:
    labels = np.array([0, 0, 2, 2])
    scores = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.0, 0.1, 0.9]])
    metrics = measure(labels, scores, names(3))
    assert metrics.per_class == (0.5, None, 1.0)
    assert metrics.mean_per_class == pytest.approx(0.75)
    assert metrics.roc_auc == (1.0, None, 1.0)
    assert metrics.macro_roc_auc == 1.0


def test_clips_of_one_class_only_have_no_roc() -> None:
    metrics = measure([1, 1], [[0.4, 0.6], [0.6, 0.4]], names(2))
    assert metrics.roc_auc == (None, None)
    assert metrics.macro_roc_auc is None
    assert metrics.top1 == metrics.mean_per_class == 0.5


@pytest.mark.parametrize("scores", [[[2.0, -1.0], [0.3, 0.1]], [[0.9, 0.8], [0.1, 0.7]]])
def test_scores_that_are_no_probabilities_have_no_log_loss(scores: list[list[float]]) -> None:
    metrics = measure([0, 1], scores, names(2))
    assert metrics.log_loss is None
    assert metrics.calibration_error is None
    assert metrics.roc_auc[0] is not None


def test_probabilities_of_half_precision_are_probabilities() -> None:
    labels = np.arange(101)
    half = probabilities(labels, 101).astype(np.float16)
    assert measure(labels, half, names(101)).log_loss is not None


def test_json_and_back() -> None:
    metrics = measure([0, 0, 2], probabilities(np.array([0, 0, 2]), 3), names(3))
    data = json.loads(json.dumps(metrics.to_json(), allow_nan=False))
    assert data["per_class"][1] is None
    assert from_json(Metrics, data) == metrics


@pytest.mark.parametrize(
    ("labels", "scores", "classes", "message"),
    [
        ([], np.zeros((0, 2)), 2, r"at least one clip, got truth.shape = \(0,\)"),
        ([0, 1], np.zeros((2, 3)), 2, r"scores \(N, 2\).*\(2, 3\)"),
        ([0, 1], np.zeros((3, 2)), 2, r"\(3, 2\)"),
        ([0, 2], np.zeros((2, 2)), 2, "from 0 to 1, got 2"),
        ([0, -1], np.zeros((2, 2)), 2, "got -1"),
        ([0.0, 1.0], np.zeros((2, 2)), 2, "indices into the classes, got float64"),
        ([0], np.zeros((1, 1)), 1, "at least 2 classes, got 1"),
        ([0, 1], [[0.0, 1.0], [float("nan"), 1.0]], 2, r"finite, got \[nan, 1.0\] for clip 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(labels: list[int], scores: object, classes: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measure(labels, np.asarray(scores), names(classes))


def test_metrics_and_ablation_need_neither_torch_nor_matplotlib() -> None:
    code = "import sys, tristream.training.ablation, tristream.training.history as _; "
    code += "print({'torch', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
