"""Step features made up, and a process that keeps on writing them; imported by the processes of the tests too."""

from pathlib import Path

import numpy as np

from tristream.training.cache import FeatureCache, StepFeatures, key_of


def made_features(
    count: int, *, dtype: str = "float16", versions: int = 1, scaled: bool = False, warnings: tuple[str, ...] = ()
) -> StepFeatures:
    """Features of so many steps, always the same."""
    generator = np.random.default_rng(count)
    values = generator.integers(0, 100, (versions, count, 4)).astype(dtype)
    seconds = np.arange(count) / 2
    times = np.stack([seconds, seconds, seconds + 0.5], axis=1)
    scale = generator.random(count).astype(np.float32) if scaled else None
    return StepFeatures(values, times, count / 2, scale, warnings)


def fill_for_ever(folder: str, count: int = 1000) -> None:
    """Write the features of numbers that are not there yet."""
    cache = FeatureCache(Path(folder))
    for number in range(count):
        if not cache.has(key := key_of(number=number)):
            cache.write(key, made_features(number + 1))
