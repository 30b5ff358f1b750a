"""AutoencoderDetector: an estimator as scikit-learn has it, to which the strange is strange, and that says why."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.utils.estimator_checks import parametrize_with_checks

from tristream.anomaly.autoencoder import AutoencoderDetector
from tristream.streams.errors import ModelError, UsageError

DIMS = {"spatial": 12, "audio": 6}


@parametrize_with_checks([AutoencoderDetector(max_epochs=3)])
def test_it_is_a_scikit_learn_estimator(estimator: AutoencoderDetector, check: Any) -> None:
    check(estimator)


def normal(rows: int, seed: int = 0, silent: float = 0.3) -> NDArray[np.float64]:
    """Rows on a curved surface of three dimensions, a share of them without sound."""
    chance = np.random.default_rng(seed)
    of_world = np.random.default_rng(99)
    hidden = chance.uniform(-1, 1, (rows, 3))
    X = np.tanh(hidden @ of_world.normal(size=(3, 18))) + 0.05 * chance.normal(size=(rows, 18)) + 2.0
    X[chance.random(rows) < silent, 12:] = 0.0
    return X


@pytest.fixture(scope="module")
def fitted() -> AutoencoderDetector:
    return AutoencoderDetector(dims=DIMS, bottleneck=4).fit(normal(3000))


def test_what_does_not_lie_where_normal_rows_lie_is_strange(fitted: AutoencoderDetector) -> None:
    others = normal(1000, seed=1)
    shuffled = others.copy()
    for column in range(12):  # each value is usual, together they are not
        shuffled[:, column] = np.random.default_rng(column).permutation(others[:, column])
    usual, strange = fitted.decision_function(others), fitted.decision_function(shuffled)
    assert np.mean(strange[:, None] > usual[None, ::10]) > 0.95  # AUROC
    assert usual.mean() == pytest.approx(1.0, abs=0.15)  # 1 is as the rows held out are
    assert fitted.predict(others).mean() == pytest.approx(0.01, abs=0.015)
    assert fitted.predict(shuffled).mean() > 0.5
    np.testing.assert_array_equal(fitted.score_samples(others), -usual)


@pytest.mark.parametrize("times", [2.0, 10.0, 1e3])
def test_what_is_beyond_all_that_was_seen_is_the_stranger_the_further(
    fitted: AutoencoderDetector, times: float
) -> None:
    others = normal(500, seed=2, silent=0)
    centre = others.mean(axis=0)
    near, far = (fitted.decision_function(centre + factor * (others - centre)) for factor in (times / 2, times))
    assert (far > near).mean() > 0.95


def test_shares_add_up_bit_for_bit_and_name_the_stream(fitted: AutoencoderDetector) -> None:
    others = normal(400, seed=3)
    others[:100, 12:] += np.where(others[:100, 12:] != 0, 5.0, 0.0)
    shares = fitted.explain(others)
    assert shares.shape == (400, 2)
    np.testing.assert_array_equal(shares.sum(axis=1), fitted.decision_function(others))
    silent = ~others[:, 12:].any(axis=1)
    assert (shares[silent, 1] == 0).all()
    loud = ~silent[:100]
    assert (shares[:100][loud, 1] > shares[:100][loud, 0]).all()


def test_an_absent_stream_is_neither_learnt_from_nor_counted() -> None:
    """Rows with sound that says nothing score by what they show, as rows without it do."""
    detector = AutoencoderDetector(dims=DIMS, bottleneck=4).fit(normal(3000, silent=1.0))
    others = normal(300, seed=4, silent=1.0)
    assert detector.decision_function(others).mean() == pytest.approx(1.0, abs=0.2)
    assert (detector.explain(others)[:, 1] == 0).all()
    nothing = np.zeros((2, 18))
    assert detector.decision_function(nothing).tolist() == [0.0, 0.0]


def test_a_place_tells_what_is_usual_there() -> None:
    """Rows of one value at one place and of another at another: known by the place alone."""
    chance = np.random.default_rng(0)
    place = chance.choice([-1.0, 1.0], 4000)
    X = np.column_stack([place * 3 + 0.3 * chance.normal(size=4000), chance.normal(size=(4000, 3)), place])
    detector = AutoencoderDetector(context=1, bottleneck=3).fit(X)
    moved = X[-500:].copy()
    moved[:, -1] *= -1
    usual = detector.decision_function(X[-500:])
    strange = detector.decision_function(moved)
    assert np.median(strange) > 3 * np.median(usual)


def test_it_follows_a_slow_drift() -> None:
    detector = AutoencoderDetector(bottleneck=4).fit(normal(2000, silent=0))
    drifted = normal(6000, seed=5, silent=0) + 0.6
    before, seen = detector.decision_function(drifted).mean(), detector.n_samples_seen_
    for part in np.array_split(drifted, 3):
        detector.partial_fit(part)
    assert detector.decision_function(drifted).mean() < 0.5 * before
    assert detector.n_samples_seen_ == seen + 6000
    assert AutoencoderDetector(max_epochs=2).partial_fit(drifted[:50]).n_samples_seen_ == 50


def test_the_same_rows_give_the_same_detector() -> None:
    X = normal(300)
    one, other = (AutoencoderDetector(max_epochs=3, random_state=7).fit(X) for _ in range(2))
    np.testing.assert_array_equal(one.decision_function(X), other.decision_function(X))
    third = AutoencoderDetector(max_epochs=3, random_state=8).fit(X)
    assert not np.array_equal(one.decision_function(X), third.decision_function(X))


def test_arrays_give_it_back(fitted: AutoencoderDetector) -> None:
    again = AutoencoderDetector(bottleneck=4).from_arrays(fitted.to_arrays(), DIMS)
    others = normal(50, seed=6)
    np.testing.assert_array_equal(again.decision_function(others), fitted.decision_function(others))
    np.testing.assert_array_equal(again.explain(others), fitted.explain(others))
    assert (again.threshold_, again.n_samples_seen_) == (fitted.threshold_, fitted.n_samples_seen_)
    with pytest.raises(ModelError, match="encode"):
        AutoencoderDetector(bottleneck=4).from_arrays(fitted.to_arrays() | {"encode.bias": np.zeros(3)}, DIMS)
    with pytest.raises(ModelError, match="mean"):
        AutoencoderDetector(bottleneck=4).from_arrays(fitted.to_arrays(), {"spatial": 5})


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"bottleneck": 18}, "narrower than the embedding of 18"),
        ({"context": 18}, "context"),
        ({"dims": {"a": 3}}, "add up to"),
        ({"contamination": 1.0}, "contamination"),
        ({"validation_share": -0.1}, "validation_share"),
        ({"hidden": 0}, "hidden"),
        ({"noise": -1}, "noise"),
    ],
)
def test_parameters_that_cannot_be(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        AutoencoderDetector(**parameters).fit(normal(50))
