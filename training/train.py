"""Labelled files in, a model folder out: the streams one by one, then their fusion (Tkachenko 2018, III.E).

files -> step features, cached -> CNNs that are trained -> recurrent encoders -> embeddings -> classifier -> folder

Everything that decides is decided on a validation part of the training files: how many epochs, the temperature
of the probabilities. Then encoders and classifier are made anew of all of them.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tristream.fusion.assemble import build_parts
from tristream.fusion.folder import sha256_of
from tristream.fusion.save import Training, save_model
from tristream.fusion.source import ModelSource, Weights
from tristream.fusion.windows import Windows
from tristream.streams.config import StreamName, to_json
from tristream.streams.errors import MediaError, UsageError
from tristream.streams.media import probe
from tristream.training.bootstrap import Interval
from tristream.training.cache import GIGABYTE, FeatureCache
from tristream.training.card import model_card
from tristream.training.clipset import ClipSet, clip_set
from tristream.training.cnn_stage import CNNStage
from tristream.training.datasets import check_trainable
from tristream.training.examples import Example
from tristream.training.extraction import Extracted, ExtractionJob, Wanted, extract, make_job
from tristream.training.fusing import Fused, fuse
from tristream.training.history import StageHistory
from tristream.training.partial import PartialFolder
from tristream.training.pictures import draw_curves
from tristream.training.recipes import Recipe
from tristream.training.record import CONTENT_DIGITS, TRAINING_FILE, learnt_from, training_record
from tristream.training.reporting import Report
from tristream.training.sequence_stage import SequenceStage, TrainedEncoder
from tristream.training.settings import TrainSettings
from tristream.training.splits import part_off


@dataclass(frozen=True)
class Trained:
    """How a training went."""

    folder: Path
    classes: tuple[str, ...]
    histories: tuple[StageHistory, ...]
    validated: dict[str, Interval]  # top-1 on the clips held out, of the fusion and of each stream's own head
    left_out: dict[str, str]  # file -> why it could not be used


@dataclass
class Trainer:
    """One training. A run that was stopped goes on where it was, from `FOLDER.partial`.

    Args:
        train: the files to learn from; `part_off` holds some of them out for validation.
        source: the architecture, and the weights that are there already.
        folder: where the model goes; it must not be there yet, unless `overwrite`.
        base: the trained model that the source is made of, if it is.

    Raises:
        UsageError: what `check_trainable`, `part_off` and `PartialFolder` refuse, a class that is to be validated on
            alone, settings that do not fit the recipe.
    """

    train: Sequence[Example]
    source: ModelSource
    recipe: Recipe
    settings: TrainSettings
    folder: Path
    name: str
    report: Report = field(default_factory=Report)
    overwrite: bool = False
    base: ModelSource | None = None

    def __post_init__(self) -> None:
        check_trainable(self.train)
        self.recipe = self.settings.of_recipe(self.recipe)
        drawn = any(weights.origin == "seed" for weights in self.source.weights.values())
        if drawn or self.settings.fine_tune or parts_to_train(self.source, self.recipe):  # else the model keeps its id
            self.source = replace(self.source, config=replace(self.source.config, seed=self.settings.seed))
        self.classes = tuple(sorted({example.label for example in self.train}))
        self.windows = Windows(self.settings.window_seconds, self.settings.window_seconds)
        self._given = dict(self.source.weights)  # before any is trained
        self._rest, self._held_out = part_off(self.train, self.settings.validation_share, self.settings.seed)
        if lost := sorted(set(self.classes) - {each.label for each in self._rest}):
            raise UsageError(f"class {lost[0]!r} is only in the validation part: none of it is left to learn from")
        self._partial = PartialFolder(self.folder, self.overwrite)
        self.work = self._partial.path
        self._left_out: dict[str, str] = {}
        limit = self.settings.cache_gigabytes
        limit_bytes = None if limit is None or self.settings.cache is None else int(limit * GIGABYTE)
        self.cache = FeatureCache(self.settings.cache or self.work / "features", limit_bytes)
        self._stages = [self._cnn_stage(stream) for stream in self.source.config.streams]
        if self.settings.fine_tune and not any(each.stream == "spatial" and each.needed for each in self._stages):
            raise UsageError("--fine-tune is for the backbone of a spatial stream that is not trained whole anyway")

    def run(self) -> Trained:
        """Train, and write the folder.

        Raises:
            ModelError: networks that cannot be loaded, a loss that is not finite, a folder that cannot be written.
            UsageError: settings that do not fit, another training's partial folder, a stream that no file has.
        """
        self._check()
        with self._partial.claimed(self._facts()):
            return self._train()

    @cached_property
    def _known(self) -> int:
        """How many of the files held out the networks that are kept have learnt from."""
        learnt = learnt_from(self.base) if self.base else None
        return sum(learnt(each.path) for each in self._held_out) if learnt else 0

    def _train(self) -> Trained:
        rest, held_out = self._rest, self._held_out
        self.report.say(
            f"{len(rest)} files of {len(self.classes)} classes to learn from, {len(held_out)} more to validate on"
        )
        if self._known:
            self.report.say(
                f"warning: the networks that are kept have learnt from {self._known} of those, so what they get on "
                "them flatters, and scores will be too sure; evaluate-video on other files tells more"
            )
        histories = self._train_cnns()
        extracted = self._extract(self._features_job(), [*rest, *held_out])
        self._tell_left_out(extracted)
        learn, validate = self._clips(rest, extracted), self._clips(held_out, extracted)
        self._check_left(learn)
        encoders = {stream: self._train_encoder(stream, learn, validate) for stream in self.source.config.streams}
        histories += [each for encoder in encoders.values() for each in encoder.histories]
        fused = fuse(self.recipe, encoders, learn, validate, self.classes, self.settings.seed, self.report)
        self._write(encoders, fused, histories)
        return Trained(self.folder, self.classes, tuple(histories), fused.validated, self._left_out)

    def _check(self) -> None:
        """Refuse what would fail later, after other streams were trained; nothing is written.

        A backbone or weights that do not fit, blocks that are not there, a stream that no file has: most files are
        not opened for that.
        """
        # A motion CNN that is to be trained is large, and cannot but fit.
        streams = self.source.config.streams
        scratch = self.source.weights.get("temporal.cnn") == Weights()
        build_parts(self.source, [each for each in streams if each != "temporal" or not scratch])
        for stage in self._stages:
            stage.check()
        lacking = set(self.source.config.streams)
        for example in self._rest:
            if not lacking:
                return
            with suppress(MediaError):  # which the worker that reads it will tell
                info = probe(example.path)
                lacking -= {"audio"} if info.audio else set()
                lacking -= {"spatial", "temporal"} if info.video else set()
        if lacking:
            raise _no_stream(lacking)

    def _facts(self) -> dict[str, Any]:
        """All that decides what comes out, where it is known beforehand."""
        names = ("seed", "validation_share", "window_seconds", "fine_tune", "device", "dtype")
        settings = {name: getattr(self.settings, name) for name in names}
        return {
            "recipe": to_json(self.recipe),
            "model": to_json(self.source.config),
            "weights": {part: weights.origin for part, weights in self.source.weights.items()},
            "settings": settings,
            "base": self.base.model_id if self.base else None,
            "files": [(str(each.path), each.label, each.group, each.part) for each in self.train],
        }

    def _cnn_stage(self, stream: StreamName) -> CNNStage:
        return CNNStage(self.source, stream, self.recipe, self.settings, self.classes, self.work, self.report)

    def _train_cnns(self) -> list[StageHistory]:
        """Train the CNNs that have no weights, and the last blocks that are to be fine-tuned."""
        histories = []
        for stage in self._stages:
            if not stage.needed:
                continue
            job = stage.job(self.windows, self.cache)
            trained = stage.trained_before(job, self._rest, self._held_out, self.cache)
            if trained is None:
                # A file that cannot be read at all is told of the features, as one may lack this stream and have
                # others.
                extracted = self._extract(job, [*self._rest, *self._held_out])
                for error in extracted.failed.values():
                    self.report.say(f"left out of the {stage.stream} CNN's training: {error}")
                trained = stage.train(self._rest, self._held_out, extracted, self.cache)
            weights, history = trained
            changed, config = {f"{stage.stream}.cnn": weights}, self.source.config
            if f"{stage.stream}.recurrent" in self.source.weights:
                changed[f"{stage.stream}.recurrent"] = Weights()  # one that was there knows other features
                config = config.with_new_encoder(stage.stream)
            self.source = replace(self.source, config=config, weights={**self.source.weights, **changed})
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
        return extracted

    def _tell_left_out(self, extracted: Extracted) -> None:
        self._left_out = extracted.failed
        for path, error in extracted.failed.items():
            self.report.say(f"left out: {error if path in error else f'{path}: {error}'}")

    def _clips(self, examples: Sequence[Example], extracted: Extracted) -> ClipSet:
        readable = [example for example in examples if str(example.path) not in extracted.failed]
        return clip_set(readable, self.classes, extracted, self.cache, self.windows, self.source.config.sampling)

    def _check_left(self, learn: ClipSet) -> None:
        """Refuse to go on where unreadable files leave a class without clips."""
        if empty := sorted(set(self.classes) - {row.example.label for row in learn.rows}):
            raise UsageError(f"no file of class {empty[0]!r} to learn from could be read: {len(self._left_out)} failed")
        for stream in self.source.config.streams:
            if not learn.clips.get(stream):
                raise _no_stream({stream})

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
            trained_on=f"{len(self.train) - len(self._left_out)} files of {len(self.classes)} classes",
            metrics={
                **({"base": self.base.model_id} if self.base else {"recipe": self.recipe.name}),
                "validation": {name: to_json(top1) for name, top1 in fused.validated.items()},
            },
            files={
                # Where weights are given and the vector is the mean of the steps, nothing but the fusion is fitted.
                **({"curves.png": draw_curves(histories)} if histories else {}),
                "history.json": _json([each.to_json() for each in histories]),
                TRAINING_FILE: _json(self._record()),
            },
        )
        fresh = self.work / "model"
        shutil.rmtree(fresh, ignore_errors=True)  # of a run that was stopped here
        given = {part for part, each in self._given.items() if each.path is not None and each == weights[part]}
        card = model_card(
            source,
            self.recipe,
            self.settings,
            training,
            fused.validated,
            given,
            len(self._left_out),
            self.base,
            self._known,
        )
        save_model(source, fresh, name=self.name, card=card, training=training)
        self._partial.publish(fresh)

    def _record(self) -> dict[str, Any]:
        """How the model was trained, and the files that it knows by the first digits of their sha256.

        No file's name is there: those are the user's own. What the model that it was made of knows, it knows, too.
        """
        learnt = {sha256_of(each.path)[:CONTENT_DIGITS] for each in self.train if str(each.path) not in self._left_out}
        before = training_record(self.base)["contents"] if self.base else ()
        contents = {"contents": sorted(learnt.union(before))}
        facts = self._facts()
        counts = {"files": len(self.train), "left_out": len(self._left_out), "validated_on": len(self._held_out)}
        recipe = {
            name: fact for name, fact in facts["recipe"].items() if name != "architecture"
        }  # which may be changed
        return (
            {"recipe": recipe}
            | {name: facts[name] for name in ("model", "weights", "settings", "base")}
            | counts
            | contents
        )


def parts_to_train(source: ModelSource, recipe: Recipe) -> tuple[str, ...]:
    """The parts of a model that training gives their weights: encoders and CNNs that have none from training yet."""
    parts = []
    for part, weights in source.weights.items():
        stream, _, piece = part.partition(".")
        whole = recipe.sequence.whole and piece == "cnn"
        scratch = piece == "cnn" and stream in recipe.cnn and stream != "spatial"
        if whole or (not weights.trained and (piece == "recurrent" or scratch)):
            parts.append(part)
    return tuple(parts)


def _no_stream(names: Iterable[str]) -> UsageError:
    return UsageError(
        f"no file to learn from has the stream {' nor '.join(sorted(names))}: leave it out with --streams"
    )


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=1) + "\n").encode()
