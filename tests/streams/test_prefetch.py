"""An iterator in, the same items out, made a bounded number ahead in a thread that ends with its consumer."""

import threading
import time
from collections.abc import Iterator

import pytest

from tristream.streams.prefetch import prefetch


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "tristream-prefetch"]


def test_items_come_in_order_and_the_thread_ends() -> None:
    assert list(prefetch(range(100), 3)) == list(range(100))
    assert threads() == []


def test_no_more_than_depth_items_are_made_ahead() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    items = prefetch(numbers(), 4)
    assert next(items) == 0
    time.sleep(0.2)
    assert len(made) <= 6  # one taken, four queued, one waiting for a place
    items.close()  # type: ignore[attr-defined]


def test_an_error_is_raised_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("third time unlucky")

    items = prefetch(failing(), 2)
    assert next(items) == 1
    with pytest.raises(ValueError, match="third time unlucky"):
        next(items)
    assert threads() == []


def test_a_consumer_that_stops_early_ends_the_thread_and_closes_the_generator() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    items = prefetch(endless(), 2)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert closed.is_set()
    assert threads() == []


def test_an_error_of_the_consumer_ends_the_thread() -> None:
    def consume() -> None:
        for _ in prefetch(iter(int, 1), 2):
            raise RuntimeError("the consumer's own")

    with pytest.raises(RuntimeError, match="the consumer's own"):
        consume()
    deadline = time.monotonic() + 5
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() == []


def test_nothing_runs_before_the_first_item_is_asked_for() -> None:
    prefetch(iter(int, 1), 2)
    assert threads() == []
