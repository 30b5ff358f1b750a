"""Weights and cosines."""

import numpy as np
import pytest

from tristream.search.similarity import checked_weights, cosines, parse_weights, unit
from tristream.streams.errors import UsageError

OWN = {"spatial": 2.0, "temporal": 1.0, "audio": 0.5}


def test_weights_are_read_as_they_are_written() -> None:
    assert parse_weights("spatial=1, temporal=0.5,audio=0") == {"spatial": 1.0, "temporal": 0.5, "audio": 0.0}


@pytest.mark.parametrize("text", ["", "spatial", "spatial=", "spatial=much", "spatial=1;audio=2"])
def test_weights_that_are_written_otherwise_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"written as spatial=1,temporal=0\.5,audio=0"):
        parse_weights(text)


def test_a_stream_has_one_weight() -> None:
    with pytest.raises(UsageError, match="two weights"):
        parse_weights("audio=1,audio=2")


def test_streams_that_are_not_named_do_not_count_and_without_weights_they_are_the_models() -> None:
    assert checked_weights({"audio": 2.0}, OWN) == {"spatial": 0.0, "temporal": 0.0, "audio": 1.0}
    assert checked_weights({"spatial": 1e300, "audio": 5e299}, OWN) == {
        "spatial": 1.0,
        "temporal": 0.0,
        "audio": 0.5,
    }
    assert checked_weights(None, OWN) == {"spatial": 1.0, "temporal": 0.5, "audio": 0.25}


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"smell": 1.0}, "no stream 'smell' in this index; it has spatial, temporal, audio"),
        ({"audio": -1.0}, "from 0, got audio=-1"),
        ({"audio": float("nan")}, "got audio=nan"),
        ({"audio": float("inf")}, "got audio=inf"),
        ({"audio": 0.0, "spatial": 0.0}, "all weights are 0"),
        ({}, "all weights are 0"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        checked_weights(weights, OWN)


def test_unit_vectors_have_length_one_and_zero_stays_zero() -> None:
    vectors = np.array([[3, 4], [0, 0], [1e-20, 0]], np.float32)
    np.testing.assert_allclose(unit(vectors), [[0.6, 0.8], [0, 0], [1, 0]], atol=1e-7)


def test_cosines_are_told_by_stream() -> None:
    blocks = {"temporal": slice(3, 5)}
    rows = np.array([[1, 0, 0, 0.6, 0.8], [0, 1, 0, 1, 0]], np.float32)
    query = {"temporal": np.array([1, 0], np.float32), "audio": np.ones(4, np.float32)}
    found = cosines(query, rows, blocks)  # (N, S)
    np.testing.assert_allclose(found, [[0.6], [1.0]], atol=1e-7)
