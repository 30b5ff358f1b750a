"""What the small model is trained on, read from files: frames, flow stacks, sounds, and the features of all steps."""

from collections.abc import Callable, Iterable, Iterator, Mapping
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

CUTS, CUT_SHARE = 2, 0.9
PIECES = "temporal.pieces"
PIECES_OF_STEP = 2
PIECE_AREA, PIECE_SPEED = (0.05, 1.0), (0.1, 1.5)  # shares of a step's; tiles of far-away things move slowly
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


def mean_flows_of(clip: Path) -> NDArray[np.float16]:
    """The mean flow (T, 2, H, W) of each stack of a clip."""
    config = POCKET.with_streams(("temporal",))
    plan = step_plan(config, None, Windows())
    engine = flow_engine(ModelSource("pocket", config, {}), plan, "cpu")
    with MediaReader(clip, audio=False) as reader:
        stacks = [steps.take(slice(None)) for steps in read_steps(reader, plan, engine, Timings())]
    means = [each.reshape(len(each), -1, 2, *each.shape[2:]).mean(axis=1, dtype=np.float32) for each in stacks]
    return np.concatenate(means).astype(np.float16)


def sound_of(path: Path) -> NDArray[np.float32] | None:
    """The waveform (N,) of a file at 16 kHz; None where it has none."""
    if probe(path).audio is None:
        return None
    with MediaReader(path, video=False) as reader:
        return np.concatenate([block.samples for block in reader if isinstance(block, AudioBlock)])


def step_features(model: Model, path: Path, seed: int) -> dict[str, NDArray[np.float32]]:
    """The features (T, F) of a file's steps, as `stream.plain`, and of changed copies, as `stream.` and what changed.

    The copy called `encoding` is of the file in a worse one, as far as it has the same steps. PIECES are no copy, but
    steps (2 T, F) of their own.
    """
    generator = np.random.default_rng(seed_of(seed, path.stem))
    changes = _Changes(generator)
    features = _features(model, path, changes.versions)
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.mkv"
        write_copy(path, copy, int(generator.integers(*COPY_CRF)), int(generator.integers(*COPY_SOUND)))
        for name, steps in _features(model, copy, lambda stream, inputs: [("plain", inputs)]).items():
            same = np.minimum(np.arange(len(features[name])), len(steps) - 1)
            features[name.replace("plain", "encoding")] = steps[same]
    return features


def versions_of(features: Mapping[str, NDArray[np.float32]], stream: StreamName) -> tuple[NDArray[np.float32], ...]:
    """The features (T, F) of a stream among those of `step_features`, as they are, then changed; none if absent."""
    names = [name for name in features if name.startswith(f"{stream}.") and name != PIECES]
    return tuple(features[name] for name in sorted(names, key=lambda name: (not name.endswith(".plain"), name)))


def _features(
    model: Model, path: Path, versions: Callable[[StreamName, NDArray[Any]], Iterable[tuple[str, NDArray[Any]]]]
) -> dict[str, NDArray[np.float32]]:
    """The step features (T, F) of each stream of a file, in several versions, as `stream.version`."""
    plan = step_plan(model.config, model.picture, Windows())
    engine = flow_engine(model.source, plan, "cpu")
    found: dict[str, list[NDArray[np.float32]]] = {}
    with open_media(str(path), plan, engine, 0) as reader:
        for steps in read_steps(reader, plan, engine, Timings()):
            for version, inputs in versions(steps.stream, steps.take(slice(None))):
                features = model.streams[steps.stream].features(inputs).numpy()
                found.setdefault(f"{steps.stream}.{version}", []).append(features)
    return {name: np.concatenate(parts) for name, parts in found.items()}


class _Changes:
    """Changed copies of a clip's steps, all of a clip in the same way, and pieces of them, each another."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._corners = generator.uniform(0, 1 - CUT_SHARE, (CUTS, 2))  # upper left ones, as shares of the sides
        self._light = float(generator.choice([0.75, 1.3]))
        self._gain = float(generator.choice([0.5, 2.0]))

    def versions(self, stream: StreamName, inputs: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
        """The inputs as they are, then changed, each with its name."""
        yield "plain", inputs
        if stream == "spatial":
            for number, corner in enumerate(self._corners):
                yield f"cut{number}", np.stack([_cut(frame, corner, CUT_SHARE) for frame in inputs])
            mirrored = np.clip(inputs[:, :, ::-1].astype(np.float32) * self._light, 0, 255)
            yield "mirrored", mirrored.astype(np.uint8)
        elif stream == "temporal":
            for number, corner in enumerate(self._corners):
                cut = [_cut_stack(stack, corner, CUT_SHARE) for stack in inputs]
                yield f"cut{number}", (np.stack(cut) / CUT_SHARE).astype(np.float16)
            pieces = [piece_of(stack, self._generator) for stack in inputs for _ in range(PIECES_OF_STEP)]
            yield "pieces", np.stack(pieces)
        else:
            offset = LOG_OFFSETS["small"]  # which stays as it is where a sound gets louder
            mel = np.maximum(np.exp(inputs) - offset, 0)
            yield "louder", np.log(self._gain * mel + offset).astype(np.float32)


def piece_of(stack: NDArray[np.float16], generator: np.random.Generator) -> NDArray[np.float16]:
    """Some of a stack (2L, H, W), in the same size, slower or faster."""
    share = float(np.sqrt(generator.uniform(*PIECE_AREA)))
    speed = np.exp(generator.uniform(*np.log(PIECE_SPEED)))
    piece = _cut_stack(stack, generator.uniform(0, 1 - share, 2), share)
    return np.asarray(piece * speed, np.float16)


def _cut_stack(stack: NDArray[np.floating], corner: NDArray[np.floating], share: float) -> NDArray[np.float32]:
    """Each plane of a stack (2L, H, W), cut."""
    return np.stack([_cut(plane, corner, share) for plane in stack.astype(np.float32)])


def _cut(picture: NDArray[Any], corner: NDArray[np.floating], share: float) -> NDArray[Any]:
    """So much of each side from a corner on, scaled to the size it had."""
    height, width = picture.shape[:2]
    top, left = (int(part * side) for part, side in zip(corner, (height, width), strict=True))
    piece = picture[top : top + round(share * height), left : left + round(share * width)]
    return np.asarray(cv2.resize(np.ascontiguousarray(piece), (width, height)), picture.dtype)
