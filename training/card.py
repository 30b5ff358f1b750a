"""The model card of a model that was just trained: Markdown, for a reader who finds the folder."""

from tristream.fusion.save import Training
from tristream.fusion.source import ModelSource
from tristream.training.recipes import Recipe
from tristream.training.settings import TrainSettings


def model_card(source: ModelSource, recipe: Recipe, settings: TrainSettings, training: Training, left_out: int) -> str:
    """What the model is, what it was made of, and how it did on the clips held out for validation."""
    parts = "\n".join(
        f"| {part} | {_origin(weights.path is not None, weights.hub)} |" for part, weights in source.weights.items()
    )
    figures = "\n".join(
        f"| {name.replace('_', ' ')} | {value:.3f} |"
        for name, value in training.metrics.items()
        if name.startswith("validation") and isinstance(value, float)
    )
    unread = f" {left_out} files could not be read and were left out." if left_out else ""
    curves = "\n![how the training went](curves.png)\n" if "curves.png" in training.files else ""
    return f"""# {source.name}

A video embedding and classifier, trained by `train-video` with the recipe `{recipe.name}`, seed {settings.seed}, on
{training.trained_on}.{unread}

Classes: {", ".join(training.classes)}.

| part | weights |
| --- | --- |
{parts}

Measured on a validation part of the training files; they chose the number of epochs, so they flatter a little.
`evaluate-video` measures on a test part.

| figure | value |
| --- | --- |
{figures}
{curves}"""


def _origin(file: bool, hub: str) -> str:
    if hub:
        return f"timm's hub, {hub}"
    return "trained here, or from a file" if file else "random"
