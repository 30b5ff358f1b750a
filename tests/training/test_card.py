"""The model card names what a reader of the folder has to know."""

from dataclasses import replace
from pathlib import Path

from tristream.fusion.config import POCKET
from tristream.fusion.save import Training
from tristream.fusion.source import ModelSource, Weights
from tristream.training.bootstrap import Interval
from tristream.training.card import model_card
from tristream.training.recipes import TKACHENKO_RECIPE
from tristream.training.settings import TrainSettings

SOURCE = ModelSource(
    "sports",
    POCKET,
    {
        "spatial.cnn": Weights(hub="mobilenetv3_small_050"),
        "spatial.recurrent": Weights(Path("here.safetensors"), "abc"),
        "temporal.cnn": Weights(Path("given.safetensors"), "def"),
        "audio.cnn": Weights(),
    },
)
TRAINING = Training(
    classes=("archery", "diving"),
    trained_on="120 files of 2 classes",
    files={"curves.png": b""},
)


VALIDATED = {"spatial": Interval(0.75, 0.6, 0.9, 20, 5), "fusion": Interval(0.87654, 0.7, 0.95, 24, 6)}


def card_of(training: Training = TRAINING, left_out: int = 0) -> str:
    return model_card(SOURCE, TKACHENKO_RECIPE, TrainSettings(seed=5), training, VALIDATED, {"temporal.cnn"}, left_out)


def test_it_names_the_facts() -> None:
    card = card_of()
    assert card.startswith("# sports\n")
    assert "recipe `tkachenko2018`, seed 5, on\n120 files of 2 classes." in card
    assert "Classes: archery, diving." in card
    assert "| spatial.cnn | timm's hub, mobilenetv3_small_050 |" in card
    assert "| spatial.recurrent | trained here |" in card
    assert "| temporal.cnn | a file, sha256 def |" in card
    assert "| audio.cnn | random |" in card
    assert "| the fusion of all streams | 0.877 | 0.700 to 0.950 | 24 |" in card
    assert "| spatial, its own head | 0.750 | 0.600 to 0.900 | 20 |" in card
    assert "![how the training went](curves.png)" in card
    assert "could not be read" not in card


def test_it_says_how_many_files_were_left_out() -> None:
    card = card_of(replace(TRAINING, files={}), left_out=3)
    assert "curves.png" not in card
    assert "3 files could not be read and were left out." in card
