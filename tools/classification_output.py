"""Where `classify-video` puts what it says of each file: JSON Lines as they come, or a table at the end."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tristream.fusion.embedding import NO_VECTOR, VideoEmbedding
from tristream.fusion.folder import sync_folder
from tristream.fusion.rows import text_of
from tristream.fusion.timeline import Span, lines_of, timeline_of
from tristream.streams.config import StreamName
from tristream.streams.errors import TableError, UsageError

# Columns that long classes leave for a file's name, or for an indented time of hours.
NAME_WIDTH, TIME_WIDTH = 15, len("  1:00:00.0 - 1:00:36.0")

Put = Callable[[VideoEmbedding, Sequence[Span]], None]
Said = list[tuple[VideoEmbedding, Sequence[Span]]]


@contextmanager
def open_output(output: str, form: str, streams: Sequence[StreamName], top: int, *, overwrite: bool) -> Iterator[Put]:
    """What takes the spans of one file after the other.

    A file is there whole or not at all; until it is whole, its lines are in `FILE.partial`.

    Args:
        output: `FILE.jsonl`, or `-` for standard output.
        form: `jsonl`, or `table`, which is printed at the end, also at that of an interrupted run.
        top: how many classes are told of a span.

    Raises:
        UsageError: a suffix or form that is not written.
        TableError: the file exists and is not to be overwritten, or cannot be written.
    """
    if output != "-":
        if form != "jsonl" or Path(output).suffix != ".jsonl":
            raise UsageError(f"-o {output}: a file holds JSON Lines; use FILE.jsonl, or - for standard output")
        yield from _file(Path(output), top, overwrite)
    elif form == "jsonl":
        # While it shows a bar, rich has in the place of sys.stdout what prints above it: right on a terminal alone.
        stdout = None if sys.stdout.isatty() else sys.stdout
        yield lambda result, spans: _print_lines(result, spans, top, stdout)
    else:
        said: Said = []
        try:
            # Without the vectors, which no table shows.
            yield lambda result, spans: said.append((replace(result, vector=NO_VECTOR, clips=()), spans))
        finally:
            if said:
                print_table(said, streams, top)


def partial_of(path: Path) -> Path:
    """Where the lines of a file are until it is whole."""
    return path.with_name(path.name + ".partial")


def _file(path: Path, top: int, overwrite: bool) -> Iterator[Put]:
    if path.is_dir() or (path.exists() and not overwrite):
        raise TableError(f"{path} exists: use another -o, or --overwrite to replace a file")
    partial = partial_of(path)
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = partial.open("w", encoding="utf-8")

    def put(result: VideoEmbedding, spans: Sequence[Span]) -> None:
        with _told(path):
            _print_lines(result, spans, top, file)

    try:
        yield put
        with _told(path):
            os.fsync(file.fileno())
            partial.replace(path)
            sync_folder(path.parent)
    finally:
        with suppress(OSError):  # of a full disk, which was told
            file.close()
        if partial.exists() and not partial.stat().st_size:  # of a run that came to nothing
            partial.unlink()


def _print_lines(result: VideoEmbedding, spans: Sequence[Span], top: int, file: TextIO | None) -> None:
    for line in lines_of(result, spans, top):
        print(json.dumps(line, allow_nan=False), file=file)
    (file or sys.stdout).flush()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TableError(f"cannot write {path}: {error.strerror or error}") from error


def print_table(said: Said, streams: Sequence[StreamName], top: int, console: Console | None = None) -> None:
    """A line a class, with its probability and what each stream adds to its score; above, the folder of all files."""
    console = console or Console()
    folder = os.path.commonpath([Path(result.path).parent for result, _ in said])
    timeline = any(len(spans) > 1 for _, spans in said)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(
        "file, time" if timeline else "file", overflow="fold", min_width=TIME_WIDTH if timeline else NAME_WIDTH
    )
    table.add_column("class", no_wrap=True, max_width=console.width // 4)
    table.add_column("", no_wrap=True, justify="right")
    for stream in streams:
        table.add_column(stream, no_wrap=True, justify="right")
    for result, spans in said:
        name = _printable(os.path.relpath(result.path, folder))
        if result.error is not None:
            table.add_row(Text(_failure(result, name)), Text("failed", style="red"), end_section=True)
            continue
        parts = timeline_of(spans)
        for span in parts:
            time = f"{_clock(span.start_seconds)} - {_clock(span.end_seconds)}"
            whole = f"{name}\n{time}" if timeline else name
            first = whole if span.level == "video" else f"  {time}"
            table.add_row(Text(first), *_cells(span, streams, top), end_section=span is parts[-1])
    console.print(Text(_printable(folder), style="italic"), soft_wrap=True)
    console.print(table)
    console.print(Text("signed: what a stream adds to the score of the class; none: it is not there", style="dim"))


def _failure(result: VideoEmbedding, name: str) -> str:
    """The file's short name and what is wrong with it; most errors begin with the name."""
    error = _printable((result.error or "").replace(result.path, name))
    return error if error.startswith(name) else f"{name}\n{error}"


def _cells(span: Span, streams: Sequence[StreamName], top: int) -> list[Text]:
    """Classes, probabilities and, for each stream, its shares: cells of a line a class, the winner's in bold."""
    verdict, order = span.verdict, span.verdict.order[:top]
    columns = [
        [_printable(verdict.classes[index]) for index in order],
        [f"{100 * verdict.probabilities[index]:.1f} %" for index in order],
    ]
    for stream in streams:
        there = span.present.get(stream, False)
        columns.append([f"{verdict.shares[stream][index]:+.2f}" if there else "none" for index in order])
    return [Text("\n").join([Text(column[0], style="bold"), *map(Text, column[1:])]) for column in columns]


def _clock(seconds: float) -> str:
    """1:02.5, or 1:01:02.5 from an hour on."""
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{tenths / 10:04.1f}" if hours else f"{minutes}:{tenths / 10:04.1f}"


def _printable(text: str) -> str:
    """A name without what would move the cursor or break a line."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text_of(text))
