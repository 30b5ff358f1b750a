"""Runs an iterator in a thread of its own, a bounded number of items ahead of its consumer."""

import threading
from collections.abc import Generator, Iterable
from queue import Full, Queue
from typing import TypeVar

T = TypeVar("T")


class _End:
    """What follows the last item: nothing, or the error that ended the iterator."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The items of an iterable, made in a thread at most `depth` items ahead.

    An error of the iterable is raised here. A consumer that stops early stops the thread, and returns only
    when the thread has ended, so that files the iterable reads can be closed.
    """
    queue: Queue[T | _End] = Queue(maxsize=depth)
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, queue, stop), name="tristream-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item = queue.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stop.set()
        thread.join()


def _fill(items: Iterable[T], queue: "Queue[T | _End]", stop: threading.Event) -> None:
    error: BaseException | None = None
    iterator = iter(items)
    try:
        for item in iterator:
            if not _put(item, queue, stop):
                break
    except BaseException as raised:  # handed to the consumer, which raises it
        error = raised
    if (close := getattr(iterator, "close", None)) is not None:
        close()  # a generator's own cleanup, in the thread that ran it
    _put(_End(error), queue, stop)


def _put(item: T | _End, queue: "Queue[T | _End]", stop: threading.Event) -> bool:
    """Queue an item unless the consumer has gone; whether it was queued."""
    while not stop.is_set():
        try:
            queue.put(item, timeout=0.05)
            return True
        except Full:
            continue
    return False
