"""Trains the small model that ships: `python -m tristream.training.pocket WORK -o MODEL --data DIR --weights DIR`.

real clips (train parts only), made pictures and sounds, ImageNet's MobileNetV1 and AudioSet's YAMNet -> a model folder

Stages, each of which leaves a file in WORK that a later run goes on from:
1. pictures: MobileNetV1 made thinner, then taught to see at 160 pixels what the whole one sees at 224;
2. sounds: YAMNet likewise, from VGGish's log-mel;
3. motion: MobileNetV1 likewise, on pictures of motion;
4. steps: the features of all training clips, as embedding them gives them, of changed copies, and of pieces of motion;
5. encoders: each stream's recurrent network, after the formula that `pocket_encoders` tells of.

The first three are those of `pocket_cnns`. No label of any clip is looked at. It takes about an hour and a half on two
cores, most of it stage 1, and 5 GB of disk.
"""

import argparse
import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor

from tristream.fusion.config import POCKET
from tristream.fusion.folder import sha256_of, write_atomically
from tristream.fusion.model import open_model
from tristream.fusion.save import Training, save_model
from tristream.fusion.source import ModelSource, Weights, parts_of
from tristream.streams import flow_histogram, mobilenet, stacks, temporal
from tristream.streams.audio import SmallAudioCNN
from tristream.streams.config import StreamName
from tristream.streams.errors import ModelError, TristreamError
from tristream.streams.mobilenet import SquareRoot
from tristream.streams.recurrent import RecurrentEncoder
from tristream.streams.temporal import SmallMotionCNN
from tristream.training import (
    distilling,
    made_pictures,
    made_sounds,
    pocket_cnns,
    pocket_encoders,
    pocket_motions,
    pocket_pictures,
    pocket_sounds,
    pocket_steps,
    pruning,
)
from tristream.training.loop import seed_of
from tristream.training.pocket_cnns import ThinCNNs
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
from tristream.training.pocket_stages import Stages, tell
from tristream.training.pocket_steps import PIECES, step_features, versions_of

SEED = 0
ENCODER_RATE, ENCODER_EPOCHS, ENCODER_BATCHES, ENCODER_BATCH_SIZE = 3e-3, 24, 50, 64
# What shape moves tells most of what is seen; of its own the stream has how fast what moves where to.
SHAPES = SmallMotionCNN.shape_size
MOTION_BLOCKS = (
    Block(slice(0, SHAPES), 0.4, 0.0),
    Block(slice(SHAPES, 2 * SHAPES), 0.4, 0.0),
    Block(slice(2 * SHAPES, SmallMotionCNN.feature_size), 0.2, 1.0),
)
OWN_LOSS = 0.5
SHARED_AMPLITUDES = {"temporal": 0.8, "audio": 0.7}  # how much of a vector tells of the picture


class Workshop:
    """The stages; each gives what it made, from its file in `work` where that is there.

    Raises:
        ModelError: there is nothing to learn from, or `work` was begun with other sources or settings.
    """

    def __init__(self, sources: Sources, work: Path) -> None:
        sources.check()
        self.sources, self._work = sources, work
        self._stages = Stages(work, SEED, {**sources.facts(), **_settings()})
        self._cnns = ThinCNNs(sources, self._stages)

    def encoder(self, stream: StreamName) -> Path:
        """Stage 5."""
        return self._stages.kept(f"{stream}-encoder", lambda: self._make_encoder(stream))

    @cached_property
    def _steps(self) -> dict[str, dict[str, NDArray[np.float32]]]:
        """Stage 4: the step features (T, F) of each file, by its name, then as `step_features` names them."""
        model = open_model(self._source(encoders=False))
        found: dict[str, dict[str, NDArray[np.float32]]] = {}
        folder = self._work / "steps"
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
                path = self._cnns.file(stream)  # type: ignore[arg-type]
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
        return np.asarray(SquareRoot()(self._cnns.picture_features()[::4]).numpy())

    def _piece_steps(self) -> NDArray[np.float32]:
        """Features (N, 2067) of pieces of motion, as a tile of a camera's picture shows them."""
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
        task = FormulaTask(encoder, clips, formula, ENCODER_BATCH_SIZE, ENCODER_BATCHES, own_loss)
        self._stages.fit(task, f"{stream}-encoder", ENCODER_RATE, ENCODER_EPOCHS)
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
        tell(f"weights of the streams: {weights}")
        source = replace(source, config=POCKET.with_stream_weights(weights))
        trained_on = f"{self.sources}, without labels, and made pictures and sounds"
        card = card or f"# pocket\n\nTrained on {trained_on}, by `python -m tristream.training.pocket`. Not measured.\n"
        save_model(source, folder, name="pocket", card=card, training=Training(trained_on=trained_on), float16=True)


def _settings() -> dict[str, str]:
    """The constants of all modules that make what is kept, and the model itself."""
    inputs = (made_pictures, made_sounds, pocket_motions, pocket_pictures, pocket_sounds, pocket_steps)
    networks = (distilling, flow_histogram, mobilenet, pocket_cnns, pruning, stacks, temporal)
    modules = (sys.modules[__name__], *inputs, *networks, pocket_encoders)
    return {
        f"{Path(str(module.__file__)).stem}.{name}": repr(value)  # `__name__` is another where it is run
        for module in modules
        for name, value in vars(module).items()
        if name.isupper() and not isinstance(value, Path | type)
    }


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
