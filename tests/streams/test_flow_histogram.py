"""FlowHistogram: speeds by direction in pixels, and the box where most moves."""

import numpy as np
import pytest
import torch

from tristream.streams.flow_histogram import FlowHistogram
from tristream.streams.placement import place


def of(flow: np.ndarray) -> np.ndarray:
    """Features (19,) of one flow field (2, H, W)."""
    return FlowHistogram()(torch.from_numpy(flow[None].astype(np.float16)))[0].numpy()


def test_a_picture_that_moves_as_one() -> None:
    flow = np.zeros((2, 60, 60))
    flow[0] = 2.0  # to the right
    features = of(flow)
    assert features.shape == (19,)
    np.testing.assert_allclose(features[:9], [2, 2**0.5, 0, 0, 0, 0, 0, 2**0.5, 2], atol=1e-3)
    np.testing.assert_allclose(features[9:18], features[:9], atol=1e-3)  # every box is as the whole
    assert features[18] == pytest.approx(1 / 3)


def test_what_runs_in_a_corner_is_not_averaged_away() -> None:
    flow = np.zeros((2, 60, 60))
    flow[1, :20, :20] = 4.0  # down, in one box of a third of the side
    features = of(flow)
    assert features[8] == pytest.approx(4 / 9, rel=1e-3)  # mean over the picture
    assert features[17] == pytest.approx(4.0, rel=1e-3)  # of the box
    assert features[9 + 2] == pytest.approx(4.0, rel=1e-3)  # its direction: a quarter turn on from the right


def test_stillness_is_not_absence() -> None:
    features = of(np.zeros((2, 30, 40)))
    assert features[:18].tolist() == [0.0] * 18
    assert features[18] == 1.0


def test_a_stack_is_the_mean_of_its_pairs_and_any_size_will_do() -> None:
    chance = np.random.default_rng(0)
    stacks = chance.normal(size=(3, 6, 37, 53)).astype(np.float16)
    made = FlowHistogram()(torch.from_numpy(stacks)).numpy()
    apart = [[of(stack[2 * pair : 2 * pair + 2]) for pair in range(3)] for stack in stacks]
    np.testing.assert_allclose(made, np.mean(apart, axis=1), rtol=1e-4)


def test_it_is_placed_like_any_cnn_and_stays_exact() -> None:
    stacks = torch.randn(4, 2, 40, 40).half()
    placed = place(FlowHistogram(), "cpu", "bfloat16")
    torch.testing.assert_close(placed(stacks), FlowHistogram()(stacks))
