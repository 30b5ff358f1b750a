"""Where `-o` leads: a Parquet data set, a `.npz` or `.jsonl` file made from one, or standard output."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tristream.fusion.export import JsonLines, write_rows
from tristream.fusion.parts import parts_of, read_rows
from tristream.fusion.run import Sink
from tristream.fusion.source import ModelSource
from tristream.fusion.table import EmbeddingTable, remove_table
from tristream.fusion.windows import Windows
from tristream.streams.errors import TableError, UsageError

FILE_SUFFIXES = frozenset({".npz", ".jsonl"})
# Whoever asks for one of these expects a file, not a folder of that name.
OTHER_SUFFIXES = frozenset({".csv", ".h5", ".json", ".npy", ".pkl", ".pt", ".tsv", ".txt"})


@contextmanager
def open_output(
    output: str, source: ModelSource, windows: Windows, paths: Sequence[str], *, overwrite: bool, write: bool = True
) -> Iterator[Sink]:
    """A sink for the rows of `paths`; a file is written from a data set beside it once all rows are there.

    So a run into a file can be killed and resumed like any other: the data set `FILE.partial` stays as long as a
    file of `paths` has not been embedded (killed, `--limit`, failed), and while it is there the same command goes
    on from it and writes the file again, without `overwrite`. It goes with the run that leaves nothing. Rows in
    it of files that are no longer among `paths` come last in the file.

    Args:
        overwrite: whether to begin anew; what is there stays until new rows are written.
        write: whether rows will come; without it nothing on the disk is touched.

    Raises:
        TableError: the output exists and is not to be overwritten, or cannot be written.
        UsageError: a suffix that is not written.
    """
    path = Path(output)
    if path.suffix in OTHER_SUFFIXES:
        raise UsageError(f"-o {output}: {path.suffix} is not written; use a folder, FILE.npz, FILE.jsonl or -")
    if output == "-" or (overwrite and not write):  # nothing is known of what is to be begun anew
        yield JsonLines(sys.stdout)
    elif path.suffix in FILE_SUFFIXES:
        yield from _file(path, source, windows, paths, overwrite, write)
    else:
        with EmbeddingTable(path, source.model_id, windows, write=write, overwrite=overwrite) as table:
            yield table


def _file(
    path: Path, source: ModelSource, windows: Windows, paths: Sequence[str], overwrite: bool, write: bool
) -> Iterator[Sink]:
    partial = path.with_name(path.name + ".partial")
    if path.exists() and not (overwrite or parts_of(partial)):  # beside its parts, it is a result of this command
        raise TableError(f"{path} exists: use another -o, or --overwrite to replace it")
    with EmbeddingTable(partial, source.model_id, windows, write=write, overwrite=overwrite) as table:
        yield table
        table.flush()
        files = [*paths, *sorted(table.paths)]
        if write and table.paths:
            write_rows(path, read_rows(partial, files))
    if write and all(table.holds_path(file) for file in files):
        remove_table(partial)
