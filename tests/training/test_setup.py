"""A training is set up of a recipe's name, what a user changes of it and the weights that are there."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tristream.fusion.overrides import Overrides
from tristream.fusion.source import find_model
from tristream.streams.audio import build_audio_cnn
from tristream.streams.config import AudioConfig
from tristream.streams.errors import ModelError, UsageError
from tristream.training.examples import Example
from tristream.training.recipes import find_recipe
from tristream.training.reporting import Report
from tristream.training.settings import TrainSettings
from tristream.training.setup import set_up
from tristream.training.train import parts_to_train

TRAIN = tuple(Example(Path(f"{label}{n}.avi"), label, f"{label}{n}") for label in ("green", "red") for n in range(4))
SMALL = Overrides(backbone="test_resnet", audio_cnn="small")


class Told(Report):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("tkachenko2018", {"spatial.recurrent", "temporal.cnn", "temporal.recurrent", "audio.cnn", "audio.recurrent"}),
        ("corehar2020", {"spatial.recurrent"}),
        ("orozco2021", {"spatial.recurrent"}),
        ("konakalla", {"spatial.recurrent"}),
        ("lrcn2024", {"spatial.cnn", "spatial.recurrent"}),
        ("convlstm2024", {"spatial.recurrent"}),
    ],
)
def test_the_parts_without_weights_are_trained(recipe: str, expected: set[str]) -> None:
    assert set(parts_to_train(find_model(recipe, untrained=True), find_recipe(recipe))) == expected


def test_an_audio_cnn_without_weights_is_trained_and_said_so(tmp_path: Path) -> None:
    told = Told()
    trainer = set_up(TRAIN, "tkachenko2018", SMALL, TrainSettings(), tmp_path / "m", untrained=True, report=told)
    assert "audio.cnn" in parts_to_train(trainer.source, trainer.recipe)
    assert told.said == ["no weights for the audio CNN: it is trained from scratch; --audio-weights FILE gives it some"]


def test_an_audio_cnn_with_weights_keeps_them(tmp_path: Path) -> None:
    told = Told()
    save_file(build_audio_cnn(AudioConfig("small")).state_dict(), tmp_path / "small.safetensors")
    given = Overrides(backbone="test_resnet", audio_cnn="small", audio_weights=tmp_path / "small.safetensors")
    trainer = set_up(TRAIN, "tkachenko2018", given, TrainSettings(), tmp_path / "m", untrained=True, report=told)
    assert "audio.cnn" not in parts_to_train(trainer.source, trainer.recipe)
    assert told.said == []


def test_a_motion_cnn_with_weights_keeps_them(tmp_path: Path) -> None:
    weights = tmp_path / "motion.safetensors"
    save_file({"any": torch.zeros(1)}, weights)  # looked into when it is loaded
    given = Overrides(streams=("temporal",), temporal_weights=weights)
    trainer = set_up(TRAIN, "tkachenko2018", given, TrainSettings(), tmp_path / "m")
    assert parts_to_train(trainer.source, trainer.recipe) == ("temporal.recurrent",)


def test_the_seed_is_the_networks_too(tmp_path: Path) -> None:
    trainer = set_up(TRAIN, "lrcn2024", Overrides(), TrainSettings(seed=7), tmp_path / "m")
    assert trainer.source.config.seed == 7


def test_a_folder_may_be_the_one_that_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path / "model")
    trainer = set_up(TRAIN, "lrcn2024", Overrides(), TrainSettings(), Path(), overwrite=True)
    assert (trainer.folder, trainer.name) == (tmp_path / "model", "model")
    assert trainer.work == tmp_path / "model.partial"


@pytest.mark.parametrize(
    ("recipe", "overrides", "train", "error", "said"),
    [
        ("lrcn", Overrides(), TRAIN, UsageError, "no recipe 'lrcn'; there are"),
        ("lrcn2024", Overrides(), TRAIN[:4], UsageError, "all 4 clips to train on are of one class, 'green'"),
        ("lrcn2024", Overrides(), TRAIN[:5], UsageError, "only one is there of 'red'"),
        ("lrcn2024", Overrides(), (), UsageError, "the data set has no clip to train on"),
        ("lrcn2024", Overrides(streams=("audio",)), TRAIN, UsageError, "no stream 'audio' in this model"),
        ("lrcn2024", Overrides(audio_weights=Path("x")), TRAIN, UsageError, "x was given for audio.cnn, which this"),
        ("tkachenko2018", Overrides(spatial_weights=Path("x")), TRAIN, ModelError, "no weights file at x"),
        (
            "lrcn2024",
            Overrides(),
            [*TRAIN, *(replace(e, label="blue", part="validation") for e in TRAIN[:2])],
            UsageError,
            "class 'blue' is only in the validation part: none of it is left to learn from",
        ),
        # Of one group on both sides nothing can be held out.
        ("lrcn2024", Overrides(), [Example(e.path, e.label, "one") for e in TRAIN], UsageError, "nothing can be held"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_writes_nothing(
    recipe: str, overrides: Overrides, train: tuple[Example, ...], error: type[Exception], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=re.escape(said)):
        set_up(train, recipe, overrides, TrainSettings(), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []
