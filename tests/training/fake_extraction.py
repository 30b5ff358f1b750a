"""A model that is small and untrained, and workers that are no processes, for tests of what is kept of files."""

from dataclasses import replace
from typing import Any

from tristream.fusion.config import ModelConfig
from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.source import ModelSource, Weights, parts_of
from tristream.fusion.windows import Windows
from tristream.fusion.worker import Job
from tristream.streams.config import (
    AudioConfig,
    FlowConfig,
    RecurrentConfig,
    SamplingConfig,
    SpatialConfig,
    StreamName,
    TemporalConfig,
)
from tristream.streams.errors import MediaError
from tristream.training.cache import FeatureCache
from tristream.training.extraction import ExtractionJob, Wanted, make_job

STREAMS: tuple[StreamName, ...] = ("spatial", "temporal", "audio")
FEATURES = tuple(Wanted(stream) for stream in STREAMS)
MEAN = RecurrentConfig("mean")
TINY = ModelConfig(
    SpatialConfig("lrcn2024", recurrent=MEAN),
    TemporalConfig("small", pairs=4, stride=2, recurrent=MEAN),
    AudioConfig("small", recurrent=MEAN),
    SamplingConfig(max_steps=12),
    FlowConfig(height=60, width=80),
)


def tiny_source(config: ModelConfig = TINY) -> ModelSource:
    """A source whose weights are all the seed's."""
    return ModelSource("tiny", config, {part: Weights(untrained=True) for part in parts_of(config)})


def tiny_job(
    cache: FeatureCache,
    *wanted: Wanted,
    config: ModelConfig = TINY,
    windows: Windows | None = None,
) -> ExtractionJob:
    """The job that keeps what is wanted of a tiny model; by default the features of all its streams."""
    chosen = wanted or tuple(each for each in FEATURES if each.stream in config.streams)
    return make_job(tiny_source(config), windows or Windows(), cache, chosen, "cpu", "float32")


class InlineWorkers:
    """In place of `Workers`: each file is done in this process, when it is asked for."""

    def __init__(self, job: Job, **_: Any) -> None:
        self._embed = job.open()[1]
        self._blank = VideoEmbedding("", job.source.model_id)
        self._waiting: list[str] = []

    def __class_getitem__(cls, _: Any) -> type["InlineWorkers"]:
        return cls

    def __enter__(self) -> "InlineWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def free(self) -> bool:
        return not self._waiting

    def start(self, key: str, path: str) -> None:
        self._waiting.append(path)

    def collect(self) -> list[tuple[str, VideoEmbedding]]:
        path = self._waiting.pop()
        try:
            return [(path, self._embed(path))]
        except MediaError as error:
            return [(path, replace(self._blank, path=path, error=str(error)))]
