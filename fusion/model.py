"""A model that embeds: `load_model(...).embed(path)`.

file -> steps of each stream -> CNN (T, F) -> recurrent (D_s,) a clip -> joined (D,), with what is present
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tristream.fusion.assemble import build_streams
from tristream.fusion.batch import Job, embed_files
from tristream.fusion.classify import ModelClassifier
from tristream.fusion.config import ModelConfig
from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.opened_video import OpenedVideo
from tristream.fusion.overrides import Overrides
from tristream.fusion.plan import flow_engine, open_media, step_plan
from tristream.fusion.save import save_model
from tristream.fusion.source import DEFAULT_MODEL, ModelSource, find_model
from tristream.fusion.windows import Windows
from tristream.streams.config import (
    AudioCNNName,
    FlowEngineName,
    MotionCNNName,
    RecurrentCell,
    SamplingStrategy,
    StreamName,
)
from tristream.streams.errors import UsageError
from tristream.streams.grid import Grid
from tristream.streams.picture import PictureFormat
from tristream.streams.placement import DtypeName, select_device
from tristream.streams.stream import Stream

DEFAULT_BATCH_SIZE = 16


@dataclass
class Model:
    """The streams of a model, loaded and placed; made by `load_model`."""

    source: ModelSource
    streams: Mapping[StreamName, Stream]
    picture: PictureFormat | None  # what the spatial stream sees
    device: str
    dtype: DtypeName
    threads: int = 0  # of the decoder; 0 lets it choose

    @property
    def config(self) -> ModelConfig:
        """The architecture."""
        return self.source.config

    @property
    def model_id(self) -> str:
        """12 hex digits that name this architecture with these weights."""
        return self.source.model_id

    @property
    def dims(self) -> dict[StreamName, int]:
        """The length D_s of each stream's vector, in the order in which they are joined."""
        return {name: stream.recurrent.vector_size for name, stream in self.streams.items()}

    @cached_property
    def classifier(self) -> ModelClassifier:
        """What tells classes of this model's embeddings.

        Raises:
            ModelError: the model has none, or a damaged one.
        """
        return ModelClassifier(self.source, self.dims)

    def embed(
        self,
        path: str | Path,
        *,
        window: float = Windows.window_seconds,
        stride: float | None = None,
        grid: Grid | None = None,
        fps: float | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        moment: tuple[float, float] | None = None,
    ) -> VideoEmbedding:
        """Embed one video or sound file, or a moment of it.

        Args:
            path: the file, or a folder of numbered frames.
            window: seconds a clip; a video up to this long is one clip.
            stride: seconds from one clip's start to the next's; by default the window.
            grid: cut the picture, too, so that there is a clip of each tile; by default it is whole.
            fps: frames a second of a folder.
            batch_size: steps that go through a CNN together.
            moment: start and end in seconds of what to embed, as if the file were cut there; by default all of it.

        Raises:
            MediaError: the file cannot be opened or decoded, or has none of the model's streams there.
            UsageError: window, stride, grid, fps, batch size or moment that cannot be.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, got {batch_size}")
        windows = Windows(window, window if stride is None else stride, grid or Grid())
        start_seconds, end_seconds = moment or (0.0, float("inf"))
        if not 0 <= start_seconds < end_seconds:
            raise UsageError(f"a moment starts at 0 s or later and before its end, got {moment}")
        with self.open(path, windows, fps=fps, batch_size=batch_size, moment=moment) as opened:
            clips = tuple(opened.clips())
            return opened.summary(clips)

    def open(
        self,
        path: str | Path,
        windows: Windows,
        *,
        fps: float | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        moment: tuple[float, float] | None = None,
    ) -> OpenedVideo:
        """A file whose clips come one after the other, so that a long one need not be held; as `embed` otherwise."""
        plan = step_plan(self.config, self.picture, windows)
        engine = flow_engine(self.source, plan, self.device)
        reader = open_media(str(path), plan, engine, self.threads, moment[0] if moment else 0.0, fps)
        return OpenedVideo(self, reader, plan, engine, windows, batch_size, moment)

    def embed_many(
        self,
        paths: Iterable[str | Path],
        *,
        jobs: int = 1,
        timeout: float | None = None,
        window: float = Windows.window_seconds,
        stride: float | None = None,
        grid: Grid | None = None,
        fps: float | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> Iterator[VideoEmbedding]:
        """Embed many files in worker processes; results come in order, and a failure as `result.error`.

        Args:
            paths: the files.
            jobs: worker processes, each with its share of the cores.
            timeout: seconds a file may take before its worker is ended; None for no bound.
        """
        windows = Windows(window, window if stride is None else stride, grid or Grid())
        job = Job(self.source, windows, batch_size, self.device, self.dtype, fps=fps)
        return embed_files(job, map(str, paths), jobs=jobs, timeout_seconds=timeout)

    def save(self, folder: str | Path, *, name: str | None = None, card: str = "") -> None:
        """Write the model to a new folder that `load_model` reads; the folder has a model id of its own.

        Raises:
            ModelError: the folder is not empty, or cannot be written.
        """
        save_model(self.source, Path(folder), name=name or self.source.name, card=card)


def load_model(
    name_or_path: str | Path = DEFAULT_MODEL,
    *,
    device: str = "auto",
    dtype: DtypeName = "auto",
    streams: tuple[str, ...] | None = None,
    backbone: str | None = None,
    same_padding: bool | None = None,
    temporal_cnn: MotionCNNName | None = None,
    audio_cnn: AudioCNNName | None = None,
    recurrent: RecurrentCell | None = None,
    sampling: SamplingStrategy | None = None,
    flow: FlowEngineName | None = None,
    spatial_weights: str | Path | None = None,
    temporal_weights: str | Path | None = None,
    audio_weights: str | Path | None = None,
    flow_weights: str | Path | None = None,
    untrained: bool = False,
) -> Model:
    """Load a model by name (`pocket`, `tkachenko2018`) or from its folder.

    Args:
        device: `auto`, `cpu` or `cuda`.
        dtype: of the CNNs: `auto`, `float32` or `bfloat16`.
        same_padding: pad the backbone as TensorFlow does, for weights that were converted from it.
        temporal_cnn: `motion`, `small`, or `histogram`, which needs no training.
        audio_cnn: `vggish`, `yamnet` or `small`.
        streams: only these streams; the other arguments up to `flow` change the architecture likewise.
        spatial_weights, temporal_weights, audio_weights, flow_weights: weights files (.safetensors, .npz) of the
            backbone, the motion CNN, the audio CNN and RAFT; the first three may be a model folder's.
        untrained: allow parts without trained weights, which then get random ones.

    Raises:
        ModelError: no such model, a damaged one, or parts without weights.
        UsageError: an argument that does not fit the model.
    """
    overrides = Overrides(
        streams=streams,
        backbone=backbone,
        same_padding=same_padding,
        temporal_cnn=temporal_cnn,
        audio_cnn=audio_cnn,
        recurrent=recurrent,
        sampling=sampling,
        flow=flow,
        spatial_weights=Path(spatial_weights) if spatial_weights else None,
        temporal_weights=Path(temporal_weights) if temporal_weights else None,
        audio_weights=Path(audio_weights) if audio_weights else None,
        flow_weights=Path(flow_weights) if flow_weights else None,
    )
    source = find_model(name_or_path, overrides, untrained=untrained)
    if source.warning:
        warnings.warn(f"model {source.name}: {source.warning}", stacklevel=2)
    return open_model(source, device=device, dtype=dtype)


def open_model(source: ModelSource, *, device: str = "auto", dtype: DtypeName = "auto") -> Model:
    """Load the weights of a source and place its networks."""
    device = select_device(device)
    streams, picture = build_streams(source, device, dtype)
    return Model(source, streams, picture, device, dtype)
