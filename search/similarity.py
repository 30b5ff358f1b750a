"""What "similar" means here: the weighted mean cosine over the streams that both sides have.

Each stream's vectors are scaled to length 1, and what all of a collection have in common taken away (centre.py).

stream vectors (N, D_s) -> unit vectors; queries and rows -> cosines (N, S) -> scores (N,)
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tristream.streams.errors import UsageError

Floats32 = NDArray[np.float32]
Dims = Mapping[str, int]  # stream -> D_s, in the order in which the vectors stand side by side
Weights = Mapping[str, float]


def unit(vectors: NDArray[Any]) -> Floats32:
    """Vectors (N, D_s) scaled to length 1; one of zeros stays as it is."""
    wide = vectors.astype(np.float64)
    norms = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    norms[norms == 0] = 1
    scaled: Floats32 = (wide / norms[:, None]).astype(np.float32)
    return scaled


def checked_weights(weights: Weights | None, own: Weights) -> dict[str, float]:
    """The weight of each of an index's streams, 1 for the largest: its `own` where none are given, 0 if not named.

    Raises:
        UsageError: a stream that the index has not, a weight that is negative or no number, or all of them 0.
    """
    weights = own if weights is None else weights
    for stream, weight in weights.items():
        if stream not in own:
            raise UsageError(f"no stream {stream!r} in this index; it has {', '.join(own)}")
        if not (isfinite(weight) and weight >= 0):
            raise UsageError(f"the weight of a stream is a number from 0, got {stream}={weight:g}")
    if not any(weights.values()):
        raise UsageError(f"all weights are 0: at least one of {', '.join(own)} has to count")
    largest = max(weights.values())  # by which float32 holds them all
    return {stream: weights.get(stream, 0.0) / largest for stream in own}


def parse_weights(text: str) -> dict[str, float]:
    """Weights as they are written: `spatial=1,temporal=0.5,audio=0`.

    Raises:
        UsageError: it is not written so, or names a stream twice.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        stream, _, number = (piece.strip() for piece in part.partition("="))
        try:
            weight = float(number)
        except ValueError:
            raise UsageError(f"weights are written as spatial=1,temporal=0.5,audio=0; got {text!r}") from None
        if stream in weights:
            raise UsageError(f"stream {stream!r} has two weights in {text!r}")
        weights[stream] = weight
    return weights


def cosines(query: Mapping[str, Floats32], rows: Floats32, blocks: Mapping[str, slice]) -> NDArray[np.float64]:
    """The cosine (N, S) of a query's unit vectors (D_s,) and those of rows (N, D), for each stream of `blocks`."""
    # In float64, so that the same two vectors give the same cosine whatever rows stand around them.
    values = np.empty((len(rows), len(blocks)))
    for column, (stream, block) in enumerate(blocks.items()):
        np.einsum("nd,d->n", rows[:, block], query[stream], dtype=np.float64, out=values[:, column])
    return values
