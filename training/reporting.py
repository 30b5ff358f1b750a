"""How a training tells the person who waits what it does; the default says nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tristream.training.loop import Progress


class Report:
    """Told of everything; a command shows it, a script need not."""

    def say(self, message: str) -> None:
        """A message."""

    @contextmanager
    def files(self, what: str, total: int) -> Iterator[Callable[[int, int], None]]:
        """While files are gone through; what is given is told how many are done, of how many."""
        yield lambda _done, _total: None

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[Progress], None]]:
        """While a network is trained; what is given is told of each epoch."""
        yield lambda _progress: None
