"""One file in, what is wanted of its streams out: CNN features, or the inputs of CNNs; needs torch.

steps (T, …) -> CNN (V, T, F) float16, or pictures, flow fields and log-mel examples as they are (V, T, …)
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from tristream.fusion.model import Model, open_model
from tristream.fusion.plan import flow_engine, open_media, step_plan
from tristream.streams.config import StreamName
from tristream.streams.errors import FlowError, MediaError
from tristream.streams.picture import PictureFormat
from tristream.streams.pipeline import read_steps
from tristream.streams.placement import select_device
from tristream.streams.spatial import build_spatial_cnn
from tristream.streams.steps import Steps, Timings
from tristream.training.augmentation import FrameAugmenter
from tristream.training.cache import StepFeatures

if TYPE_CHECKING:
    from tristream.training.extraction import ExtractionJob, Wanted

LARGEST_INT8 = 127


class Collector:
    """The CNNs of a job, loaded, and what they make of a file."""

    def __init__(self, job: "ExtractionJob") -> None:
        self._job = job
        config = job.source.config
        networks = tuple(dict.fromkeys(each.stream for each in job.wanted if each.kind == "features"))
        self._model: Model | None = None
        if networks:
            source = replace(job.source, config=config.with_streams(networks))
            self._model = open_model(source, device=job.device, dtype=job.dtype)
        self._picture: PictureFormat | None = self._model.picture if self._model else None
        if config.spatial is not None and self._picture is None:
            self._picture = build_spatial_cnn(config.spatial, None, "", pretrained=False).picture

    def collect(
        self, path: str, wanted: Sequence["Wanted"], *, seed: int = 0, beside: bool = False
    ) -> dict["Wanted", StepFeatures]:
        """What is wanted of a file; a stream that it has not gives no steps.

        Args:
            seed: of the changes that augmented versions show.
            beside: whether other streams of the file were collected before, so that it may have none of these.

        Raises:
            MediaError: the file cannot be decoded, or has none of the streams.
            FlowError: the flow engine cannot work on it.
        """
        try:
            return self._collect(path, wanted, seed)
        except FlowError:
            raise
        except MediaError:
            if not beside:
                raise
            return {each: _Collected(None, each, self._job.batch_size).finish(0.0, ()) for each in wanted}

    def _collect(self, path: str, wanted: Sequence["Wanted"], seed: int) -> dict["Wanted", StepFeatures]:
        job = self._job
        config = job.source.config.with_streams(tuple(dict.fromkeys(each.stream for each in wanted)))
        plan = step_plan(config, self._picture if config.spatial else None, job.windows)
        of_stream = {each.stream: each for each in wanted}
        if "temporal" in of_stream and of_stream["temporal"].kind == "inputs":
            # A stack of one pair is the flow from a frame to the next; it is needed of every frame.
            plan = replace(plan, stack_pairs=1, stack_stride=1)
        engine = flow_engine(job.source, plan, select_device(job.device))
        collected = {each: _Collected(self._model, each, job.batch_size, seed) for each in wanted}
        with open_media(path, plan, engine, job.threads) as reader:
            with closing(read_steps(reader, plan, engine, Timings())) as pieces:
                for steps in pieces:
                    collected[of_stream[steps.stream]].add(steps)
            if not any(each.count for each in collected.values()):
                raise MediaError(f"{path} holds nothing that the streams {', '.join(of_stream)} could use")
            return {
                each: parts.finish(reader.duration_seconds, tuple(reader.warnings)) for each, parts in collected.items()
            }


class _Collected:
    """The steps of one stream so far."""

    def __init__(self, model: Model | None, wanted: "Wanted", batch_size: int, seed: int = 0) -> None:
        self.count = 0
        self._seed = seed
        self._model = model
        self._wanted = wanted
        self._batch_size = batch_size
        self._times: list[NDArray[np.float64]] = []
        self._values: list[NDArray[Any]] = []  # (V, T_i, …)
        self._scales: list[NDArray[np.float32]] = []  # (T_i,)

    def add(self, steps: Steps) -> None:
        """Take the steps that follow."""
        self._times.append(np.stack([steps.seconds, steps.start_seconds, steps.end_seconds], axis=1))
        for first in range(0, len(steps), self._batch_size):
            inputs = steps.take(slice(first, min(first + self._batch_size, len(steps))))
            self._values.append(self._of(inputs))
            self.count += len(inputs)

    def finish(self, duration_seconds: float, warnings: tuple[str, ...]) -> StepFeatures:
        """All of them."""
        if not self.count:
            return StepFeatures(np.zeros((1, 0), np.float16), np.zeros((0, 3)), duration_seconds, None, warnings)
        scale = np.concatenate(self._scales) if self._scales else None
        values, times = np.concatenate(self._values, axis=1), np.concatenate(self._times)
        return StepFeatures(values, times, duration_seconds, scale, warnings)

    def _of(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """What is kept of the inputs (T, …) of a CNN: (V, T, …)."""
        versions = [inputs, *self._changed(inputs)]
        if self._wanted.kind == "features":
            return np.stack([self._features(self._wanted.stream, version) for version in versions])
        if self._wanted.stream == "temporal":
            fields, scale = to_int8(inputs)
            self._scales.append(scale)
            return fields[None]
        return np.stack([each.astype(np.float16) if each.dtype == np.float32 else each for each in versions])

    def _features(self, stream: StreamName, inputs: NDArray[Any]) -> NDArray[np.float16]:
        if self._model is None:
            raise MediaError(f"no CNN of stream {stream} was loaded")
        features = self._model.streams[stream].features(inputs)  # (T, F)
        largest = torch.finfo(torch.float16).max
        half: NDArray[np.float16] = features.clamp(-largest, largest).half().numpy()
        return half

    def _changed(self, frames: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """The augmented versions of frames (T, H, W, 3)."""
        config = self._wanted.augmentation
        if config is None:
            return []
        height, width = frames.shape[1:3]
        seeds = range(self._seed, self._seed + config.copies)
        return [FrameAugmenter(config, height, width, seed)(frames, self.count) for seed in seeds]


def to_int8(fields: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Flow fields (T, 2, H, W) as int8 and the factor (T,) of each: within 0.4 % of the field's longest component."""
    longest = np.abs(fields).max(axis=(1, 2, 3)).astype(np.float32)
    scale = np.where(longest > 0, longest / LARGEST_INT8, np.float32(1.0)).astype(np.float32)
    return np.rint(fields / scale[:, None, None, None]).astype(np.int8), scale
