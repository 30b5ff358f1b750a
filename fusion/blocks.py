"""An embedding as blocks, one a stream: (N, D) -> present (N, S), standardised (N, D), shares of scores (N, S, K).

A stream that a clip has not (silence) has a block that is zero throughout: that is how absence is told here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from tristream.fusion.embedding import slices_of
from tristream.streams.errors import UsageError

Dims = Mapping[Any, int]  # stream -> D_s, in the order the vectors are joined; Any, as Mapping[StreamName, int] is not
# a Mapping[str, int] and the one stream of an estimator without dims has no StreamName
Floats = NDArray[np.float64]
# A dimension that varies less than this share of its block's size does not vary: what is left is rounding, as of
# features kept in float16, and dividing by it would make scores of it.
FLAT = 1e-3


def checked_dims(dims: Dims | None, width: int) -> dict[str, int]:
    """The dims of an embedding (N, `width`); one stream `embedding` where None are given.

    Raises:
        UsageError: a length under 1, or lengths that do not add up to the width.
    """
    if dims is None:
        return {"embedding": width}
    if not dims or min(dims.values()) < 1 or sum(dims.values()) != width:
        raise UsageError(f"dims must be positive and add up to the {width} columns of the embedding, got {dict(dims)}")
    return {str(stream): int(size) for stream, size in dims.items()}


def presence(X: Floats, dims: Dims) -> NDArray[np.bool_]:
    """Which streams (N, S) each embedding of `X` (N, D) has: those whose block is not all zero."""
    return np.stack([X[:, block].any(axis=1) for block in slices_of(dims).values()], axis=1)


@dataclass(frozen=True, eq=False)
class Standardiser:
    """Mean and deviation (D,) of each dimension over the clips that have its stream.

    An absent stream is set to its mean (DESIGN.md, Missing audio is normal): exactly 0, once standardised.
    """

    mean: Floats
    scale: Floats
    dims: Dims

    @classmethod
    def fit(cls, X: Floats, dims: Dims) -> "Standardiser":
        """What standardises `X` (N, D); a dimension that hardly varies, or a stream no clip has, keeps its scale."""
        mean, scale = np.zeros(X.shape[1]), np.ones(X.shape[1])
        present = presence(X, dims)
        for index, block in enumerate(slices_of(dims).values()):
            if present[:, index].any():
                scaler = StandardScaler().fit(X[present[:, index], block])
                flat = scaler.scale_ < FLAT * np.sqrt(np.mean(X[present[:, index], block] ** 2))
                mean[block], scale[block] = scaler.mean_, np.where(flat, 1.0, scaler.scale_)
        return cls(mean, scale, dims)

    def apply(self, X: Floats) -> Floats:
        """`X` (N, D) standardised; the block of an absent stream is 0."""
        standardised: Floats = (X - self.mean) / self.scale
        present = presence(X, self.dims)
        for index, block in enumerate(slices_of(self.dims).values()):
            standardised[~present[:, index], block] = 0.0
        return standardised


def sharing(present: NDArray[np.bool_]) -> Floats:
    """Each stream's part (N, S) in what a whole row is given: equal among those it has, or all if it has none."""
    having = present | ~present.any(axis=1, keepdims=True)
    parts: Floats = having / having.sum(axis=1, keepdims=True)
    return parts


def linear_shares(X: Floats, present: NDArray[np.bool_], coef: Floats, intercept: Floats, dims: Dims) -> Floats:
    """Each stream's share (N, S, K) of the linear scores of `X` (N, D), in which absent streams are 0.

    `coef` is (K, D), or (1, D) for the score f of the second of two classes, whose scores are -f and +f. Streams
    that a row has share its intercept equally, so that an absent one's share is 0.
    """
    parts = np.stack([X[:, block] @ coef[:, block].T for block in slices_of(dims).values()], axis=1)  # (N, S, K or 1)
    shares: Floats = parts + sharing(present)[:, :, None] * intercept
    return opposed(shares) if len(coef) == 1 else shares


def opposed(shares: Floats) -> Floats:
    """The scores -f and +f (N, S, 2) of two classes, of f (N, S, 1)."""
    return np.concatenate([-shares, shares], axis=2)
