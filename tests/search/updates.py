"""Processes that bring an index in line with its table, until they are killed."""

import os
import signal
from pathlib import Path

from tristream.search.update import update_index

STOPPABLE = ("write_table", "replace", "fsync", "unlink")


def update_and_die(table: str, folder: str, calls: int, kind: str) -> None:
    """Update an index and be killed before the n-th thing it does to the disk, counted from 0."""
    import pyarrow as pa

    done = {"calls": 0}

    def deadly(function):  # type: ignore[no-untyped-def]
        def wrapper(*arguments, **options):  # type: ignore[no-untyped-def]
            if done["calls"] == calls:
                os.kill(os.getpid(), signal.SIGKILL)
            done["calls"] += 1
            return function(*arguments, **options)

        return wrapper

    os.fsync = deadly(os.fsync)
    Path.replace = deadly(Path.replace)  # type: ignore[method-assign]
    Path.unlink = deadly(Path.unlink)  # type: ignore[method-assign]
    Path.open = deadly(Path.open)  # type: ignore[method-assign]
    new_file = pa.ipc.new_file
    pa.ipc.new_file = deadly(new_file)
    update_index(Path(table), Path(folder), kind=kind)
    (Path(folder).parent / "calls").write_text(str(done["calls"]))


def update_on_a_small_disk(table: str, folder: str, most_bytes: int) -> None:
    """Fail as a full disk makes it: no file may grow beyond so much."""
    import resource

    from tristream.streams.errors import SearchError

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        update_index(Path(table), Path(folder))
    except SearchError as error:
        os.write(1, str(error).encode())
        os._exit(1)
