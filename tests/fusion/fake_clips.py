"""Made embeddings of clips whose classes are known, for the tests of classifiers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DIMS = {"spatial": 12, "temporal": 8, "audio": 6}
NAMES = np.array(["archery", "diving", "surfing", "walking"])


@dataclass(frozen=True)
class Clips:
    """Embeddings (N, D), their classes (N,) and groups (N,)."""

    X: NDArray[np.float64]
    y: NDArray[np.str_]
    groups: NDArray[np.intp]


def made_clips(clips: int, classes: int = 4, *, noise: float = 1.5, silent: float = 0.3, seed: int = 0) -> Clips:
    """Clips around their class's centre, a share of them without an audio vector whatever the class."""
    centres = np.random.default_rng(99).normal(size=(classes, sum(DIMS.values())))  # the same for every seed
    generator = np.random.default_rng([seed, clips])
    labels = np.arange(clips) % classes
    X = 5.0 + 3.0 * (centres[labels] + noise * generator.normal(size=(clips, sum(DIMS.values()))))
    X[generator.random(clips) < silent, -DIMS["audio"] :] = 0.0
    return Clips(X, NAMES[labels], np.arange(clips) // classes % 10)
