"""HeadClassifier: a dense layer read as training left it, with a softmax or with sigmoids."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tristream.fusion.head import HeadClassifier
from tristream.streams.errors import ModelError, UsageError

DIMS = {"spatial": 3, "audio": 2}
GENERATOR = np.random.default_rng(0)
WEIGHT, BIAS, X = GENERATOR.normal(size=(4, 5)), GENERATOR.normal(size=4), GENERATOR.normal(size=(6, 5))
X[2, 3:] = 0.0
CLASSES = ["walk", "run", "jump", "clap"]  # in the order of the layer's outputs


def test_a_softmax_head_is_the_layers_softmax() -> None:
    head = HeadClassifier(WEIGHT, BIAS, CLASSES, DIMS)
    outputs = X @ WEIGHT.T + BIAS
    assert_allclose(head.decision_function(X), outputs)
    assert_allclose(head.predict_proba(X), np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True))
    assert head.predict(X).tolist() == [CLASSES[i] for i in outputs.argmax(axis=1)]


def test_sigmoids_are_divided_by_their_sum() -> None:
    head = HeadClassifier(WEIGHT, BIAS, CLASSES, DIMS, "sigmoid")
    sigmoids = 1 / (1 + np.exp(-(X @ WEIGHT.T + BIAS)))
    assert_allclose(head.predict_proba(X), sigmoids / sigmoids.sum(axis=1, keepdims=True))
    assert_allclose(head.predict_proba(-1e4 * np.abs(X)).sum(axis=1), 1.0)  # where every sigmoid is 0


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_two_classes_have_one_score(activation: Any) -> None:
    head = HeadClassifier(WEIGHT[:2], BIAS[:2], CLASSES[:2], DIMS, activation)
    scores = head.decision_function(X)
    assert_allclose(2 * scores, (X @ WEIGHT.T + BIAS)[:, 1] - (X @ WEIGHT.T + BIAS)[:, 0])
    assert (head.predict_proba(X).argmax(axis=1) == (scores > 0)).all()
    assert_allclose(head.contributions(X)[..., 0], -head.contributions(X)[..., 1])


def test_a_stream_that_a_clip_has_not_contributes_nothing() -> None:
    shares = HeadClassifier(WEIGHT, BIAS, CLASSES, DIMS).contributions(X)
    np.testing.assert_array_equal(shares[2, 1], 0.0)
    assert_allclose(shares[2, 0], X[2] @ WEIGHT.T + BIAS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weight": WEIGHT[:3]}, r"'weight'.*must be \(4, 5\)"),
        ({"bias": BIAS[:3]}, r"'bias'.*must be \(4,\)"),
        ({"bias": BIAS * np.nan}, "'bias'.*finite"),
        ({"activation": "tanh"}, "softmax, sigmoid; got 'tanh'"),
        ({"classes": ["walk"] * 4}, "each once"),
        ({"dims": {"spatial": 5, "audio": 0}}, "must be positive"),
    ],
)
def test_a_head_that_cannot_be_is_refused(changed: dict[str, Any], message: str) -> None:
    parts = {"weight": WEIGHT, "bias": BIAS, "classes": CLASSES, "dims": DIMS}
    with pytest.raises(ModelError, match=message):
        HeadClassifier(**(parts | changed))


def test_embeddings_of_another_width_are_refused() -> None:
    with pytest.raises(UsageError, match=r"needs embeddings \(N, 5\), got \(6, 4\)"):
        HeadClassifier(WEIGHT, BIAS, CLASSES, DIMS).predict_proba(X[:, :4])
