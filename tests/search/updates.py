"""What searches in an index find, and processes that bring one in line with its table until they are killed."""

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).parent))
from fake_tables import DIMS, MODEL_ID, vector_of

from tristream.search import writer
from tristream.search.index import Level, VideoIndex
from tristream.search.query import Query
from tristream.search.similarity import Dims
from tristream.search.update import update_index

QUERIES = [Query.of_vector(vector_of(seed), DIMS, MODEL_ID) for seed in range(5)]
LEVELS: tuple[Level, ...] = ("clip", "video")
Results = list[list[tuple[str, float, str, float]]]


def results(folder: Path) -> Results:
    """What searches in an index find, all of it; of few, which an approximate index proposes, most are the same."""
    index = VideoIndex(folder)
    found, few = [], []
    for query in QUERIES:
        for level in LEVELS:
            hits = index.search(query, 10_000, level=level, merge=False)
            found.append([(hit.path, hit.start_seconds, hit.row["level"], hit.score) for hit in hits])
            best = index.search(query, 3, level=level, merge=False)
            few += [(hit.path, hit.start_seconds, hit.row["level"], hit.score) in found[-1][:3] for hit in best]
    assert np.mean(few) > 0.8
    return found


def fresh(table: Path, folder: Path) -> Results:
    """What searches find in an index made at once."""
    update_index(table, folder)
    return results(folder)


def zero_centre(batches: Iterable[NDArray[np.float32]], dims: Dims) -> dict[str, NDArray[np.float64]]:
    """In place of `find_centre`."""
    return {stream: np.zeros(size) for stream, size in dims.items()}


def update_and_die(table: str, folder: str, calls: int, kind: str, still: bool) -> None:
    """Update an index and be killed before the n-th thing it does to the disk, counted from 0."""
    import pyarrow as pa

    if still:
        writer.find_centre = zero_centre
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
    pa.ipc.new_file = deadly(pa.ipc.new_file)
    update_index(Path(table), Path(folder), kind=kind)
    (Path(folder).parent / "calls").write_text(str(done["calls"]))


def update_on_a_small_disk(table: str, folder: str, most_bytes: int, kind: str = "auto") -> None:
    """Fail as a full disk makes it: no file may grow beyond so much."""
    import resource

    from tristream.streams.errors import SearchError

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        update_index(Path(table), Path(folder), kind=kind)
    except SearchError as error:
        os.write(1, str(error).encode())
        os._exit(1)
