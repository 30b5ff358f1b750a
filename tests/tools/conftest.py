"""Fixtures for the tests of commands."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture
def signals_kept() -> Iterator[None]:
    """The command sets handlers for signals; here they are put back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
