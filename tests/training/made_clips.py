"""Small labelled clips whose pictures tell their class, and trainings on them that take a moment."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tristream.fusion.overrides import Overrides
from tristream.fusion.source import ModelSource, Weights, parts_of
from tristream.streams.config import RecurrentConfig
from tristream.training import extraction
from tristream.training.examples import Example
from tristream.training.recipes import TKACHENKO_RECIPE
from tristream.training.reporting import Report
from tristream.training.settings import TrainSettings
from tristream.training.setup import set_up
from tristream.training.train import Trainer

sys.path.append(str(Path(__file__).parent))
from fake_extraction import TINY, InlineWorkers

COLOURS = {"blue": (40, 60, 200), "green": (40, 200, 60), "red": (200, 50, 40)}
FRAMES, FPS = 10, 10
# Backbones that are made for tests; none has weights here.
SMALL = {"backbone": "test_resnet"}
OVERRIDES: dict[str, dict[str, Any]] = {
    "tkachenko2018": SMALL | {"audio_cnn": "small"},
    "corehar2020": SMALL,
    "orozco2021": SMALL,
    "konakalla": SMALL,
    "lrcn2024": {},
    "convlstm2024": {},
}
STREAMS = ("spatial", "temporal", "audio")
GRU = RecurrentConfig(hidden=8)


def make_clips(
    make_video: Any, folder: Path, classes: Sequence[str] = ("green", "red"), count: int = 4, sound: bool = True
) -> Path:
    """A folder a class, with `count` clips of a second each; all but every fourth have sound."""
    for label in classes:
        (folder / label).mkdir(parents=True)
        for number in range(count):
            noise = np.random.default_rng(number).integers(0, 80, (64, 80 + 2 * FRAMES, 3))
            frames = np.stack([noise[:, 2 * i : 2 * i + 80] for i in range(FRAMES)])
            pictures = (frames * 0.5 + np.array(COLOURS[label]) * 0.8).astype(np.uint8)
            # Longer than the pictures by a second each, so that no two clips of a class sound the same.
            make_video(
                folder / label / f"{label}{number}.avi",
                frames=pictures,
                fps=FPS,
                sound_hz=16_000 if sound and number % 4 else None,
                sound_seconds=float(number),
            )
    return folder


def examples_of(folder: Path, *numbers: int) -> tuple[Example, ...]:
    """The clips of these numbers, or all of them, each a group of its own."""
    found = sorted(folder.glob("*/*.avi"))
    chosen = [path for path in found if not numbers or int(path.stem[-1]) in numbers]
    return tuple(Example(path, path.parent.name, path.name) for path in chosen)


def quick(cache: Path | None, **changes: Any) -> TrainSettings:
    """Settings of a training that takes a moment, and the same moment everywhere."""
    settings = TrainSettings(device="cpu", dtype="float32", cache=cache, epochs=2, cnn_epochs=1, validation_share=0.25)
    return replace(settings, **changes)


def recipe_trainer(name: str, train: Sequence[Example], folder: Path, settings: TrainSettings) -> Trainer:
    """A training by a recipe, with networks of far fewer units in place of the paper's, which take a minute."""
    trainer = set_up(train, name, Overrides(**OVERRIDES[name]), settings, folder, untrained=True)
    config = trainer.source.config
    for stream in config.streams:
        described = getattr(config, stream)
        narrow = replace(described.recurrent, hidden=min(32, described.recurrent.hidden))
        config = replace(config, **{stream: replace(described, recurrent=narrow)})
    if config.temporal is not None:
        config = replace(config, temporal=replace(config.temporal, cnn="small"), flow=TINY.flow)
    return replace(trainer, source=replace(trainer.source, config=config))


def tiny_trainer(
    train: Sequence[Example],
    folder: Path,
    settings: TrainSettings,
    *,
    streams: Sequence[str] = STREAMS,
    report: Report | None = None,
    overwrite: bool = False,
) -> Trainer:
    """A training by the paper's way of networks that are far smaller than the paper's."""
    config = TINY.with_streams(tuple(streams))
    for stream in config.streams:
        config = replace(config, **{stream: replace(getattr(config, stream), recurrent=GRU)})
    # What is the seed's and not called untrained is to be trained.
    weights = {part: Weights(untrained=part == "spatial.cnn") for part in parts_of(config)}
    source = ModelSource("tiny", config, weights)
    return Trainer(train, source, TKACHENKO_RECIPE, settings, folder, folder.name, report or Report(), overwrite)


def train_in_a_process(clips: str, folder: str, cache: str | None) -> None:
    """Train a tiny model; to be killed."""
    torch.set_num_threads(1)
    extraction.Workers = InlineWorkers  # type: ignore[attr-defined]
    train = examples_of(Path(clips), 0, 1, 2, 3)
    tiny_trainer(train, Path(folder), quick(Path(cache) if cache else None)).run()
