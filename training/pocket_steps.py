"""What the small model is trained on, read from files: frames, flow stacks, sounds, and the features of all steps."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tristream.fusion.config import POCKET
from tristream.fusion.model import Model
from tristream.fusion.plan import flow_engine, open_media, step_plan
from tristream.fusion.source import ModelSource
from tristream.fusion.windows import Windows
from tristream.streams.clip_file import write_copy
from tristream.streams.config import SamplingConfig, StreamName
from tristream.streams.log_mel import LOG_OFFSETS
from tristream.streams.media import AudioBlock, MediaReader, probe
from tristream.streams.picture import PictureFormat
from tristream.streams.pipeline import read_steps
from tristream.streams.steps import StepPlan, Timings
from tristream.training.loop import seed_of

CUTS = 2
COPY_CRF, COPY_SOUND = (26, 36), (24_000, 64_000)  # qualities of H.264, and bits a second of AAC


def every_fifth(clip: Path) -> list[NDArray[np.uint8]]:
    """One frame in five of a clip, each (240, 320, 3)."""
    plan = StepPlan(
        spatial=PictureFormat(240, 320, "rgb24", None, "bilinear"),
        flow=None,
        stack_pairs=None,
        audio=False,
        sampling=SamplingConfig("every-nth", max_steps=10**9, frame_jump=5),
        window_seconds=Windows().window_seconds,
    )
    with MediaReader(clip, audio=False) as reader:
        pieces = [steps.take(slice(None)) for steps in read_steps(reader, plan, None, Timings())]
    return list(np.concatenate(pieces))


def stacks_of(clip: Path, count: int = 4) -> list[NDArray[np.float16]]:
    """A few flow stacks (2L, H, W) of a clip, evenly in time."""
    config = POCKET.with_streams(("temporal",))
    plan = step_plan(config, None, Windows())
    engine = flow_engine(ModelSource("pocket", config, {}), plan, "cpu")
    with MediaReader(clip, audio=False) as reader:
        pieces = [steps.take(slice(None)) for steps in read_steps(reader, plan, engine, Timings())]
    stacks = np.concatenate(pieces)
    return list(stacks[np.linspace(0, len(stacks) - 1, count).astype(int)])


def sound_of(path: Path) -> NDArray[np.float32] | None:
    """The waveform (N,) of a file at 16 kHz; None where it has none."""
    if probe(path).audio is None:
        return None
    with MediaReader(path, video=False) as reader:
        return np.concatenate([block.samples for block in reader if isinstance(block, AudioBlock)])


def step_features(model: Model, path: Path, seed: int) -> dict[str, NDArray[np.float32]]:
    """The features (T, F) of a file's steps, under the names `stream.0`, and of changed copies as `stream.1` and on.

    The last copy is of the file in a worse encoding, as far as it has the same steps.
    """
    generator = np.random.default_rng(seed_of(seed, path.stem))
    changes = _Changes(generator)
    features = {
        f"{stream}.{version}": steps
        for stream, versions in _features(model, path, changes.versions).items()
        for version, steps in enumerate(versions)
    }
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.mkv"
        write_copy(path, copy, int(generator.integers(*COPY_CRF)), int(generator.integers(*COPY_SOUND)))
        for stream, (steps,) in _features(model, copy, lambda stream, inputs: [inputs]).items():
            there = features[f"{stream}.0"]
            same = np.minimum(np.arange(len(there)), len(steps) - 1)
            features[f"{stream}.{sum(name.startswith(stream) for name in features)}"] = steps[same]
    return features


def _features(
    model: Model, path: Path, versions: Callable[[StreamName, NDArray[Any]], Iterable[NDArray[Any]]]
) -> dict[StreamName, list[NDArray[np.float32]]]:
    """The step features (T, F) of each stream of a file, in several versions."""
    plan = step_plan(model.config, model.picture, Windows())
    engine = flow_engine(model.source, plan, "cpu")
    pieces: dict[StreamName, list[list[NDArray[np.float32]]]] = {}
    with open_media(str(path), plan, engine, 0) as reader:
        for steps in read_steps(reader, plan, engine, Timings()):
            found = [
                model.streams[steps.stream].features(each).numpy()
                for each in versions(steps.stream, steps.take(slice(None)))
            ]
            pieces.setdefault(steps.stream, []).append(found)
    return {stream: [np.concatenate(parts) for parts in zip(*each, strict=True)] for stream, each in pieces.items()}


class _Changes:
    """Changed copies of a clip's steps, all of a clip in the same way."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._corners = generator.uniform(0, 0.1, (CUTS, 2))  # upper left ones, as shares of the sides
        self._light = float(generator.choice([0.75, 1.3]))
        self._gain = float(generator.choice([0.5, 2.0]))

    def versions(self, stream: StreamName, inputs: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """The inputs as they are, then changed."""
        yield inputs
        if stream == "spatial":
            for corner in self._corners:
                yield np.stack([_cut(frame, corner) for frame in inputs])
            mirrored = np.clip(inputs[:, :, ::-1].astype(np.float32) * self._light, 0, 255)
            yield mirrored.astype(np.uint8)
        elif stream == "temporal":
            for corner in self._corners:
                cut = [[_cut(plane, corner) for plane in stack] for stack in inputs.astype(np.float32)]
                yield (np.array(cut) / 0.9).astype(np.float16)
        else:
            offset = LOG_OFFSETS["small"]  # which stays as it is where a sound gets louder
            mel = np.maximum(np.exp(inputs) - offset, 0)
            yield np.log(self._gain * mel + offset).astype(np.float32)


def _cut(picture: NDArray[Any], corner: NDArray[np.floating]) -> NDArray[Any]:
    """Nine tenths of each side, scaled to the size it had."""
    height, width = picture.shape[:2]
    top, left = (int(share * side) for share, side in zip(corner, (height, width), strict=True))
    piece = picture[top : top + round(0.9 * height), left : left + round(0.9 * width)]
    return np.asarray(cv2.resize(np.ascontiguousarray(piece), (width, height)), picture.dtype)
