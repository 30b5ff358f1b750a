"""What embedding a video gives: vectors, what is present in them, and how it went; needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tristream.fusion.windows import Windows
from tristream.streams.config import StreamName
from tristream.streams.errors import UsageError

NO_VECTOR: NDArray[np.float32] = np.zeros(0, np.float32)


def slices_of(dims: Mapping[Any, int], streams: Sequence[str] | None = None) -> dict[str, slice]:
    """Where each stream's vector stands in an embedding of these dims (of `streams` alone, where these are given).

    The dims are by stream, in the order in which the vectors are joined; their keys are Any as a mapping by StreamName
    is not one by str.
    """
    chosen = list(dims) if streams is None else streams
    ends = accumulate(dims[stream] for stream in chosen)
    return {stream: slice(end - dims[stream], end) for stream, end in zip(chosen, ends, strict=True)}


def slice_of(dims: Mapping[StreamName, int], stream: str) -> slice:
    """Where the vector of one stream stands.

    Raises:
        UsageError: no such stream.
    """
    if stream not in dims:
        raise UsageError(f"no stream {stream!r} in this embedding; it has {', '.join(dims)}")
    return slices_of(dims)[stream]


@dataclass(frozen=True)
class ClipEmbedding:
    """The embedding of one clip [start_seconds, end_seconds).

    `vector` (D,) holds the stream vectors side by side; the part of a stream that is not `present` is zero.
    `votes` (K,) is each class's share of the steps, of a model whose steps vote; of another it is empty.
    """

    start_seconds: float
    end_seconds: float
    vector: NDArray[np.float32]
    present: Mapping[StreamName, bool]
    dims: Mapping[StreamName, int]
    votes: NDArray[np.float32] = field(default_factory=lambda: NO_VECTOR)
    tile: int = 0  # of the grid, row by row; where there is none, the whole picture

    def stream(self, name: str) -> NDArray[np.float32]:
        """The vector (D_s,) of one stream; zero where it is not present.

        Raises:
            UsageError: the model has no such stream.
        """
        return self.vector[slice_of(self.dims, name)]


@dataclass(frozen=True)
class VideoEmbedding:
    """The embeddings of a video: of the whole, and of each of its clips.

    `vector` (D,) is the mean of the clips' vectors, each stream's over the clips that have it, weighted by
    their length. With `error` set there are no vectors, and the other fields are what was known.
    """

    path: str
    model_id: str
    vector: NDArray[np.float32] = field(default_factory=lambda: NO_VECTOR)
    present: Mapping[StreamName, bool] = field(default_factory=dict)
    dims: Mapping[StreamName, int] = field(default_factory=dict)
    clips: tuple[ClipEmbedding, ...] = ()
    error: str | None = None
    warnings: tuple[str, ...] = ()
    duration_seconds: float | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    decode_seconds: float = 0.0
    flow_seconds: float = 0.0
    model_seconds: float = 0.0

    def stream(self, name: str) -> NDArray[np.float32]:
        """The vector (D_s,) of one stream of the whole video; zero where it is not present.

        Raises:
            UsageError: the model has no such stream.
        """
        return self.vector[slice_of(self.dims, name)]


def clips_of(
    vectors: Mapping[StreamName, Mapping[int, NDArray[np.float32]]],
    dims: Mapping[StreamName, int],
    windows: Windows,
    duration_seconds: float,
) -> tuple[ClipEmbedding, ...]:
    """The clips in which any stream is present, in order; `vectors` has each stream's by clip, one a tile.

    They are (P, D_s), or (P, D_s + K) where votes follow. What there is one of only, as sound, goes to all tiles.
    """
    clips = []
    for index in sorted(set().union(*vectors.values())):
        start_seconds, end_seconds = windows.span(index, duration_seconds)
        present = {name: index in vectors[name] for name in dims}
        wholes = {name: vectors[name].get(index, np.zeros((1, size), np.float32)) for name, size in dims.items()}
        for tile in range(windows.grid.tiles):
            parts = {name: whole[min(tile, len(whole) - 1)] for name, whole in wholes.items()}  # (D_s + K,)
            vector = np.concatenate([parts[name][:size] for name, size in dims.items()])
            votes = np.concatenate([parts[name][size:] for name, size in dims.items()])
            clips.append(ClipEmbedding(start_seconds, end_seconds, vector, present, dims, votes, tile))
    return tuple(clips)


def shifted(clip: ClipEmbedding, seconds: float) -> ClipEmbedding:
    """A clip of a moment on the clock of its file."""
    return replace(clip, start_seconds=clip.start_seconds + seconds, end_seconds=clip.end_seconds + seconds)


def join_clips(clips: tuple[ClipEmbedding, ...]) -> tuple[NDArray[np.float32], dict[StreamName, bool]]:
    """The embedding (D,) of a whole video from those of its clips, and what is present in it."""
    dims = clips[0].dims
    present = {stream: any(clip.present[stream] for clip in clips) for stream in dims}
    parts = []
    for stream, size in dims.items():
        having = [clip for clip in clips if clip.present[stream]]
        weights = [clip.end_seconds - clip.start_seconds for clip in having]
        vectors = [clip.stream(stream) for clip in having]
        parts.append(np.average(vectors, axis=0, weights=weights) if having else np.zeros(size))  # (D_s,)
    return np.concatenate(parts).astype(np.float32), present
