"""Labelled files in, a model folder out: the streams one by one, then their fusion (Tkachenko 2018, III.E).

files -> step features, cached -> CNNs that are trained -> recurrent encoders -> embeddings -> classifier -> folder

Everything that decides is decided on a validation part of the training files: how many epochs, the temperature
of the probabilities. Then encoders and classifier are made anew of all of them.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tristream.fusion.folder import write_atomically
from tristream.fusion.save import Training, save_model
from tristream.fusion.source import ModelSource
from tristream.fusion.windows import Windows
from tristream.streams.config import StreamName, to_json
from tristream.streams.errors import ModelError, UsageError
from tristream.training.cache import GIGABYTE, FeatureCache
from tristream.training.card import model_card
from tristream.training.clipset import ClipSet, clip_set
from tristream.training.cnn_stage import CNNStage
from tristream.training.datasets import check_trainable
from tristream.training.examples import Example
from tristream.training.extraction import Extracted, ExtractionJob, Wanted, extract, make_job
from tristream.training.fusing import Fused, fuse
from tristream.training.history import StageHistory
from tristream.training.pictures import draw_curves
from tristream.training.recipes import Recipe
from tristream.training.reporting import Report
from tristream.training.sequence_stage import SequenceStage, TrainedEncoder
from tristream.training.settings import TrainSettings
from tristream.training.splits import part_off

RUN_FILE = "run.json"


@dataclass(frozen=True)
class Trained:
    """How a training went."""

    folder: Path
    classes: tuple[str, ...]
    histories: tuple[StageHistory, ...]
    metrics: dict[str, Any]
    left_out: dict[str, str]  # file -> why it could not be used


@dataclass
class Trainer:
    """One training. A run that was stopped goes on where it was, from `FOLDER.partial`.

    Args:
        train: the files to learn from; `part_off` holds some of them out for validation.
        source: the architecture, and the weights that are there already.
        folder: where the model goes; it must not be there yet.

    Raises:
        UsageError: what `check_trainable` refuses, a folder that is there, a partial one of another training.
    """

    train: Sequence[Example]
    source: ModelSource
    recipe: Recipe
    settings: TrainSettings
    folder: Path
    name: str
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        check_trainable(self.train)
        self.recipe = self.settings.of_recipe(self.recipe)
        self.classes = tuple(sorted({example.label for example in self.train}))
        self.windows = Windows(self.settings.window_seconds, self.settings.window_seconds)
        self.work = self.folder.with_name(f"{self.folder.name}.partial")
        self._left_out: dict[str, str] = {}
        if self.folder.exists():
            raise UsageError(f"{self.folder} is there already: --overwrite replaces it, or choose another folder")
        limit = self.settings.cache_gigabytes
        limit_bytes = None if limit is None or self.settings.cache is None else int(limit * GIGABYTE)
        self.cache = FeatureCache(self.settings.cache or self.work / "features", limit_bytes)

    def run(self) -> Trained:
        """Train, and write the folder.

        Raises:
            ModelError: networks that cannot be loaded, a loss that is not finite, a folder that cannot be written.
            UsageError: settings that do not fit.
        """
        self._begin()
        rest, held_out = part_off(self.train, self.settings.validation_share, self.settings.seed)
        self.report.say(
            f"{len(rest)} files of {len(self.classes)} classes to learn from, {len(held_out)} more to validate on"
        )
        histories = self._train_cnns(rest, held_out)
        extracted = self._extract(self._features_job(), [*rest, *held_out])
        learn, validate = self._clips(rest, extracted), self._clips(held_out, extracted)
        self._check_left(learn)
        encoders = {stream: self._train_encoder(stream, learn, validate) for stream in self.source.config.streams}
        histories += [each for encoder in encoders.values() for each in encoder.histories]
        fused = fuse(self.recipe, encoders, learn, validate, self.classes, self.settings.seed, self.report)
        self._write(encoders, fused, histories)
        return Trained(self.folder, self.classes, tuple(histories), fused.metrics, self._left_out)

    def _begin(self) -> None:
        """Claim the partial folder, or go on in it where it is of the same training."""
        facts = json.dumps(self._facts(), indent=1, sort_keys=True) + "\n"
        claimed = self.work / RUN_FILE
        if claimed.is_file() and claimed.read_text(encoding="utf-8") != facts:
            raise UsageError(
                f"{self.work} holds another training that was not finished: --overwrite drops it, "
                "or give the command that began it"
            )
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            write_atomically(claimed, facts.encode())
        except OSError as error:
            raise ModelError(f"{self.work} cannot be written: {error.strerror or error}") from error

    def _facts(self) -> dict[str, Any]:
        """All that decides what comes out, where it is known beforehand."""
        settings = {"seed": self.settings.seed, "validation_share": self.settings.validation_share}
        settings |= {"window_seconds": self.settings.window_seconds, "fine_tune": self.settings.fine_tune}
        return {
            "recipe": to_json(self.recipe),
            "model": to_json(self.source.config),
            "weights": {part: weights.origin for part, weights in self.source.weights.items()},
            "settings": settings,
            "files": [(str(each.path), each.label, each.group, each.part) for each in self.train],
        }

    def _train_cnns(self, rest: Sequence[Example], held_out: Sequence[Example]) -> list[StageHistory]:
        """Train the CNNs that have no weights, and the last blocks that are to be fine-tuned."""
        histories = []
        for stream in self.source.config.streams:
            stage = CNNStage(self.source, stream, self.recipe, self.settings, self.classes, self.work, self.report)
            if not stage.needed:
                continue
            extracted = self._extract(stage.job(self.windows, self.cache), [*rest, *held_out])
            weights, history = stage.train(rest, held_out, extracted, self.cache)
            self.source = replace(self.source, weights={**self.source.weights, f"{stream}.cnn": weights})
            histories.append(history)
        return histories

    def _features_job(self) -> ExtractionJob:
        sequence = self.recipe.sequence
        wanted = [
            Wanted(
                stream,
                "inputs" if sequence.whole else "features",
                sequence.augmentation if stream == "spatial" else None,
            )
            for stream in self.source.config.streams
        ]
        return make_job(self.source, self.windows, self.cache, wanted, self.settings.device, self.settings.dtype)

    def _extract(self, job: ExtractionJob, examples: Sequence[Example]) -> Extracted:
        paths = [str(example.path) for example in examples]
        what = " and ".join(f"{each.stream} {each.kind}" for each in job.wanted)
        with self.report.files(what, len(paths)) as on_file:
            extracted = extract(
                job,
                paths,
                self.cache,
                jobs=self.settings.jobs,
                timeout_seconds=self.settings.timeout_seconds,
                on_file=on_file,
            )
        for path, error in extracted.failed.items():
            if path not in self._left_out:
                self.report.say(f"left out: {error if path in error else f'{path}: {error}'}")
        self._left_out |= extracted.failed
        return extracted

    def _clips(self, examples: Sequence[Example], extracted: Extracted) -> ClipSet:
        readable = [example for example in examples if str(example.path) not in extracted.failed]
        return clip_set(readable, self.classes, extracted, self.cache, self.windows, self.source.config.sampling)

    def _check_left(self, learn: ClipSet) -> None:
        """Refuse to go on where unreadable files leave a class without clips."""
        if empty := sorted(set(self.classes) - {row.example.label for row in learn.rows}):
            raise UsageError(f"no file of class {empty[0]!r} to learn from could be read: {len(self._left_out)} failed")
        for stream in self.source.config.streams:
            if not learn.clips.get(stream):
                raise UsageError(f"no file has the stream {stream}: leave it out with --streams")

    def _train_encoder(self, stream: StreamName, learn: ClipSet, validate: ClipSet) -> TrainedEncoder:
        stage = SequenceStage(
            self.source, stream, self.recipe, self.settings, self.classes, self.cache, self.work, self.report
        )
        return stage.train(learn, validate)

    def _write(self, encoders: dict[StreamName, TrainedEncoder], fused: Fused, histories: list[StageHistory]) -> None:
        """The model folder, by way of one beside it, so that it is there whole or not at all."""
        weights = dict(self.source.weights)
        for encoder in encoders.values():
            weights |= encoder.weights
        source = replace(self.source, name=self.name, weights=weights)
        training = Training(
            classes=self.classes,
            classifier=fused.kind,
            classifier_data=fused.data,
            trained_on=self._data(),
            metrics=fused.metrics | {"recipe": self.recipe.name},
            files={
                "curves.png": draw_curves(histories),
                "history.json": (json.dumps([each.to_json() for each in histories], indent=1) + "\n").encode(),
            },
        )
        fresh = self.work / "model"
        if fresh.exists():
            shutil.rmtree(fresh)
        card = model_card(source, self.recipe, self.settings, training, len(self._left_out))
        save_model(source, fresh, name=self.name, card=card, training=training)
        fresh.rename(self.folder)
        shutil.rmtree(self.work)

    def _data(self) -> str:
        return (
            f"{len(self.train)} files of {len(self.classes)} classes, {len(self._left_out)} of which could not be read"
        )


def parts_to_train(source: ModelSource, recipe: Recipe) -> tuple[str, ...]:
    """The parts of a model that training gives their weights: encoders, and CNNs that no weights are there for."""
    parts = []
    for part, weights in source.weights.items():
        stream, _, piece = part.partition(".")
        whole = recipe.sequence.whole and piece == "cnn"
        scratch = piece == "cnn" and stream in recipe.cnn and stream != "spatial" and weights.origin == "seed"
        if piece == "recurrent" or whole or scratch:
            parts.append(part)
    return tuple(parts)
