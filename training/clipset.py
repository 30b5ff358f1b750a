"""The clips of labelled files, with the cached steps of each of their streams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tristream.fusion.windows import Windows
from tristream.streams.config import SamplingConfig, StreamName
from tristream.training.cache import FeatureCache
from tristream.training.examples import Example
from tristream.training.extraction import Extracted
from tristream.training.sequences import Clip, Indices, clip_steps


@dataclass(frozen=True)
class Row:
    """One clip [start_seconds, end_seconds) of a file; `label` is the number of its class."""

    example: Example
    label: int
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class ClipSet:
    """Clips (N), and for each stream the steps of those that have it, by the clip's place."""

    rows: tuple[Row, ...]
    clips: Mapping[StreamName, Mapping[int, Clip]]

    @property
    def labels(self) -> NDArray[np.intp]:
        """The number of each clip's class, (N,)."""
        return np.array([row.label for row in self.rows], np.intp)

    @property
    def groups(self) -> list[str]:
        """Each clip's group."""
        return [row.example.group for row in self.rows]

    def of(self, stream: StreamName, versions: int = 1) -> list[Clip]:
        """The clips that have a stream; with more versions, augmented copies of each too."""
        clips = self.clips.get(stream, {}).values()
        return [replace(clip, version=version) for version in range(versions) for clip in clips]

    def embeddings(self, vectors: Mapping[StreamName, NDArray[np.float32]]) -> NDArray[np.float32]:
        """The embeddings (N, D) of the streams' vectors (N_s, D_s), which are in the order of `of`."""
        parts = []
        for stream, own in vectors.items():
            part = np.zeros((len(self.rows), own.shape[1]), np.float32)  # an absent stream's part is zero
            part[list(self.clips.get(stream, {}))] = own
            parts.append(part)
        return np.concatenate(parts, axis=1)


def clip_set(
    examples: Sequence[Example],
    classes: Sequence[str],
    extracted: Extracted,
    cache: FeatureCache,
    windows: Windows,
    sampling: SamplingConfig,
) -> ClipSet:
    """The clips of the files that could be read.

    Raises:
        MediaError: features are gone from the cache.
    """
    rows: list[Row] = []
    clips: dict[StreamName, dict[int, Clip]] = {}
    for example in examples:
        keys = {wanted.stream: key for wanted, key in extracted.keys.get(str(example.path), {}).items()}
        label = classes.index(example.label)
        of_file, duration_seconds = steps_of_file(keys, cache, windows, sampling)
        for number in sorted(set().union(*of_file.values())):
            for stream, steps in of_file.items():
                held = clips.setdefault(stream, {})
                if number in steps:
                    held[len(rows)] = Clip(keys[stream], steps[number], label)
            rows.append(Row(example, label, *windows.span(number, duration_seconds)))
    return ClipSet(tuple(rows), clips)


def steps_of_file(
    keys: Mapping[StreamName, str], cache: FeatureCache, windows: Windows, sampling: SamplingConfig
) -> tuple[dict[StreamName, dict[int, Indices]], float]:
    """Each stream's steps in the cache by the number of the clip that holds them, and the file's duration in seconds.

    Raises:
        MediaError: features are gone from the cache.
    """
    kept = {stream: cache.times(key) for stream, key in keys.items()}
    # A stream that was extracted apart from the others knows its own end only.
    duration_seconds = max((end_seconds for _, end_seconds in kept.values()), default=0.0)
    of_file = {
        stream: clip_steps(times, duration_seconds, stream, windows, sampling) for stream, (times, _) in kept.items()
    }
    return of_file, duration_seconds
