"""Flow stacks: which pairs, in which order, with which mean."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from tristream.streams.errors import UsageError
from tristream.streams.stacks import Planes, centred_planes, flow_stacks


def numbered_flows(count: int, height: int = 4, width: int = 6) -> NDArray[np.float32]:
    """Fields whose pattern, without its mean, is 10 i + 1 times a fixed one in x and 10 i + 2 times in y."""
    rng = np.random.default_rng(0)
    pattern = rng.normal(size=(height, width))
    pattern -= pattern.mean()
    scale = 10 * np.arange(count)[:, None] + [1, 2]  # (N, 2)
    flows = scale[:, None, None, :] * pattern[None, :, :, None] + rng.normal(size=(count, 1, 1, 2))
    return flows.astype(np.float32)


def flow_stack(flows: NDArray[np.float32], centre: int, pairs: int) -> Planes:
    """The stack (2L, H, W) of one step of flow (N, H, W, 2)."""
    return flow_stacks([centred_planes(flow) for flow in flows], [centre], pairs)[0]


def scales(stack: Planes) -> list[int]:
    """The scale of each channel of a stack of `numbered_flows`, read back."""
    unit = flow_stack(numbered_flows(1), 0, 1)[0].astype(np.float32)
    return [round(float((channel * unit).sum() / (unit * unit).sum())) for channel in stack]


def test_channels_are_x_and_y_of_each_pair_in_turn_centred_on_the_step() -> None:
    stack = flow_stack(numbered_flows(10), centre=5, pairs=4)
    assert stack.shape == (8, 4, 6)
    assert stack.dtype == np.float16
    assert scales(stack) == [31, 32, 41, 42, 51, 52, 61, 62]  # pairs 3, 4 before frame 5, pairs 5, 6 after it


def test_an_odd_stack_has_its_extra_pair_after_the_step() -> None:
    assert scales(flow_stack(numbered_flows(10), centre=5, pairs=3)) == [41, 42, 51, 52, 61, 62]


@pytest.mark.parametrize(
    ("centre", "expected"),
    [(0, [0, 0, 0, 1]), (1, [0, 0, 1, 2]), (5, [3, 4, 4, 4])],
)
def test_the_first_and_the_last_pair_are_repeated_at_the_ends(centre: int, expected: list[int]) -> None:
    stack = flow_stack(numbered_flows(5), centre=centre, pairs=4)
    assert scales(stack)[::2] == [10 * pair + 1 for pair in expected]


def test_one_pair_fills_a_whole_stack() -> None:
    stack = flow_stack(numbered_flows(1), centre=1, pairs=10)
    assert scales(stack) == [1, 2] * 10


def test_each_field_loses_its_own_mean_vector_and_nothing_else() -> None:
    flows = np.random.default_rng(1).normal(3.0, 2.0, size=(6, 5, 7, 2)).astype(np.float32)
    stack = flow_stack(flows, centre=3, pairs=2)
    field = flows[2].astype(np.float64)
    np.testing.assert_allclose(stack[0], field[..., 0] - field[..., 0].mean(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(stack[1], field[..., 1] - field[..., 1].mean(), rtol=1e-3, atol=1e-3)


def test_a_pan_of_the_camera_leaves_no_flow() -> None:
    flows = np.broadcast_to(np.float32([5.0, -3.0]), (8, 24, 32, 2))
    np.testing.assert_array_equal(flow_stack(flows, centre=4, pairs=6), np.zeros((12, 24, 32)))


def test_a_batch_is_its_stacks_one_by_one() -> None:
    flows = np.random.default_rng(2).normal(size=(20, 8, 9, 2)).astype(np.float32)
    centres = np.array([13, 0, 13, 20])
    batch = flow_stacks([centred_planes(flow) for flow in flows], centres, pairs=5)
    assert batch.shape == (4, 10, 8, 9)
    for stack, centre in zip(batch, centres, strict=True):
        np.testing.assert_array_equal(stack, flow_stack(flows, int(centre), pairs=5))


def test_no_centres_give_no_stacks() -> None:
    planes = [centred_planes(flow) for flow in numbered_flows(3)]
    assert flow_stacks(planes, [], pairs=2).shape == (0, 4, 4, 6)


def test_the_mean_is_taken_before_rounding() -> None:
    # 240x320 values of about 200 pixels: a sum in float16 would be infinite, and 200 is rounded to an eighth.
    flow = np.random.default_rng(3).normal(200.0, 1.0, size=(240, 320, 2)).astype(np.float32)
    expected = flow[..., 0].astype(np.float64)
    np.testing.assert_allclose(centred_planes(flow)[0], expected - expected.mean(), atol=2e-3)


def test_the_flow_itself_is_left_alone() -> None:
    flows = numbered_flows(4)
    before = flows.copy()
    for flow in flows:
        centred_planes(flow)
    np.testing.assert_array_equal(flows, before)


@pytest.mark.parametrize(
    ("count", "centres", "pairs", "message"),
    [
        (0, [0], 2, "video of one frame"),
        (3, [0], 0, "got pairs = 0"),
        (3, [4], 2, r"from 0 to 3 .* got \[4\]"),
        (3, [-1], 2, r"got \[-1\]"),
    ],
)
def test_what_cannot_be_stacked_is_refused(count: int, centres: list[int], pairs: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        flow_stacks([np.zeros((2, 4, 4), np.float16)] * count, centres, pairs)


def test_flow_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\(H, W, 2\), got flow.shape = \(2, 4, 4\)"):
        centred_planes(np.zeros((2, 4, 4), np.float32))


def test_neither_stacks_nor_sampling_imports_torch() -> None:
    code = "import sys, tristream.streams.stacks, tristream.streams.sampling; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
