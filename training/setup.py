"""A recipe's or model's name, a user's changes and settings in, a training that is ready to run out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tristream.fusion.source import Overrides, find_model
from tristream.streams.errors import UsageError
from tristream.training.datasets import check_trainable
from tristream.training.examples import Example
from tristream.training.recipes import DEFAULT_RECIPE, RECIPES, find_recipe
from tristream.training.reporting import Report
from tristream.training.settings import TrainSettings
from tristream.training.train import Trainer, parts_to_train


def set_up(
    train: Sequence[Example],
    recipe_name: str | None,
    overrides: Overrides,
    settings: TrainSettings,
    folder: Path,
    *,
    model: str | Path | None = None,
    untrained: bool = False,
    overwrite: bool = False,
    report: Report | None = None,
) -> Trainer:
    """A training that nothing more can be said against before it begins.

    Args:
        recipe_name: the architecture and the way to train it; None with a `model`, or for Tkachenko's.
        model: a model whose trained networks are kept. What has no weights yet is trained, and the streams are fused,
            as Tkachenko's recipe says.
        overwrite: replace a model that is in the folder, once the new one is whole, and drop another training that
            was not finished.

    Raises:
        UsageError: an unknown recipe, a recipe and a model, or what `Trainer` refuses.
        ModelError: parts that need weights and have none.
    """
    check_trainable(train)
    if model is not None and recipe_name is not None:
        raise UsageError(f"give a recipe or a model whose networks are kept, not both: {recipe_name} and {model}")
    if model in RECIPES:
        raise UsageError(f"--model keeps the networks of a trained model; --recipe {model} trains that recipe's")
    recipe = find_recipe(recipe_name or DEFAULT_RECIPE)
    name = recipe.name if model is None else model
    # Found twice: which parts are to be trained depends on the weights that are there already.
    to_train = parts_to_train(find_model(name, overrides, untrained=True), recipe)
    source = find_model(name, overrides, untrained=untrained, to_train=to_train)
    base = find_model(name) if model is not None else None
    report = report or Report()
    if "audio.cnn" in to_train:
        report.say("no weights for the audio CNN: it is trained from scratch; --audio-weights FILE gives it some")
    if base is not None and (random := [part for part in source.untrained if part not in to_train]):
        report.say(f"warning: model {base.name} has random weights for {', '.join(random)}, which are kept")
    source = replace(source, classes=(), classifier="", classifier_path=None)  # it gets its own
    folder = folder.resolve() if folder.name in ("", "..") else folder
    return Trainer(train, source, recipe, settings, folder, folder.name, report, overwrite, base)
