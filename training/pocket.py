"""Trains the small model that ships: `python -m tristream.training.pocket WORK -o MODEL --data DIR --weights DIR`.

real clips (train parts only), made pictures and sounds, ImageNet's MobileNetV1 and AudioSet's YAMNet -> a model folder

Stages, each of which leaves a file in WORK that a later run goes on from:
1. pictures: MobileNetV1 made thinner, then taught to see at 160 pixels what the whole one sees at 224;
2. sounds: YAMNet likewise, from VGGish's log-mel;
3. motion: MobileNetV1 made thinner on pictures of motion, by formula alone;
4. steps: the features of all training clips, as embedding them gives them, of changed copies, and of pieces of motion;
5. encoders: each stream's recurrent network, after the formula that `pocket_encoders` tells of.

No label of any clip is looked at. It takes about an hour and a half on two cores, most of it stage 1, and 4 GB of disk.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tristream.fusion.config import POCKET
from tristream.fusion.folder import sha256_of, write_atomically
from tristream.fusion.model import open_model
from tristream.fusion.save import Training, save_model
from tristream.fusion.source import ModelSource, Weights, parts_of
from tristream.streams.audio import SmallAudioCNN
from tristream.streams.config import StreamName
from tristream.streams.errors import ModelError, TristreamError
from tristream.streams.flow_histogram import FlowHistogram
from tristream.streams.mobilenet import SquareRoot
from tristream.streams.placement import place
from tristream.streams.recurrent import RecurrentEncoder
from tristream.streams.temporal import motion_picture
from tristream.streams.weights import load_weights, read_weights
from tristream.streams.yamnet import YAMNet
from tristream.training import distilling, pocket_encoders, pocket_pictures, pocket_sounds, pocket_steps
from tristream.training.checkpoint import Checkpoint
from tristream.training.distilling import Distillation, cosine_rates, make_pool
from tristream.training.loop import Progress, fit, seed_of
from tristream.training.pocket_encoders import (
    Block,
    FormulaTask,
    StreamClips,
    centre_of,
    other_formula,
    picture_formula,
    stream_weights,
    take_scale,
    vectors_of,
)
from tristream.training.pocket_sources import Sources
from tristream.training.pocket_steps import PIECES, every_fifth, sound_of, stacks_of, step_features, versions_of
from tristream.training.pruning import folded_convolutions, pruned, with_inputs
from tristream.training.recipes import FitConfig, OptimiserConfig

SEED = 0
CALIBRATION = 384  # inputs that a thin network is fitted on
PICTURE_PARTS, PICTURE_PART = 24, 1024
SOUND_PARTS, SOUND_PART = 24, 2048
PICTURE_EPOCHS, SOUND_EPOCHS, ENCODER_EPOCHS = 22, 30, 24
PICTURE_BATCHES, SOUND_BATCHES, ENCODER_BATCHES = 128, 64, 50  # of an epoch
# What shape moves tells most of what is seen; of its own the stream has how fast what moves where to.
MOTION_BLOCKS = (Block(slice(0, 1024), 0.8, 0.0), Block(slice(1024, 1024 + FlowHistogram.feature_size), 0.2, 1.0))
OWN_LOSS = 0.5
SHARED_AMPLITUDES = {"temporal": 0.8, "audio": 0.7}  # how much of a vector tells of the picture


class Workshop:
    """The stages; each gives what it made, from its file in `work` where that is there.

    Raises:
        ModelError: there is nothing to learn from, or `work` was begun with other sources or settings.
    """

    def __init__(self, sources: Sources, work: Path) -> None:
        self.sources, self.work = sources, work
        sources.check()
        if work.exists() and not work.is_dir():
            raise ModelError(f"{work} is no folder: name one for what the stages leave")
        work.mkdir(parents=True, exist_ok=True)
        facts = sources.facts() | _settings()
        path = work / "facts.json"
        try:
            before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else facts
        except ValueError as error:
            raise ModelError(f"{path} is damaged ({error}): use another folder") from error
        if other := sorted(name for name in facts.keys() | before.keys() if facts.get(name) != before.get(name)):
            raise ModelError(f"{work} was begun with other {', '.join(other)}: use another folder")
        write_atomically(path, (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode())

    def spatial_cnn(self) -> Path:
        """Stage 1."""
        return self._kept("spatial-cnn", self._make_spatial_cnn)

    def audio_cnn(self) -> Path:
        """Stage 2."""
        return self._kept("audio-cnn", self._make_audio_cnn)

    def temporal_cnn(self) -> Path:
        """Stage 3."""
        return self._kept("temporal-cnn", self._make_temporal_cnn)

    def encoder(self, stream: StreamName) -> Path:
        """Stage 5."""
        return self._kept(f"{stream}-encoder", lambda: self._make_encoder(stream))

    def _kept(self, name: str, make: Callable[[], dict[str, Tensor]]) -> Path:
        path = self.work / f"{name}.safetensors"
        if not path.is_file():
            _tell(f"{name} ...")
            tensors = {key: tensor.contiguous() for key, tensor in make().items()}
            write_atomically(path, save(tensors))
        return path

    @cached_property
    def _mobilenet(self) -> nn.Module:
        network = timm.create_model("mobilenetv1_100", pretrained=False, num_classes=0, pad_type="same").eval()
        load_weights(network, read_weights(self.sources.mobilenet), str(self.sources.mobilenet))
        return network

    def _make_spatial_cnn(self) -> dict[str, Tensor]:
        folded = folded_convolutions(self._mobilenet)
        teacher = place(pocket_pictures.Teacher(copy.deepcopy(self._mobilenet)), "cpu")
        frames = self._frames()

        def part(number: int) -> tuple[NDArray[np.uint8], NDArray[np.floating]]:
            _tell(f"  pictures {number + 1} of {PICTURE_PARTS}")
            return pocket_pictures.pool_part(frames, teacher, PICTURE_PART, 1000 + number)

        pool = make_pool(self.work / "pictures", PICTURE_PARTS, part)
        first = np.concatenate([pool.inputs[number][: CALIBRATION // 6] for number in range(6)])
        seen = pocket_pictures.as_network_sees(torch.from_numpy(first))
        thin = pruned(folded, seen, width=0.75, features=1024)
        thin.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        def prepare(inputs: Tensor) -> Tensor:
            return pocket_pictures.as_network_sees(inputs).contiguous(memory_format=torch.channels_last)

        task = Distillation(thin.means, pool, prepare, batch_size=64, batches=PICTURE_BATCHES, bfloat16=True)
        self._fit(task, "spatial", 6e-4, PICTURE_EPOCHS)
        return dict(thin.state_dict())

    def _frames(self) -> NDArray[np.uint8]:
        """One frame in five of the training clips, (N, 240, 320, 3)."""
        path = self.work / "frames.npy"
        if not path.is_file():
            frames = [frame for clip in self.sources.clips for frame in every_fifth(clip)]
            np.save(self.work / "frames-.npy", np.stack(frames))
            (self.work / "frames-.npy").replace(path)
        return np.asarray(np.load(path, mmap_mode="r"))

    def _make_audio_cnn(self) -> dict[str, Tensor]:
        yamnet = YAMNet().eval().requires_grad_(False)
        load_weights(yamnet, read_weights(self.sources.yamnet), str(self.sources.yamnet))
        folded = folded_convolutions(yamnet)
        sounds = [
            pocket_sounds.magnitudes(sound)
            for path in (*self.sources.sounds, *self.sources.clips)
            if (sound := sound_of(path)) is not None
        ]

        def part(number: int) -> tuple[NDArray[np.float16], NDArray[np.floating]]:
            return pocket_sounds.pool_part(sounds, yamnet, SOUND_PART, 5000 + number)

        pool = make_pool(self.work / "sounds", SOUND_PARTS, part)
        first = np.concatenate([pool.inputs[number][: CALIBRATION // 6] for number in range(6)])
        thin = pruned(folded, torch.from_numpy(first).float()[:, None], 0.5, 1024, nn.ReLU)
        task = Distillation(
            thin.means,
            pool,
            lambda inputs: inputs.float()[:, None],
            batch_size=128,
            batches=SOUND_BATCHES,
            bfloat16=False,
        )
        self._fit(task, "audio", 1e-3, SOUND_EPOCHS)
        return {f"layers.{name}": tensor for name, tensor in thin.state_dict().items()}

    def _make_temporal_cnn(self) -> dict[str, Tensor]:
        folded = with_inputs(folded_convolutions(self._mobilenet), 1)
        stacks = [stack for clip in self.sources.clips for stack in stacks_of(clip)]
        pictures = motion_picture(torch.from_numpy(np.stack(stacks)))
        thin = pruned(folded, pictures, width=0.5, features=1024)
        return {f"shapes.{name}": tensor for name, tensor in thin.state_dict().items()}

    def _fit(self, task: Distillation | FormulaTask, stage: str, rate: float, epochs: int) -> None:
        began = time.monotonic()

        def tell(progress: Progress) -> None:
            last = progress.epochs[-1]
            seconds = time.monotonic() - began
            _tell(f"  {stage} {len(progress.epochs)}/{epochs}: loss {last.train_loss:.4f}, {seconds:.0f} s")

        checkpoint = Checkpoint(self.work / f"{stage}-checkpoint.safetensors")
        config = FitConfig(OptimiserConfig("adam", rate), epochs=epochs)
        rates = cosine_rates(rate, epochs)
        fit(task, config, stage=stage, seed=SEED, checkpoint=checkpoint, rates=rates, on_epoch=tell)

    @cached_property
    def _steps(self) -> dict[str, dict[str, NDArray[np.float32]]]:
        """Stage 4: the step features (T, F) of each file, by its name, then as `step_features` names them."""
        model = open_model(self._source(encoders=False))
        found: dict[str, dict[str, NDArray[np.float32]]] = {}
        folder = self.work / "steps"
        folder.mkdir(exist_ok=True)
        for path in (*self.sources.clips, *self.sources.sounds):
            file = folder / f"{path.stem}.safetensors"
            if not file.is_file():
                tensors = {name: torch.from_numpy(value) for name, value in step_features(model, path, SEED).items()}
                write_atomically(file, save(tensors))
            found[path.stem] = {name: tensor.numpy() for name, tensor in load_file(file).items()}
        return found

    def _source(self, *, encoders: bool) -> ModelSource:
        """The model, with encoders or, before there are any, with random ones."""
        weights = {}
        for part in parts_of(POCKET):
            stream, _, piece = part.partition(".")
            if piece == "cnn":
                path = {"spatial": self.spatial_cnn, "temporal": self.temporal_cnn, "audio": self.audio_cnn}[stream]()
            elif encoders:
                path = self.encoder(stream)  # type: ignore[arg-type]
            else:
                weights[part] = Weights()
                continue
            weights[part] = Weights(path, sha256_of(path))
        return ModelSource("pocket", POCKET, weights)

    def clips(self, stream: StreamName) -> tuple[StreamClips, list[str]]:
        """The training clips that have a stream, with single steps besides, and the names of the clips."""
        found = {name: versions for name, steps in self._steps.items() if (versions := versions_of(steps, stream))}
        singles = {"spatial": self._pool_steps, "temporal": self._piece_steps, "audio": self._no_steps}[stream]()
        return StreamClips(tuple(found.values()), singles), list(found)

    def _pool_steps(self) -> NDArray[np.float32]:
        """Features (N, 1024) of made and mixed pictures, as the teacher has them, of which 1 in 4 will do."""
        features = [np.load(path) for path in sorted((self.work / "pictures").glob("features-*.npy"))]
        means = torch.from_numpy(np.concatenate(features)[::4].astype(np.float32))
        return np.asarray(SquareRoot()(means).numpy())

    def _piece_steps(self) -> NDArray[np.float32]:
        """Features (N, 1043) of pieces of motion, as a tile of a camera's picture shows them."""
        return np.concatenate([steps[PIECES] for steps in self._steps.values() if PIECES in steps])

    def _no_steps(self) -> NDArray[np.float32]:
        return np.zeros((0, SmallAudioCNN.feature_size), np.float32)

    @cached_property
    def _pictures(self) -> tuple[StreamClips, list[str]]:
        return self.clips("spatial")

    def _make_encoder(self, stream: StreamName) -> dict[str, Tensor]:
        pictures, names = self._pictures
        formula = picture_formula(pictures, SEED)
        clips = pictures
        if stream != "spatial":
            clips, own_names = self.clips(stream)
            place_of = {name: place for place, name in enumerate(names)}
            shown = {
                index: pictures.clips[place_of[name]][0] for index, name in enumerate(own_names) if name in place_of
            }
            size = clips.clips[0][0].shape[1]
            blocks = MOTION_BLOCKS if stream == "temporal" else [Block(slice(0, size))]
            formula = other_formula(clips, shown, formula, blocks, SHARED_AMPLITUDES[stream], SEED + 2)
        torch.manual_seed(seed_of(SEED, stream))
        config = getattr(POCKET, stream).recurrent
        encoder = RecurrentEncoder(clips.clips[0][0].shape[1], config)
        encoder.centre = None  # the formula's vectors have mean 0 already; what is left of one is taken away at last
        take_scale(encoder, clips)
        own_loss = 0.0 if stream == "spatial" else OWN_LOSS  # the picture's own half is but the rest of the shared
        task = FormulaTask(encoder, clips, formula, 64, ENCODER_BATCHES, own_loss)
        self._fit(task, f"{stream}-encoder", 3e-3, ENCODER_EPOCHS)
        encoder.centre = centre_of(encoder.eval(), clips)
        return dict(encoder.state_dict())

    def _vectors(self, stream: StreamName) -> NDArray[np.float32]:
        """The vectors (N, 256) of the training clips that have a stream."""
        clips, _ = self.clips(stream)
        encoder = RecurrentEncoder(clips.clips[0][0].shape[1], getattr(POCKET, stream).recurrent)
        encoder.load_state_dict(load_file(self.encoder(stream)))
        return vectors_of(encoder.eval(), clips).numpy()

    def write(self, folder: Path, card: str | None = None) -> None:
        """The model folder, weights in float16."""
        source = self._source(encoders=True)
        weights = stream_weights({stream: self._vectors(stream) for stream in POCKET.streams})
        _tell(f"weights of the streams: {weights}")
        source = replace(source, config=POCKET.with_stream_weights(weights))
        trained_on = f"{self.sources}, without labels, and made pictures and sounds"
        card = card or f"# pocket\n\nTrained on {trained_on}, by `python -m tristream.training.pocket`. Not measured.\n"
        save_model(source, folder, name="pocket", card=card, training=Training(trained_on=trained_on), float16=True)


def _settings() -> dict[str, str]:
    """All constants that what is made depends on, and the model itself."""
    modules = (sys.modules[__name__], distilling, pocket_encoders, pocket_pictures, pocket_sounds, pocket_steps)
    return {
        f"{Path(str(module.__file__)).stem}.{name}": repr(value)  # `__name__` is another where it is run
        for module in modules
        for name, value in vars(module).items()
        if name.isupper() and not isinstance(value, Path)
    }


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Train, or go on training, and write the model folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="a folder for what the stages leave")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the model folder, which is not there yet")
    parser.add_argument("--data", type=Path, required=True, help="the folder of ucf101-6c and esc10")
    parser.add_argument("--weights", type=Path, required=True, help="that of mobilenetv1_100 and yamnet .safetensors")
    parser.add_argument("--card", type=Path, help="the model's README.md; by default a few words")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        if arguments.output.exists():
            raise ModelError(f"{arguments.output} exists: use another -o")
        card = arguments.card.read_text(encoding="utf-8") if arguments.card else None
        Workshop(Sources.below(arguments.data, arguments.weights), arguments.work).write(arguments.output, card)
    except (TristreamError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
