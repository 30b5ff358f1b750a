"""A recipe's or model's name, a user's changes and settings in, a training that is ready to run out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tristream.fusion.overrides import Overrides
from tristream.fusion.source import ModelSource, find_model
from tristream.streams.errors import UsageError
from tristream.training.datasets import check_trainable
from tristream.training.examples import Example
from tristream.training.recipes import DEFAULT_RECIPE_NAME, RECIPES, find_recipe
from tristream.training.reporting import Report
from tristream.training.settings import TrainSettings
from tristream.training.train import Trainer, parts_to_train


def find_base(recipe_name: str | None, model: str | None) -> ModelSource | None:
    """The trained model that a user names to keep its networks, if one is named.

    Raises:
        UsageError: a recipe beside it, or in its place.
        ModelError: no such model, or a damaged one.
    """
    if model is None:
        return None
    if recipe_name is not None:
        raise UsageError(f"give a recipe or a model whose networks are kept, not both: {recipe_name} and {model}")
    if model in RECIPES:
        raise UsageError(f"--model keeps the networks of a trained model; --recipe {model} trains that recipe's")
    return find_model(model)


def set_up(
    train: Sequence[Example],
    recipe_name: str | None,
    overrides: Overrides,
    settings: TrainSettings,
    folder: Path,
    *,
    base: ModelSource | None = None,
    untrained: bool = False,
    overwrite: bool = False,
    report: Report | None = None,
) -> Trainer:
    """A training that nothing more can be said against before it begins.

    Args:
        recipe_name: the architecture and the way to train it; None with a `base`, or for Tkachenko's.
        base: a model whose trained networks are kept. What has no weights yet is trained, and the streams are fused,
            as Tkachenko's recipe says.
        overwrite: replace a model that is in the folder, once the new one is whole, and drop another training that
            was not finished.

    Raises:
        UsageError: an unknown recipe, or what `Trainer` refuses.
        ModelError: parts that need weights and have none.
    """
    check_trainable(train)
    recipe = find_recipe(recipe_name or DEFAULT_RECIPE_NAME)
    original = recipe.name if base is None else base
    # Found twice: which parts are to be trained depends on the weights that are there already.
    to_train = parts_to_train(find_model(original, overrides, untrained=True), recipe)
    source = find_model(original, overrides, untrained=untrained, to_train=to_train)
    report = report or Report()
    if base is not None:
        report.say(f"the networks of model {base.name} are kept; trained are: {', '.join(to_train) or 'none'}")
        if random := [part for part in source.untrained if part not in to_train]:
            report.say(f"warning: {', '.join(random)} has random weights, and is not trained")
    if "audio.cnn" in to_train:
        report.say("no weights for the audio CNN: it is trained from scratch; --audio-weights FILE gives it some")
    source = replace(source, classes=(), classifier="", classifier_path=None)  # it gets its own
    folder = folder.resolve() if folder.name in ("", "..") else folder
    return Trainer(train, source, recipe, settings, folder, folder.name, report, overwrite, base)
