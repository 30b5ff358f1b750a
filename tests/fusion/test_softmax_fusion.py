"""SoftmaxFusion: logistic regression of the standardised embedding, with half the log odds of two classes."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from tristream.fusion import softmax_fusion
from tristream.fusion.softmax_fusion import SoftmaxFusion

sys.path.append(str(Path(__file__).parent))
from fake_clips import DIMS, made_clips

pytestmark = pytest.mark.usefixtures("one_thread")


@parametrize_with_checks([SoftmaxFusion()])
def test_it_is_a_scikit_learn_classifier(estimator: SoftmaxFusion, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("classes", [2, 4])
def test_its_probabilities_are_logistic_regressions(classes: int) -> None:
    clips = made_clips(200, classes, silent=0.0)
    fusion = SoftmaxFusion(dims=DIMS, calibration_folds=0).fit(clips.X, clips.y)
    standardised = (clips.X - clips.X.mean(axis=0)) / clips.X.std(axis=0)
    exact = LogisticRegression(C=1 / (0.01 * 200), tol=1e-8, max_iter=5000).fit(standardised, clips.y)
    np.testing.assert_allclose(fusion.predict_proba(clips.X), exact.predict_proba(standardised), atol=5e-3)


def test_bare_presence_is_no_knowledge() -> None:
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(300, 20)), np.arange(300) % 3 == 0
    X[~y] = 0.0
    np.testing.assert_array_equal(SoftmaxFusion().fit(X, y).coef_, 0.0)


def test_an_optimum_that_was_not_reached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax_fusion, "MAX_ITERATIONS", 2)
    clips = made_clips(100)
    with pytest.warns(ConvergenceWarning, match="after 2 iterations.*larger weight of L2"):
        SoftmaxFusion(calibration_folds=0).fit(clips.X, clips.y)
