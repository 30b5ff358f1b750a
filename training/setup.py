"""A recipe's name, a user's changes and settings in, a training that is ready to run out."""

from collections.abc import Sequence
from pathlib import Path

from tristream.fusion.source import Overrides, find_model
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
        overwrite: replace a model that is in the folder, once the new one is whole, and drop another training that
            was not finished.

    Raises:
        UsageError: an unknown recipe, or what `Trainer` refuses.
        ModelError: parts that need weights and have none.
    """
    check_trainable(train)
    recipe = find_recipe(recipe_name)
    # Found twice: which parts are to be trained depends on the weights that are there already.
    first = find_model(recipe_name, overrides, untrained=True)
    source = find_model(recipe_name, overrides, untrained=untrained, to_train=parts_to_train(first, recipe))
    report = report or Report()
    for stream in source.config.streams:
        weights = source.weights.get(f"{stream}.cnn")
        if stream == "audio" and weights is not None and weights.origin == "seed":
            report.say("no weights for the audio CNN: it is trained from scratch; --audio-weights FILE gives it some")
    folder = folder.resolve() if folder.name in ("", "..") else folder
    return Trainer(train, source, recipe, settings, folder, folder.name, report, overwrite)
