"""LateFusion: probabilities of streams averaged over those that a clip has, without knowledge from bare presence."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from tristream.fusion.embedding import slices_of
from tristream.fusion.late_fusion import LateFusion
from tristream.fusion.softmax_fusion import SoftmaxFusion

sys.path.append(str(Path(__file__).parent))
from fake_clips import DIMS, made_clips

pytestmark = pytest.mark.usefixtures("one_thread")


@parametrize_with_checks([LateFusion()])
def test_it_is_a_scikit_learn_classifier(estimator: LateFusion, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_mean_of_each_streams_own_softmax(classes: int) -> None:
    clips = made_clips(200, classes, silent=0.0)
    fusion = LateFusion(dims=DIMS, calibration_folds=0).fit(clips.X, clips.y)
    parts = [clips.X[:, block] for block in slices_of(DIMS).values()]
    alone = [SoftmaxFusion(calibration_folds=0).fit(part, clips.y).predict_proba(part) for part in parts]
    np.testing.assert_allclose(fusion.predict_proba(clips.X), np.mean(alone, axis=0), atol=1e-9)


def test_a_silent_clip_is_the_mean_of_the_other_streams() -> None:
    clips = made_clips(200)
    fusion = LateFusion(dims=DIMS, calibration_folds=0).fit(clips.X, clips.y)
    shares = fusion.contributions(clips.X)
    silent = ~clips.X[:, -6:].any(axis=1)
    np.testing.assert_array_equal(shares[silent, 2], 0.0)
    assert (shares[silent, :2].min(axis=(1, 2)) >= -1 / 4 / 2).all()  # half of a probability less 1/K
    np.testing.assert_allclose(shares.sum(axis=2), 0.0, atol=1e-12)  # of a stream's probabilities, less 1/K each


@pytest.mark.parametrize("classes", [2, 4])
def test_a_class_that_never_has_the_stream_keeps_its_share_of_clips(classes: int) -> None:
    clips = made_clips(400, classes, silent=0.0)
    silent = np.isin(clips.y, np.unique(clips.y)[:1])
    clips.X[silent, -6:] = 0.0
    fusion = LateFusion(dims=DIMS, calibration_folds=0).fit(clips.X, clips.y)
    heard = clips.X[~silent].copy()
    heard[:, :-6] = 0.0  # sound alone
    np.testing.assert_allclose(fusion.predict_proba(heard)[:, 0], 1 / classes)
    np.testing.assert_allclose(fusion.predict_proba(np.zeros((1, 26))), 1 / classes)  # no stream: the prior


def test_the_share_of_clips_that_have_a_stream_does_not_favour_a_class() -> None:
    generator = np.random.default_rng(0)
    y = np.arange(2000) % 2
    X = 1 + generator.normal(size=(2000, 4))  # says nothing
    X[(y == 0) & (generator.random(2000) < 0.9)] = 0.0
    np.testing.assert_allclose(LateFusion(calibration_folds=0).fit(X, y).predict_proba(X[y == 1]), 0.5, atol=0.15)


def test_it_tells_classes_and_its_mean_is_sharpened() -> None:
    clips, others = made_clips(300), made_clips(1000, seed=1)
    fusion = LateFusion(dims=DIMS).fit(clips.X, clips.y, clips.groups)
    right = fusion.predict(others.X) == others.y
    assert right.mean() > 0.8
    assert fusion.temperature_ < 0.6
    assert fusion.predict_proba(others.X).max(axis=1).mean() == pytest.approx(right.mean(), abs=0.05)
