"""Embedding tables of made vectors, and the scores that rows of them ought to have."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tristream.fusion.embedding import ClipEmbedding, VideoEmbedding
from tristream.fusion.parts import TableKind
from tristream.fusion.rows import rows_of
from tristream.fusion.table import EmbeddingTable
from tristream.fusion.windows import Windows

MODEL_ID = "0123456789ab"
DIMS = {"spatial": 6, "temporal": 4, "audio": 5}
WINDOWS = Windows(5.0, 1.0)
Vector = NDArray[np.float32]


def content_of(path: str) -> str:
    """A sha256, as of a file that holds its own name."""
    return hashlib.sha256(path.encode()).hexdigest()


def vector_of(seed: int, streams: Sequence[str] = tuple(DIMS), dims: Mapping[str, int] = DIMS) -> Vector:
    """An embedding (D,) that has these streams; the others are zero."""
    generator = np.random.default_rng(seed)
    parts = [generator.normal(size=size) * (stream in streams) for stream, size in dims.items()]
    return np.concatenate(parts).astype(np.float32)


def video(
    path: str,
    vectors: Sequence[Vector],
    *,
    content: str = "",
    dims: Mapping[str, int] = DIMS,
    windows: Windows = WINDOWS,
    seconds: float | None = None,
    height: int = 240,
) -> VideoEmbedding:
    """A video of one clip a vector; its own is their mean."""
    ends = np.cumsum([0, *dims.values()])
    clips = tuple(
        ClipEmbedding(
            i * windows.stride_seconds,
            i * windows.stride_seconds + windows.window_seconds,
            vector,
            {stream: bool(vector[a:b].any()) for stream, a, b in zip(dims, ends, ends[1:], strict=False)},
            dims,
        )
        for i, vector in enumerate(vectors)
    )
    mean = np.mean(vectors, axis=0).astype(np.float32)
    present = {stream: any(clip.present[stream] for clip in clips) for stream in dims}
    duration_seconds = clips[-1].end_seconds if seconds is None else seconds
    return VideoEmbedding(
        path, MODEL_ID, mean, present, dims, clips, duration_seconds=duration_seconds, fps=25, width=320, height=height
    )


def put(
    folder: Path,
    videos: Iterable[VideoEmbedding],
    *,
    dims: Mapping[str, int] = DIMS,
    windows: Windows = WINDOWS,
    model_id: str = MODEL_ID,
    contents: Mapping[str, str] | None = None,
    weights: Mapping[str, float] | None = None,
) -> Path:
    """Put videos into a table, those of a path that is there in place of it."""
    with EmbeddingTable(folder, model_id, windows) as table:
        table.begin(TableKind(model_id, "fake", windows, dims, weights or dict.fromkeys(dims, 1.0)))
        for each in videos:
            content = (contents or {}).get(each.path, content_of(each.path))
            table.put(rows_of(each, each.path, content))
    return folder


def some_videos(count: int, clips: int = 3, silent: int = 3, first: int = 0) -> list[VideoEmbedding]:
    """So many videos, one in `silent` of them without sound."""
    made = []
    for i in range(first, first + count):
        streams = tuple(DIMS) if i % silent else ("spatial", "temporal")
        made.append(video(f"/videos/{i:03d}.avi", [vector_of(1000 * i + j, streams) for j in range(clips)]))
    return made


def centre_of(videos: Iterable[VideoEmbedding], dims: Mapping[str, int] = DIMS) -> Vector:
    """What the unit vectors of videos have in common (D,): their mean with 32 of zero among them."""
    rows = [each.vector.astype(np.float64) for each in videos]
    ends = np.cumsum(list(dims.values()))
    parts = []
    for block in np.split(np.array(rows), ends[:-1], axis=1):
        lengths = np.linalg.norm(block, axis=1)
        parts.append((block[lengths > 0] / lengths[lengths > 0, None]).sum(axis=0) / ((lengths > 0).sum() + 32))
    return np.concatenate(parts)


def score_of(
    a: Vector, b: Vector, weights: Mapping[str, float], centre: Vector, dims: Mapping[str, int] = DIMS
) -> float:
    """The weighted mean cosine, less the centre, over the streams that both have; NaN where none counts."""
    total = mass = 0.0
    begin = 0
    for stream, size in dims.items():
        left, right = (vector[begin : begin + size].astype(np.float64) for vector in (a, b))
        if left.any() and right.any() and weights[stream]:
            left, right = (vector / np.linalg.norm(vector) - centre[begin : begin + size] for vector in (left, right))
            total += weights[stream] * float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
            mass += weights[stream]
        begin += size
    return total / mass if mass else float("nan")
