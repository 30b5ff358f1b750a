"""The model card names what a reader of the folder has to know."""

from dataclasses import replace
from pathlib import Path

from tristream.fusion.config import POCKET
from tristream.fusion.save import Training
from tristream.fusion.source import ModelSource, Weights
from tristream.training.card import model_card
from tristream.training.recipes import TKACHENKO_RECIPE
from tristream.training.settings import TrainSettings

SOURCE = ModelSource(
    "sports",
    POCKET,
    {
        "spatial.cnn": Weights(hub="mobilenetv3_small_050"),
        "spatial.recurrent": Weights(Path("here.safetensors"), "abc"),
        "audio.cnn": Weights(),
    },
)
TRAINING = Training(
    classes=("archery", "diving"),
    trained_on="120 files of 2 classes",
    metrics={"validation_top1": 0.87654, "validation_clips": 24, "recipe": "tkachenko2018"},
    files={"curves.png": b""},
)


def test_it_names_the_facts() -> None:
    card = model_card(SOURCE, TKACHENKO_RECIPE, TrainSettings(seed=5), TRAINING, left_out=0)
    assert card.startswith("# sports\n")
    assert "recipe `tkachenko2018`, seed 5, on\n120 files of 2 classes." in card
    assert "Classes: archery, diving." in card
    assert "| spatial.cnn | timm's hub, mobilenetv3_small_050 |" in card
    assert "| spatial.recurrent | trained here, or from a file |" in card
    assert "| audio.cnn | random |" in card
    assert "| validation top1 | 0.877 |" in card
    assert "validation clips" not in card  # figures only
    assert "![how the training went](curves.png)" in card
    assert "could not be read" not in card


def test_it_says_how_many_files_were_left_out() -> None:
    training = replace(TRAINING, metrics={}, files={})
    assert "curves.png" not in model_card(SOURCE, TKACHENKO_RECIPE, TrainSettings(), training, left_out=3)
    assert "3 files could not be read and were left out." in model_card(
        SOURCE, TKACHENKO_RECIPE, TrainSettings(), training, left_out=3
    )
