"""The videos of an embedding table, as they were: rows -> for each video its windows (N, P, D) in the order of time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tristream.fusion.blocks import Floats
from tristream.fusion.embedding import ClipEmbedding
from tristream.fusion.parts import parts_of, read_part
from tristream.fusion.windows import Windows
from tristream.streams.errors import TableError


@dataclass(frozen=True)
class Footage:
    """One video of a table: its clips' rows, and where its windows stand among those of all."""

    path: str
    part: Path
    windows: int
    fps: float | None


def videos_of(table: Path, windows: Windows) -> list[Footage]:
    """The videos of a table in the order of their paths.

    Raises:
        TableError: there are none.
    """
    found = []
    for part in parts_of(table):
        rows = read_part(part, ["path", "level", "status", "tile", "fps"])
        clips = rows.filter((pc.field("level") == "clip") & (pc.field("status") == "ok") & (pc.field("tile") == 0))
        counts = clips.group_by("path").aggregate([("path", "count"), ("fps", "max")]).to_pylist()
        found += [Footage(each["path"], part, each["path_count"], each["fps_max"]) for each in counts]
    if not found:
        raise TableError(f"{table} holds no embedded clip: nothing can be learnt from it")
    return sorted(found, key=lambda video: video.path)


def clips_of(vectors: NDArray[np.float32], spans: Floats, dims: dict[str, int]) -> Iterator[ClipEmbedding]:
    """Rows of a table as what they were made of; which streams are present shows in the vectors."""
    for window, (start_seconds, end_seconds) in zip(vectors, spans.tolist(), strict=True):
        for tile, vector in enumerate(window):
            yield ClipEmbedding(start_seconds, end_seconds, vector, {}, dims, tile=tile)  # type: ignore[arg-type]


def vectors_of(videos: list[Footage], windows: Windows) -> Iterator[tuple[Footage, NDArray[np.float32], Floats]]:
    """The embeddings (N, P, D) of each video's windows in the order of time, and their spans (N, 2) in seconds."""
    last: tuple[Path, pa.Table] | None = None
    for video in videos:
        if last is None or last[0] != video.part:  # a folder's videos mostly lie in one part
            columns = ["path", "level", "tile", "start_seconds", "end_seconds", "embedding"]
            last = video.part, read_part(video.part, columns)
        clips = last[1].filter((pc.field("path") == video.path) & (pc.field("level") == "clip"))
        clips = clips.sort_by([("start_seconds", "ascending"), ("tile", "ascending")])
        column = clips["embedding"].combine_chunks()
        vectors = column.flatten().to_numpy().reshape(video.windows, windows.grid.tiles, column.type.list_size)
        spans = np.stack(
            [clips[name].to_numpy()[:: windows.grid.tiles] for name in ("start_seconds", "end_seconds")], 1
        )
        yield video, vectors, spans
