"""Steps of several videos go through the CNNs together, and come out as if each had gone alone."""

import numpy as np
import pytest

from tristream.fusion.model import load_model
from tristream.fusion.tiles import features_together, tile_features
from tristream.streams.grid import Grid
from tristream.streams.steps import Steps

pytestmark = pytest.mark.usefixtures("one_thread")


def steps(stream: str, inputs: np.ndarray) -> Steps:
    times = np.arange(len(inputs), dtype=float)
    return Steps(stream, times, times, times + 1, inputs.__getitem__)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_together_is_alone(batch_size: int) -> None:
    chance = np.random.default_rng(0)
    model = load_model("camera", device="cpu")
    stacks = [chance.normal(0, 2, (count, 2, 48, 64)).astype(np.float16) for count in (4, 1, 3)]
    asked = [(steps("temporal", stack), grid) for stack, grid in zip(stacks, [Grid(), Grid(2, 3), Grid()], strict=True)]
    together = features_together(model.streams, asked, batch_size)
    assert [tuple(each.shape) for each in together] == [(4, 1, 19), (1, 6, 19), (3, 1, 19)]
    for features, (own, grid) in zip(together, asked, strict=True):
        alone = tile_features(model.streams["temporal"], own.take(slice(None)), grid)
        np.testing.assert_allclose(features.numpy(), alone.numpy(), atol=1e-5)
