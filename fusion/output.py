"""Where `-o` leads: a Parquet data set, a `.npz` or `.jsonl` file made from one, or standard output."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tristream.fusion.export import JsonLines, write_rows
from tristream.fusion.run import Sink
from tristream.fusion.source import ModelSource
from tristream.fusion.table import EmbeddingTable, is_table, read_rows
from tristream.fusion.windows import Windows
from tristream.streams.errors import TableError

FILE_SUFFIXES = frozenset({".npz", ".jsonl"})


@contextmanager
def open_output(
    output: str, source: ModelSource, windows: Windows, paths: Sequence[str], *, overwrite: bool, write: bool = True
) -> Iterator[Sink]:
    """A sink for the rows of `paths`; a file is written from a data set beside it once all rows are there.

    So a run into a file can be killed and resumed like any other.

    Args:
        write: whether rows will come; without it nothing on the disk is touched.

    Raises:
        TableError: the output exists and is not to be overwritten, or cannot be written.
    """
    path = Path(output)
    if output == "-":
        yield JsonLines(sys.stdout)
        return
    if path.suffix not in FILE_SUFFIXES:
        if overwrite and write:
            _remove_table(path)
        with EmbeddingTable(path, source.model_id, windows, write=write) as table:
            yield table
        return
    if path.exists() and not overwrite:
        raise TableError(f"{path} exists: use another -o, or --overwrite to replace it")
    partial = path.with_name(path.name + ".partial")
    if overwrite and write:
        _remove_table(partial)
    with EmbeddingTable(partial, source.model_id, windows, write=write) as table:
        yield table
        table.flush()
        if write:
            write_rows(path, read_rows(partial, paths))
            shutil.rmtree(partial)


def _remove_table(folder: Path) -> None:
    """Delete a table, and nothing that is not one."""
    if not folder.exists():
        return
    if not is_table(folder):
        raise TableError(f"{folder} is not an embedding table, so it is not overwritten: use another -o")
    shutil.rmtree(folder)
