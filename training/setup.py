"""A recipe's name, a user's changes and settings in, a training that is ready to run out."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tristream.fusion.folder import read_manifest
from tristream.fusion.source import Overrides, find_model
from tristream.streams.errors import ModelError, UsageError
from tristream.training.datasets import check_trainable
from tristream.training.examples import Example
from tristream.training.recipes import find_recipe
from tristream.training.reporting import Report
from tristream.training.settings import TrainSettings
from tristream.training.train import Trainer, parts_to_train


def set_up(
    train: Sequence[Example],
    recipe_name: str,
    overrides: Overrides,
    settings: TrainSettings,
    folder: Path,
    *,
    untrained: bool = False,
    overwrite: bool = False,
    report: Report | None = None,
) -> Trainer:
    """A training that nothing more can be said against before it begins.

    Args:
        overwrite: replace a model that is in the folder, or a training that was not finished.

    Raises:
        UsageError: an unknown recipe, files that no classifier can be trained on, a folder that is there.
        ModelError: parts that need weights and have none.
    """
    check_trainable(train)
    recipe = find_recipe(recipe_name)
    # Found twice: which parts are to be trained depends on the weights that are there already.
    first = find_model(recipe_name, overrides, untrained=True)
    source = find_model(recipe_name, overrides, untrained=untrained, to_train=parts_to_train(first, recipe))
    partial = folder.with_name(f"{folder.name}.partial")
    if overwrite:
        _remove(folder, partial)
    report = report or Report()
    for stream in source.config.streams:
        weights = source.weights.get(f"{stream}.cnn")
        if stream == "audio" and weights is not None and weights.origin == "seed":
            report.say("no weights for the audio CNN: it is trained from scratch; --audio-weights FILE gives it some")
    return Trainer(train, source, recipe, settings, folder, folder.name, report)


def _remove(folder: Path, partial: Path) -> None:
    """Remove what is to be replaced: a model folder, and nothing else that happens to have the name."""
    if folder.exists():
        try:
            read_manifest(folder)
        except ModelError as error:
            if any(folder.iterdir()):
                raise UsageError(f"{folder} is no model folder, so --overwrite leaves it alone: {error}") from error
        shutil.rmtree(folder)
    if partial.exists():
        shutil.rmtree(partial)
