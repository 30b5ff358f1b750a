"""The model card of a model that was just trained: Markdown, for a reader who finds the folder."""

from collections.abc import Collection, Mapping

from tristream.fusion.save import Training
from tristream.fusion.source import ModelSource, Weights
from tristream.training.bootstrap import Interval
from tristream.training.recipes import Recipe
from tristream.training.settings import TrainSettings

_NAMES = {"fusion": "the fusion of all streams"}


def model_card(
    source: ModelSource,
    recipe: Recipe,
    settings: TrainSettings,
    training: Training,
    validated: Mapping[str, Interval],
    given: Collection[str],
    left_out: int,
    base: ModelSource | None = None,
    known: int = 0,
) -> str:
    """What the model is, what it was made of, and how it did on the clips held out for validation.

    Args:
        validated: top-1 on the clips held out, as `Fused` has it.
        given: the parts whose weights are those of a file that was there before.
        left_out: how many files could not be read.
        base: the trained model that it was made of.
        known: how many of the clips held out that one had learnt from.
    """
    origins = {
        part: f"those of `{base.name}`" if base and each == base.weights.get(part) else _origin(each, part in given)
        for part, each in source.weights.items()
    }
    parts = "\n".join(f"| {part} | {origin} |" for part, origin in origins.items())
    figures = "\n".join(
        f"| {_NAMES.get(name, f'{name}, its own head')} | {top1.value:.3f} | {top1.low:.3f} to {top1.high:.3f} "
        f"| {top1.clips} |"
        for name, top1 in validated.items()
    )
    unread = f" {left_out} files could not be read and were left out." if left_out else ""
    how = (
        f"with the recipe `{recipe.name}`" if base is None else f"on networks of `{base.name}` (model {base.model_id})"
    )
    measured = "Measured on a validation part of the training files; "
    if not validated:
        measured = "Nothing was held out to measure it on. "
    elif known:
        measured += f"of {known} of its files the networks had learnt before, so they flatter much.\n"
    elif "curves.png" in training.files:
        measured += "they chose the number of epochs, so they flatter a little.\n"
    else:
        measured += "they decided no more than how sure a score is.\n"
    curves = "\n![how the training went](curves.png)\n" if "curves.png" in training.files else ""
    return f"""# {source.name}

A video embedding and classifier, trained by `train-video` {how}, seed {settings.seed}, on
{training.trained_on}.{unread}

Classes: {", ".join(training.classes)}.

| part | weights |
| --- | --- |
{parts}

{measured}`evaluate-video` measures on a test part.

| top-1 of | value | 95 % interval | clips |
| --- | --- | --- | --- |
{figures}
{curves}"""


def _origin(weights: Weights, given: bool) -> str:
    if weights.hub:
        return f"timm's hub, {weights.hub}"
    if weights.path is None:
        return "random"
    return f"a file, sha256 {weights.sha256}" if given else "trained here"
