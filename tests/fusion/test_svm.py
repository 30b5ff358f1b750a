"""FusionSVM: the paper's SVM, that bare presence tells it nothing, and that its probabilities are meant."""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from tristream.fusion import svm
from tristream.fusion.blocks import checked_dims
from tristream.fusion.svm import FusionSVM

sys.path.append(str(Path(__file__).parent))
from fake_clips import DIMS, made_clips


class HalvedSVM(FusionSVM):
    """A FusionSVM of two streams however wide the checks' data is."""

    def _begin(self, X: Any, y: Any) -> Any:
        begun = super()._begin(X, y)
        width = begun[0].shape[1]
        self.dims_ = checked_dims({"a": width // 2, "b": width - width // 2} if width > 1 else None, width)
        return begun


@parametrize_with_checks([FusionSVM(), HalvedSVM(), FusionSVM(calibration_folds=0)])
def test_it_is_a_scikit_learn_classifier(estimator: FusionSVM, check: Any) -> None:
    check(estimator)


# The SVM


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_linear_svm_of_the_standardised_embedding(classes: int) -> None:
    clips = made_clips(200, classes, silent=0.0)
    fusion = FusionSVM(dims=DIMS, calibration_folds=0).fit(clips.X, clips.y)
    standardised = (clips.X - clips.X.mean(axis=0)) / clips.X.std(axis=0)
    loss = {"loss": "hinge"} if classes == 2 else {"multi_class": "crammer_singer"}
    exact = LinearSVC(**loss, C=1 / (0.01 * 200), tol=1e-6, max_iter=100_000).fit(standardised, clips.y)
    np.testing.assert_allclose(fusion.decision_function(clips.X), exact.decision_function(standardised), atol=0.01)


def test_alpha_is_the_weight_of_l2_as_stochastic_descent_has_it() -> None:
    clips = made_clips(400, 2, noise=3.0, silent=0.0)
    fusion = FusionSVM(alpha=0.05, calibration_folds=0).fit(clips.X, clips.y)
    standardised = fusion.standardiser_.apply(clips.X)
    descent = SGDClassifier(alpha=0.05, average=True, max_iter=300, tol=None, random_state=0)
    np.testing.assert_allclose(fusion.coef_, descent.fit(standardised, clips.y).coef_, atol=0.02)


def test_it_tells_classes_of_clips_it_has_not_seen() -> None:
    clips, others = made_clips(200), made_clips(400, seed=1)
    fusion = FusionSVM(dims=DIMS).fit(clips.X, clips.y, clips.groups)
    assert fusion.score(others.X, others.y) > 0.85
    assert fusion.predict(others.X).dtype.kind == "U"
    assert fusion.dims_ == DIMS


def test_an_optimum_that_was_not_reached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svm, "FEWEST_PASSES", 3)
    monkeypatch.setattr(svm, "MAX_VISITS", 0)
    clips = made_clips(100)
    with pytest.warns(ConvergenceWarning, match="after 3 iterations.*larger weight of L2 than alpha=1e-06"):
        FusionSVM(alpha=1e-6, calibration_folds=0).fit(clips.X, clips.y)


@pytest.mark.parametrize("alpha", [1e-3, 1e-2, 1.0])
@pytest.mark.parametrize("noise", [0.1, 1.0, 5.0])
def test_ordinary_embeddings_reach_the_optimum_without_a_warning(alpha: float, noise: float) -> None:
    clips = made_clips(120, noise=noise)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FusionSVM(dims=DIMS, alpha=alpha).fit(clips.X, clips.y)


# Bare presence


def sounding(clips: int, classes: int, share: float, size: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Vectors that say nothing, where the classes of the upper half have them and the lower half's are silent."""
    generator = np.random.default_rng(seed)
    upper = generator.random(clips) < share
    labels = generator.integers(0, classes // 2, clips) + np.where(upper, classes // 2, 0)
    return np.where(upper[:, None], 2.0 + generator.normal(size=(clips, size)), 0.0), labels


@pytest.mark.parametrize("share", [0.3, 0.45, 0.5, 0.55, 0.7])
@pytest.mark.parametrize("size", [5, 60])
def test_bare_presence_is_no_knowledge(share: float, size: int) -> None:
    fusion = FusionSVM().fit(*sounding(300, 2, share, size, seed=0))
    X, y = sounding(2000, 2, 0.5, size, seed=1)
    assert ((X != 0).any(axis=1) == y).all()  # presence would tell every one
    assert fusion.score(X, y) == pytest.approx(0.5, abs=0.03)


def test_of_two_that_differ_in_presence_alone_the_weights_are_zero() -> None:
    X, y = sounding(300, 2, 0.4, 60, seed=0)
    np.testing.assert_allclose(FusionSVM().fit(X, y).coef_, 0.0, atol=1e-3)


def test_a_class_that_is_told_by_sound_is_told_among_silent_ones_too() -> None:
    clips, others = made_clips(300, silent=0.0), made_clips(600, silent=0.0, seed=1)
    for made in (clips, others):
        made.X[np.isin(made.y, ["archery", "diving"]), :20] = 0.0  # told by sound alone
    fusion = FusionSVM(dims=DIMS).fit(clips.X, clips.y)
    assert fusion.score(others.X, others.y) > 0.75


# Probabilities


def calibration_error(probabilities: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error: how far confidence is from accuracy, over bins of like confidence."""
    confidence = probabilities.max(axis=1)
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs((right - confidence)[bin_of == index].sum()) for index in range(bins)]
    return float(sum(gaps) / len(right))


@pytest.mark.parametrize(("classes", "noise"), [(2, 4.0), (4, 1.5)])
def test_probabilities_are_as_often_right_as_they_say(classes: int, noise: float) -> None:
    clips, others = made_clips(600, classes, noise=noise), made_clips(4000, classes, noise=noise, seed=1)
    fusion = FusionSVM(dims=DIMS).fit(clips.X, clips.y)
    bare = FusionSVM(dims=DIMS, calibration_folds=0).fit(clips.X, clips.y)
    right = fusion.predict(others.X) == others.y
    assert 0.7 < right.mean() < 0.95  # the noise leaves doubt
    calibrated = calibration_error(fusion.predict_proba(others.X), right)
    assert calibrated < 0.04
    assert calibrated < calibration_error(bare.predict_proba(others.X), right) / 2


def test_held_out_clips_calibrate_without_changing_a_class() -> None:
    clips, held_out, others = (made_clips(count) for count in (200, 600, 2000))
    fusion = FusionSVM(dims=DIMS, calibration_folds=0).fit(clips.X, clips.y)
    assert fusion.temperature_ == 1.0
    fusion.temperature_ = 5.0  # far too unsure
    before, unsure = fusion.predict(others.X), fusion.predict_proba(others.X)
    right = before == others.y
    assert fusion.calibrate(held_out.X, held_out.y) is fusion
    assert calibration_error(fusion.predict_proba(others.X), right) < 0.03 < calibration_error(unsure, right)
    np.testing.assert_array_equal(fusion.predict(others.X), before)


# Refusals


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": 0.0}, "alpha must be a positive number, got 0.0"),
        ({"alpha": float("nan")}, "alpha must be a positive number, got nan"),
        ({"calibration_folds": -1}, "calibration_folds must be at least 0"),
        ({"dims": {"spatial": 3}}, "add up to the 26 columns"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(parameters: dict[str, Any], message: str) -> None:
    clips = made_clips(40)
    with pytest.raises(ValueError, match=message):
        FusionSVM(**parameters).fit(clips.X, clips.y)


def test_one_class_only_is_refused() -> None:
    with pytest.raises(ValueError, match="two classes or more, got one class: 'diving'"):
        FusionSVM().fit(np.eye(3), ["diving"] * 3)


def test_clips_of_a_strange_class_do_not_calibrate() -> None:
    clips = made_clips(40)
    fusion = FusionSVM().fit(clips.X, clips.y)
    with pytest.raises(ValueError, match="class 'cooking', which is none of those"):
        fusion.calibrate(clips.X[:1], ["cooking"])
    with pytest.raises(ValueError, match="a class for each of 40 clips"):
        fusion.calibrate(clips.X, clips.y[:3])
