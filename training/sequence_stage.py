"""One stream's recurrent encoder, trained on the step features of clips, with the paper's head on top.

clips (T_i, F) -> encoder + head, until the validation loss stands still -> the same epochs on all clips
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from tristream.fusion.assemble import build_parts, seeded
from tristream.fusion.folder import sha256_of, write_atomically
from tristream.fusion.source import ModelSource, Weights
from tristream.streams.config import StreamName, to_json
from tristream.training.cache import FeatureCache, key_of
from tristream.training.checkpoint import Checkpoint
from tristream.training.clipset import ClipSet
from tristream.training.history import StageHistory
from tristream.training.loop import fit
from tristream.training.networks import SequenceNetwork
from tristream.training.recipes import Recipe
from tristream.training.reporting import Report
from tristream.training.sequences import Clip, SequenceReader
from tristream.training.settings import TrainSettings
from tristream.training.tasks import Precision, SequenceTask

CLIPS_AT_ONCE = 16  # through a trained encoder
TRAINED_STEPS = 32  # of a long clip, in each epoch; see SequenceStage


@dataclass(frozen=True)
class StreamVectors:
    """What an encoder makes of clips: vectors (N, D), and its head's class probabilities (N, K)."""

    vectors: NDArray[np.float32]
    probabilities: NDArray[np.float32]


@dataclass
class TrainedEncoder:
    """A stream's encoder before and after the clips held out were learnt, too."""

    stream: StreamName
    validated: SequenceNetwork | None  # None: the encoder has nothing to learn
    final: SequenceNetwork
    reader: SequenceReader
    weights: dict[str, Weights] = field(default_factory=dict)
    histories: tuple[StageHistory, ...] = ()

    def encode(self, clips: Sequence[Clip], *, final: bool) -> StreamVectors:
        """The vectors and probabilities of clips, in their order."""
        network = self.final if final or self.validated is None else self.validated
        device = next(network.head.parameters()).device
        vectors, shares = [], []
        with torch.inference_mode():
            for batch in self.reader.in_order(clips, CLIPS_AT_ONCE):
                steps = batch.steps.to(device)
                made, logits = network.vectors_and_logits(steps, batch.lengths)
                vectors.append(made.float().cpu())
                shares.append(network.shares(logits, batch.lengths).cpu())
        if not vectors:
            empty = np.zeros((0, network.encoder.vector_size), np.float32)
            return StreamVectors(empty, np.zeros((0, network.head.out_features), np.float32))
        return StreamVectors(torch.cat(vectors).numpy(), torch.cat(shares).numpy())


@dataclass
class SequenceStage:
    """Trains the encoder of one stream.

    Tkachenko 2018 trains on all of a clip's up to 180 steps. Here each epoch takes 32 of them, one at random from
    each of 32 equal parts (as TSN, Wang et al. 2016): several times as fast, and another sequence each time. Where a
    clip is embedded all of its steps are taken. Recipes of 40 steps or fewer a clip take all.
    """

    source: ModelSource
    stream: StreamName
    recipe: Recipe
    settings: TrainSettings
    classes: tuple[str, ...]
    cache: FeatureCache
    work: Path
    report: Report

    def train(self, learn: ClipSet, validate: ClipSet) -> TrainedEncoder:
        """Train on the clips that have the stream, validate, and train anew on all of them."""
        reader = SequenceReader(self.cache, self._most_steps())
        precision = Precision.choose(self.settings.device, self.settings.dtype)
        learning, held_out = self._versions(learn), validate.of(self.stream)
        network = self._network(precision)
        if not self._learns():
            return TrainedEncoder(self.stream, None, network.eval(), reader)
        stage = f"{self.stream} {self._what()}"
        history = self._fit(network, reader, learning, held_out, precision, stage, None)
        final, histories = self._network(precision), [history]
        rates = [epoch.learning_rate for epoch in history.epochs[: (history.best or 0) + 1]]
        both = [*learning, *self._versions(validate)]
        histories.append(self._fit(final, reader, both, (), precision, f"{stage}, all clips", rates))
        return TrainedEncoder(self.stream, network, final, reader, self._save(final), tuple(histories))

    def _fit(
        self,
        network: SequenceNetwork,
        reader: SequenceReader,
        clips: Sequence[Clip],
        held_out: Sequence[Clip],
        precision: Precision,
        stage: str,
        rates: list[float] | None,
    ) -> StageHistory:
        config = self.recipe.sequence.fit
        task = SequenceTask(network, reader, clips, held_out, config.batch_size, precision)
        facts: dict[str, Any] = {
            "clips": key_of(clips=[(clip.key, clip.label, clip.version) for clip in clips]),
            "rates": rates,
        }
        facts |= {"fit": to_json(config), "seed": self.settings.seed}
        checkpoint = Checkpoint(self.work / f"{stage.replace(', ', '-').replace(' ', '-')}.checkpoint", facts)
        with self.report.stage(stage) as on_epoch:
            return fit(
                task,
                config,
                stage=stage,
                seed=self.settings.seed,
                checkpoint=checkpoint,
                rates=rates,
                on_epoch=on_epoch,
            )

    def _network(self, precision: Precision) -> SequenceNetwork:
        """The encoder as the seed makes it, with its head."""
        sequence = self.recipe.sequence
        cnn, encoder = build_parts(self.source, (self.stream,))[self.stream]
        with seeded(self.source, f"{self.stream}.head"):
            network = SequenceNetwork(
                cnn if sequence.whole else None, encoder, len(self.classes), sequence.head, sequence.dropout
            )
        return network.to(precision.device)

    def _versions(self, clips: ClipSet) -> list[Clip]:
        augmentation = self.recipe.sequence.augmentation
        copies = augmentation.copies if augmentation and self.stream == "spatial" else 0
        return clips.of(self.stream, 1 + copies)

    def _most_steps(self) -> int | None:
        sampling = self.source.config.sampling
        return None if sampling.max_steps <= 40 or sampling.repeat_last else TRAINED_STEPS

    def _learns(self) -> bool:
        """Whether there is anything to train: a mean has no weights, but a head that classifies by itself has."""
        mean = getattr(self.source.config, self.stream).recurrent.cell == "mean"
        trained = self.source.weights.get(f"{self.stream}.recurrent", Weights()).trained
        return not (mean or trained) or self.recipe.sequence.whole or self.recipe.classifier in ("head", "votes")

    def _what(self) -> str:
        return "network" if self.recipe.sequence.whole else "encoder"

    def _save(self, network: SequenceNetwork) -> dict[str, Weights]:
        """The trained parts as files, which the model folder is then made of."""
        modules: dict[str, Any] = {"recurrent": network.encoder}
        if network.cnn is not None:
            modules["cnn"] = network.cnn
        saved = {}
        for piece, module in modules.items():
            if not list(module.state_dict()):
                continue
            path = self.work / f"{self.stream}.{piece}.safetensors"
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
            write_atomically(path, save(tensors))
            saved[f"{self.stream}.{piece}"] = Weights(path, sha256_of(path))
        return saved
