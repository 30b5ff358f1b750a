"""An index brought in line with its table: what is new goes in, what is gone goes out, what is damaged is made anew."""

import os
from contextlib import suppress
from pathlib import Path

from tristream.fusion.batch import memory_share_bytes
from tristream.fusion.lock import lock_folder
from tristream.fusion.parts import about_table
from tristream.search.kinds import Progress, choose_kind
from tristream.search.writer import Update, Writer
from tristream.streams.errors import SearchError, TableError

ASSUMED_BYTES = 4 << 30  # of memory, where the machine does not tell


def update_index(
    table: str | Path,
    folder: str | Path,
    *,
    kind: str = "auto",
    memory_bytes: int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Update:
    """Make the index in `folder` of a table's rows, or bring it in line with them.

    Args:
        kind: `flat`, `hnsw`, `ivfpq`, or `auto`, which chooses by number and memory.
        memory_bytes: that approximate indexes may take, by default most of the machine's; vectors stay in their file.
        overwrite: begin an index anew that is of another model or table.

    Raises:
        TableError: no table, a damaged one, or one of several models.
        SearchError: the folder is no index, or of another model, or another process is writing to it.
        UsageError: no such kind.
    """
    table, folder = Path(table), Path(folder)
    about = about_table(table)
    if about["grid"] != "1x1":
        raise TableError(f"{table} was made with --grid {about['grid']}: search takes tables of whole pictures")
    memory_bytes = memory_share_bytes(1) or ASSUMED_BYTES if memory_bytes is None else memory_bytes
    choose_kind(kind, 1, 1, memory_bytes)  # raises for a kind that is not
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder)
    except BlockingIOError as error:
        raise SearchError(f"another process is writing to the index {folder}: wait for it") from error
    except OSError as error:
        raise SearchError(f"cannot write to the index {folder}: {error.strerror or error}") from error
    try:
        return Writer(table, folder, about, kind, memory_bytes, progress, overwrite).run()
    except OSError as error:
        raise SearchError(
            f"cannot write to the index {folder}: {error.strerror or error}. What it held before is whole: once there "
            "is room and permission, the same command goes on"
        ) from error
    finally:
        if made:
            with suppress(OSError):
                folder.rmdir()  # where nothing came to be in it
        os.close(lock)
