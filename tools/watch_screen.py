"""How cameras do, as a table on standard error that is kept up to date, where that is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tristream.anomaly.board import Board, Status

REFRESHES_A_SECOND = 2
COLOURS = {"watching": "green", "connecting": "yellow", "lost": "red", "failed": "red", "ended": "dim"}


class _Screen:
    """A board as rich draws it."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __rich__(self) -> Table:
        table = Table(box=None, pad_edge=False)
        table.add_column("camera", no_wrap=True)
        table.add_column("state", no_wrap=True, min_width=10)
        for name in ("fps", "worked", "dropped", "score", "level", "late s", "alarms"):
            table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
        for name, status in self._board.cameras.items():
            table.add_row(name, *_cells(status))
        return table


def _cells(status: Status) -> list[Text]:
    state = Text("ALARM", "bold red") if status.alarmed else Text(status.state, COLOURS[status.state])
    numbers = [
        f"{status.camera_fps:.1f}",
        f"{status.process_fps:.1f}",
        str(status.dropped),
        _three(status.score),
        _three(status.level),
        "" if status.latency_seconds is None else f"{status.latency_seconds:.2f}",
        str(status.alarms),
    ]
    return [state, *map(Text, numbers)]


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


@contextmanager
def screen(board: Board) -> Iterator[None]:
    """Show a board until the end; messages go above it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    both = sys.stdout.isatty()  # else what goes to standard output is another's
    with Live(_Screen(board), console=console, refresh_per_second=REFRESHES_A_SECOND, redirect_stdout=both):
        yield
