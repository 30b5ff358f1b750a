"""How a training is shown to the person at the terminal, and to TensorBoard."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tristream.streams.errors import UsageError
from tristream.tools.progress import counting_bar
from tristream.tools.shell import say
from tristream.training import loop
from tristream.training.datasets import Dataset
from tristream.training.reporting import Report

MISSING_TOLD = 10  # files that are not there, by name
TOLD_SECONDS = 30.0  # between two lines about a stage, where no bar can be drawn


def say_notes(data: Dataset) -> None:
    """What was left out of a data set."""
    for note in data.notes:
        say(note)
    for path in data.missing[:MISSING_TOLD]:
        say(f"not there: {path}")
    if len(data.missing) > MISSING_TOLD:
        say(f"not there: {len(data.missing) - MISSING_TOLD} more of the files that the data set names")


def training_report(log: Path | None) -> Report:
    """A report on standard error, and into TensorBoard's logs where a folder is given.

    Raises:
        UsageError: logs are wanted, and TensorBoard is not installed.
    """
    if log is not None and find_spec("tensorboard") is None:
        raise UsageError("--log needs TensorBoard: pip install 'tristream[log]'")
    return TerminalReport(log)


class TerminalReport(Report):
    """A bar where standard error is a terminal, else a line a stage; and TensorBoard's logs in the folder `log`."""

    def __init__(self, log: Path | None = None) -> None:
        self._log_folder = log

    @cached_property
    def _writer(self) -> Any:
        """TensorBoard's writer, which makes the folder: not before the first files are read, once all is checked.

        Raises:
            UsageError: the folder cannot be written.
        """
        if self._log_folder is None:
            return None
        from torch.utils.tensorboard import SummaryWriter

        try:
            return SummaryWriter(str(self._log_folder))
        except OSError as error:
            raise UsageError(f"--log {self._log_folder} cannot be written: {error.strerror or error}") from error

    def say(self, message: str) -> None:
        """A message on standard error."""
        say(message)

    @contextmanager
    def files(self, what: str, total: int) -> Iterator[Callable[[int, int], None]]:
        """How many files are done."""
        _ = self._writer  # a folder that cannot be written is told before the first hour, not after
        began = time.monotonic()
        with counting_bar(what) as show:
            show(0, total)
            yield show
        if not sys.stderr.isatty():
            say(f"{what}: {total} files in {time.monotonic() - began:.0f} s")

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[loop.Progress], None]]:
        """The epochs of a stage, with loss, accuracy and the time that is left at most."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        last: list[loop.Progress] = []
        began = told_at = time.monotonic()
        with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task(name, total=None, figures="", left="")

            def show(state: loop.Progress) -> None:
                last[:] = [state]
                done = len(state.epochs)
                left_seconds = (state.most_epochs - done) * state.seconds_per_epoch
                progress.update(
                    task,
                    completed=done,
                    total=state.most_epochs,
                    figures=figures_of(state),
                    left=f"at most {left_seconds / 60:.1f} min left",
                )
                self._log(name, state)
                nonlocal told_at
                if not sys.stderr.isatty() and time.monotonic() - told_at > TOLD_SECONDS:
                    told_at = time.monotonic()
                    say(f"{name}: epoch {done} of at most {state.most_epochs}, {figures_of(state)}")

            yield show
        if last and not sys.stderr.isatty():
            count = len(last[0].epochs)
            seconds = time.monotonic() - began
            say(f"{name}: {count} epoch{'s' * (count != 1)} in {seconds:.0f} s, {figures_of(last[0])}")

    def _log(self, name: str, state: loop.Progress) -> None:
        if self._writer is None:
            return
        epoch, number = state.epochs[-1], len(state.epochs)
        figures = {
            "loss/train": epoch.train_loss,
            "loss/validation": epoch.validation_loss,
            "accuracy/train": epoch.train_accuracy,
            "accuracy/validation": epoch.validation_accuracy,
            "learning_rate": epoch.learning_rate,
        }
        for figure, value in figures.items():
            if value is not None:
                self._writer.add_scalar(f"{name}/{figure}", value, number)
        self._writer.flush()


def figures_of(state: loop.Progress) -> str:
    """The last epoch in words."""
    epoch = state.epochs[-1]
    words = [f"loss {epoch.train_loss:.3f}"]
    if epoch.train_accuracy is not None:
        words.append(f"accuracy {epoch.train_accuracy:.3f}")
    if epoch.validation_loss is not None and epoch.validation_accuracy is not None:
        words.append(f"held out: loss {epoch.validation_loss:.3f}, accuracy {epoch.validation_accuracy:.3f}")
    return ", ".join(words)
