"""Embeddings as blocks: what is present, how it is standardised, and shares that leave nothing over."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tristream.fusion.blocks import Standardiser, checked_dims, linear_shares, presence, sharing
from tristream.streams.errors import UsageError

DIMS = {"spatial": 3, "audio": 2}
X = np.array([[1.0, 2.0, 7.0, 4.0, 0.0], [3.0, 2.0, 7.0, 0.0, 0.0], [8.0, 2.0, 7.0, 8.0, 6.0]])


def test_a_stream_is_present_where_its_block_is_not_all_zero() -> None:
    assert presence(X, DIMS).tolist() == [[True, True], [True, False], [True, True]]


def test_mean_and_deviation_are_of_the_clips_that_have_the_stream() -> None:
    fitted = Standardiser.fit(X, DIMS)
    np.testing.assert_allclose(fitted.mean, [4, 2, 7, 6, 3])
    np.testing.assert_allclose(fitted.scale, [np.std([1, 3, 8]), 1, 1, 2, 3])  # no variance: scale 1
    standardised = fitted.apply(X)
    np.testing.assert_array_equal(standardised[1, 3:], 0.0)
    np.testing.assert_allclose(standardised[[0, 2], 3:], [[-1, -1], [1, 1]])


def test_rounding_is_no_variance() -> None:
    """The same sound on every clip, read from the cache and from the files: its scores stay what they were."""
    generator = np.random.default_rng(0)
    sounds = np.tile(generator.normal(size=(1, 5)), (20, 1)) + 1e-5 * generator.normal(size=(20, 5))
    fitted = Standardiser.fit(sounds, {"audio": 5})
    np.testing.assert_array_equal(fitted.scale, 1.0)
    again = fitted.apply(sounds + 1e-4 * generator.normal(size=(20, 5)))
    assert np.abs(again).max() < 1e-3


def test_a_stream_that_no_clip_has_keeps_its_scale() -> None:
    fitted = Standardiser.fit(np.hstack([X[:, :3], np.zeros((3, 2))]), DIMS)
    np.testing.assert_array_equal(fitted.mean[3:], 0.0)
    np.testing.assert_array_equal(fitted.scale[3:], 1.0)


@given(arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 4))))
def test_what_is_shared_is_shared_whole_and_only_by_present_streams(present: np.ndarray) -> None:
    parts = sharing(present)
    np.testing.assert_allclose(parts.sum(axis=1), 1.0)
    some = present.any(axis=1)
    assert not parts[some][~present[some]].any()
    np.testing.assert_array_equal(parts[~some], 1 / present.shape[1])


def test_shares_of_linear_scores_are_the_scores_by_block() -> None:
    coef, intercept = np.arange(15.0).reshape(3, 5), np.array([6.0, -2.0, 0.0])
    shares = linear_shares(X, presence(X, DIMS), coef, intercept, DIMS)
    np.testing.assert_allclose(shares.sum(axis=1), X @ coef.T + intercept)
    np.testing.assert_allclose(shares[0, 1], [4 * 3 + 3, 4 * 8 - 1, 4 * 13])
    np.testing.assert_array_equal(shares[1, 1], 0.0)  # absent: not even of the intercept


def test_the_scores_of_two_classes_are_opposed() -> None:
    shares = linear_shares(X, presence(X, DIMS), np.ones((1, 5)), np.ones(1), DIMS)
    np.testing.assert_array_equal(shares[..., 0], -shares[..., 1])
    np.testing.assert_allclose(shares[..., 1].sum(axis=1), X.sum(axis=1) + 1)


def test_dims_are_those_given_or_one_stream_of_the_whole_width() -> None:
    assert checked_dims(None, 7) == {"embedding": 7}
    assert checked_dims(DIMS, 5) == DIMS


@pytest.mark.parametrize("dims", [{}, {"spatial": 4}, {"spatial": 5, "audio": 0}, {"spatial": 6, "audio": -1}])
def test_dims_that_do_not_add_up_are_refused(dims: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="add up to the 5 columns"):
        checked_dims(dims, 5)
