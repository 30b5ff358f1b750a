"""One stream's CNN, trained on single steps under a softmax: from scratch, or its last blocks only.

steps (B, …) -> CNN -> features (B, F) -> softmax over the classes
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from timm.models import group_parameters
from torch import nn

from tristream.fusion.assemble import build_parts, seeded
from tristream.fusion.folder import sha256_of, write_atomically
from tristream.fusion.source import ModelSource, Weights
from tristream.fusion.windows import Windows
from tristream.streams.config import StreamName, to_json
from tristream.streams.errors import UsageError
from tristream.training.cache import FeatureCache, key_of
from tristream.training.checkpoint import Checkpoint
from tristream.training.examples import Example
from tristream.training.extraction import EVERY_FRAME, Extracted, ExtractionJob, Wanted, make_job
from tristream.training.history import Epoch, StageHistory
from tristream.training.loop import fit
from tristream.training.networks import StepNetwork
from tristream.training.recipes import CNNTraining, Recipe
from tristream.training.reporting import Report
from tristream.training.settings import TrainSettings
from tristream.training.steps import Footage, StepReader, draw, spread
from tristream.training.tasks import Precision, StepTask


@dataclass
class CNNStage:
    """Trains the CNN of one stream; what was trained before on the same files is taken from the cache."""

    source: ModelSource
    stream: StreamName
    recipe: Recipe
    settings: TrainSettings
    classes: tuple[str, ...]
    work: Path
    report: Report

    @property
    def needed(self) -> bool:
        """Whether this CNN is to be trained: no weights are there for it, or blocks are to be fine-tuned."""
        if self.stream == "spatial":
            return self.settings.fine_tune > 0 and not self.recipe.sequence.whole
        weights = self.source.weights.get(f"{self.stream}.cnn")
        return self.stream in self.recipe.cnn and weights is not None and not weights.trained

    @property
    def training(self) -> CNNTraining:
        """How it is trained.

        Raises:
            UsageError: the recipe does not say how.
        """
        if self.stream not in self.recipe.cnn:
            raise UsageError(f"recipe {self.recipe.name} has no way to train the CNN of stream {self.stream}")
        return self.recipe.cnn[self.stream]

    def check(self) -> None:
        """Refuse a fine-tuning that cannot be, before any file is read.

        Raises:
            UsageError: the recipe does not say how, or the backbone has no such blocks.
        """
        if self.needed and self.stream == "spatial":
            self._network(Precision())

    def job(self, windows: Windows, cache: FeatureCache) -> ExtractionJob:
        """What the CNN learns from: all frames, flow fields or log-mel examples of the files."""
        config = replace(self.source.config.with_streams((self.stream,)), sampling=EVERY_FRAME)
        source = replace(self.source, config=config)
        wanted = [Wanted(self.stream, "inputs")]
        job = make_job(source, windows, cache, wanted, self.settings.device, self.settings.dtype)
        return replace(job, may_lack=True)

    def trained_before(
        self, job: ExtractionJob, rest: Sequence[Example], held_out: Sequence[Example], cache: FeatureCache
    ) -> tuple[Weights, StageHistory] | None:
        """The CNN of an earlier training on the same files, known by their content alone; None where there is none."""
        paths = [str(example.path) for example in (*rest, *held_out)]
        try:
            contents = Extracted({path: job.keys(sha256_of(Path(path))) for path in paths})
        except OSError:  # extraction will tell
            return None
        return self._taken(self._facts(self._labelled(rest, contents), self._labelled(held_out, contents)), cache)

    def train(
        self, rest: Sequence[Example], held_out: Sequence[Example], extracted: Extracted, cache: FeatureCache
    ) -> tuple[Weights, StageHistory]:
        """Train on the files, validate on those held out; the weights and how it went.

        Raises:
            UsageError: no file has the stream, or the backbone has no such blocks.
        """
        learn, validate = self._footage(rest, extracted, cache), self._footage(held_out, extracted, cache)
        if not learn:
            why = f" ({next(iter(extracted.failed.values()))})" if extracted.failed else ""
            raise UsageError(f"no file to learn from has the stream {self.stream}{why}: leave it out with --streams")
        facts = self._facts(self._labelled(rest, extracted), self._labelled(held_out, extracted))
        if (taken := self._taken(facts, cache)) is not None:
            return taken
        network, history = self._fit(learn, validate, cache, facts)
        tensors = {name: each.detach().cpu().contiguous() for name, each in _state(network.cnn).items()}
        about = {"history": json.dumps(history.to_json())}
        cache.write_arrays(key_of(network=facts), {name: each.numpy() for name, each in tensors.items()}, about)
        return self._saved(tensors), history

    def _taken(self, facts: dict[str, Any], cache: FeatureCache) -> tuple[Weights, StageHistory] | None:
        """The CNN of these facts, if it is in the cache."""
        key = key_of(network=facts)
        if not cache.has(key):
            return None
        arrays, about = cache.read_arrays(key)
        self.report.say(f"{self._name}: trained before on the same files, taken from the cache")
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return self._saved(tensors), _history(json.loads(about["history"]))

    def _saved(self, tensors: dict[str, torch.Tensor]) -> Weights:
        """The tensors as a file, which the model folder is then made of."""
        path = self.work / f"{self.stream}.cnn.safetensors"
        write_atomically(path, save(tensors))
        return Weights(path, sha256_of(path))

    @property
    def _name(self) -> str:
        return f"{self.stream} CNN"

    def _fit(
        self, learn: list[Footage], validate: list[Footage], cache: FeatureCache, facts: dict[str, Any]
    ) -> tuple[StepNetwork, StageHistory]:
        training, config = self.training, self.source.config
        precision = Precision.choose(self.settings.device, self.settings.dtype)
        pairs = config.temporal.pairs if config.temporal else 0
        per_clip = training.steps_per_clip
        task = StepTask(
            self._network(precision),
            StepReader(cache, self.stream, pairs, mirror=self.stream != "audio"),
            lambda generator: draw(learn, per_clip, generator),
            spread(validate, per_clip),
            training.fit.batch_size,
            precision,
        )
        checkpoint = Checkpoint(self.work / f"{self.stream}-cnn.checkpoint", facts)
        with self.report.stage(self._name) as on_epoch:
            history = fit(
                task, training.fit, stage=self._name, seed=self.settings.seed, checkpoint=checkpoint, on_epoch=on_epoch
            )
        checkpoint.path.unlink(missing_ok=True)
        return task.network, history

    def _network(self, precision: Precision) -> StepNetwork:
        dropout = self.training.dropout
        cnn, _ = build_parts(self.source, (self.stream,))[self.stream]
        fine_tuned = self.stream == "spatial"
        if fine_tuned:
            thaw_last_blocks(cast(nn.Module, getattr(cnn, "backbone", cnn)), self.settings.fine_tune)
        with seeded(self.source, f"{self.stream}.softmax"):
            network = StepNetwork(cnn, cnn.feature_size, len(self.classes), dropout, fine_tuned)
        return network.to(precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _footage(self, examples: Sequence[Example], extracted: Extracted, cache: FeatureCache) -> list[Footage]:
        """The files that could be read and have the stream."""
        footage = []
        for example in examples:
            for key in extracted.keys.get(str(example.path), {}).values():
                times, _ = cache.times(key)
                if len(times) > (self.stream == "temporal"):  # one frame alone has no flow
                    footage.append(Footage(key, len(times), self.classes.index(example.label)))
        return footage

    def _labelled(self, examples: Sequence[Example], extracted: Extracted) -> list[tuple[str, int]]:
        """The key and the class of each file that could be read, whether or not it has the stream."""
        keys = ((each, extracted.keys.get(str(each.path), {})) for each in examples)
        return [(key, self.classes.index(each.label)) for each, of_file in keys for key in of_file.values()]

    def _facts(self, learn: list[tuple[str, int]], validate: list[tuple[str, int]]) -> dict[str, Any]:
        """All that decides the weights."""
        described = to_json(getattr(self.source.config, self.stream))
        described.pop("recurrent")
        weights = self.source.weights[f"{self.stream}.cnn"]
        precision = Precision.choose(self.settings.device, self.settings.dtype)  # what "auto" stands for here
        return {
            "stream": self.stream,
            "cnn": described,
            "flow": to_json(self.source.config.flow),
            "begun_with": [weights.origin, self.source.config.seed],
            "training": to_json(self.training),
            "settings": [self.settings.seed, self.settings.fine_tune, precision.device, str(precision.dtype)],
            "learn": learn,
            "validate": validate,
        }


def thaw_last_blocks(backbone: nn.Module, blocks: int) -> int:
    """Freeze a timm backbone but for its last so many blocks, as timm groups them; how many parameters are free.

    Raises:
        UsageError: the backbone has fewer blocks, or timm has no groups of it.
    """
    if not hasattr(backbone, "group_matcher"):
        raise UsageError("--fine-tune needs a timm backbone, whose blocks timm knows")
    groups = group_parameters(backbone, backbone.group_matcher(coarse=False))  # type: ignore[operator]
    numbers = sorted(number for number, names in groups.items() if names)
    if not 0 < blocks <= len(numbers):
        raise UsageError(f"--fine-tune takes 1 to {len(numbers)} blocks of this backbone, got {blocks}")
    free = {name for number in numbers[-blocks:] for name in groups[number]}
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name in free)
    return sum(each.numel() for each in backbone.parameters() if each.requires_grad)


def _state(cnn: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a CNN, a backbone's under timm's own names."""
    state: dict[str, torch.Tensor] = getattr(cnn, "backbone", cnn).state_dict()
    return state


def _history(data: dict[str, Any]) -> StageHistory:
    return StageHistory(data["stage"], tuple(Epoch(**epoch) for epoch in data["epochs"]), data["best"])
