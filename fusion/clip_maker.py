"""Step features of several streams in, the clips of a video out, each as soon as all its streams are known.

features (T, P, F) of each stream -> for each clip of `windows` and each of its P tiles an embedding (D,)
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tristream.fusion.clips import ClipEncoder
from tristream.fusion.embedding import ClipEmbedding, clips_of
from tristream.fusion.windows import Windows
from tristream.streams.config import SamplingConfig, StreamName
from tristream.streams.side_by_side import cnn_pool
from tristream.streams.steps import Steps
from tristream.streams.stream import Stream


class ClipMaker:
    """Makes the clips of one video out of its streams' step features.

    Args:
        streams: the model's, by name in the order they are joined.
        windows: how the video is cut.
        awaited: the streams that the video has, as far as it tells; a clip waits for these.
        lag_seconds: how long it waits for one of them that falls behind the others.
    """

    def __init__(
        self,
        streams: Mapping[StreamName, Stream],
        sampling: SamplingConfig,
        windows: Windows,
        awaited: Collection[StreamName],
        lag_seconds: float = inf,
    ) -> None:
        self._windows = windows
        self._dims = {name: stream.recurrent.vector_size for name, stream in streams.items()}
        self._encoders = {
            name: ClipEncoder(windows, sampling.max_steps, _by_tile(stream), sampling.repeat_last)
            for name, stream in streams.items()
        }
        self._awaited = [name for name in self._encoders if name in awaited]
        self._lag_clips = ceil(lag_seconds / windows.stride_seconds) if lag_seconds < inf else inf
        self._given = 0  # clips given so far

    def add(self, stream: StreamName, features: Tensor, steps: Steps, part: slice) -> Iterator[ClipEmbedding]:
        """Take the features (T, P, F) of a slice of steps that follow those before; the clips that they complete."""
        self._encoders[stream].add(features, steps, part)
        done = [self._encoders[name].done for name in self._awaited]
        complete = max(min(done), max(done) - self._lag_clips) if done else 0
        yield from self._give(int(complete), inf)

    def finish(self, duration_seconds: float) -> Iterator[ClipEmbedding]:
        """The clips that are left, the last of which ends with the video.

        Streams are encoded side by side: the steps of a recurrent network are too small for two cores.
        """
        encoders = list(self._encoders.values())
        if len(encoders) == 1:  # whose batches may be large
            encoders[0].finish(duration_seconds)
        else:
            list(cnn_pool().map(lambda encoder: encoder.finish(duration_seconds), encoders))  # raises their errors
        yield from self._give(self._windows.count(duration_seconds), duration_seconds)

    def _give(self, end: int, duration_seconds: float) -> Iterator[ClipEmbedding]:
        if end > self._given:
            span = range(self._given, end)
            self._given = end
            vectors = {name: encoder.take(span) for name, encoder in self._encoders.items()}
            yield from clips_of(vectors, self._dims, self._windows, duration_seconds)


def _by_tile(stream: Stream) -> Callable[[Sequence[Tensor]], NDArray[np.float32]]:
    """The stream's recurrent encoder for N sequences (T_i, P, F): each tile is a sequence of its own -> (N, P, D)."""

    def encode(sequences: Sequence[Tensor]) -> NDArray[np.float32]:
        if not sequences:
            return np.zeros((0, 1, stream.recurrent.vector_size), np.float32)
        tiles = sequences[0].shape[1]
        vectors = stream.vectors([sequence[:, tile] for sequence in sequences for tile in range(tiles)])
        return vectors.reshape(len(sequences), tiles, -1)

    return encode
