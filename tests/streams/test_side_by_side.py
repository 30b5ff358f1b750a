"""CNN calls two at a time, each on its share of the cores."""

import threading
from collections.abc import Iterator

import pytest
import torch

from tristream.streams.side_by_side import AT_ONCE, cnn_pool


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def _threads_of_a_call(barrier: threading.Barrier) -> int:
    barrier.wait(10)  # so that each thread has one call
    torch.ones(4) @ torch.ones(4)
    return torch.get_num_threads()


@pytest.mark.usefixtures("four_threads")
def test_two_calls_run_at_once_and_share_the_cores() -> None:
    barrier = threading.Barrier(AT_ONCE)
    calls = [cnn_pool().submit(_threads_of_a_call, barrier) for _ in range(AT_ONCE)]
    assert [call.result(20) for call in calls] == [4 // AT_ONCE] * AT_ONCE
    assert torch.get_num_threads() == 4
    told: list[int] = []
    other = threading.Thread(target=lambda: told.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert told == [4]


def test_with_one_core_calls_run_one_after_the_other() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert cnn_pool().submit(torch.get_num_threads).result(20) == 1
        assert cnn_pool()._max_workers == 1
    finally:
        torch.set_num_threads(before)
