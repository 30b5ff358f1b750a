"""Each recipe trained on the train part of a data set and measured on its test part, as a Markdown table.

    python benchmarks/recipes.py [DATASET] [--recipes lrcn2024,konakalla] [--out FILE.json] [--cache DIR]

One recipe after the other, each in a process of its own. What a recipe got goes into FILE.json as soon as it is
done; a recipe that is in it already is not run again, so that a stop costs one recipe at most. The recipes that have
a backbone all get the one of `--backbone` and `--spatial-weights` in place of their papers'.

The columns: top-1 on the test part, with its 95 % interval over groups; the parameters that were trained, and those
of the whole model, classifier included; the seconds of the training, and those without what a filled cache spares
(features and motion CNN); files a second that one process embeds and classifies from their files.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clips import SHARED
from trainings import WEIGHTS, Kept, in_a_process, shown, spatial_overrides, train_and_evaluate

from tristream.fusion.assemble import build_parts
from tristream.fusion.batch import cores
from tristream.fusion.model import Model, open_model
from tristream.fusion.overrides import Overrides
from tristream.fusion.source import find_model
from tristream.streams.config import OWN_BACKBONES, to_json
from tristream.training.bootstrap import Interval
from tristream.training.datasets import Example, read_dataset
from tristream.training.recipes import RECIPES
from tristream.training.settings import TrainSettings
from tristream.training.splits import train_and_test

RATE_CLIPS = 24  # of the test part, embedded and classified from their files
COLUMNS = (
    "test top-1 (95 % interval)",
    "parameters trained",
    "in all",
    "training, s",
    "with the cache filled, s",
    "clips/s",
)


def measure(recipe: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures of one recipe."""
    train, test = train_and_test(read_dataset(arguments.dataset))
    with tempfile.TemporaryDirectory() as temporary:
        cache = (arguments.cache or Path(temporary)) / recipe
        from_nothing = not cache.exists()
        settings = TrainSettings(
            jobs=cores(),
            cache=cache,
            cache_gigabytes=None,
            epochs=arguments.epochs,
            cnn_epochs=arguments.cnn_epochs,
        )
        run = train_and_evaluate(train, test, recipe, overrides(recipe, arguments), settings, Path(temporary) / "model")
        model = open_model(find_model(run.trained.folder))
        evaluation = run.evaluation
        return {
            "top1": vars(evaluation.top1),
            "mean_per_class": evaluation.metrics.mean_per_class,
            "validation": {name: to_json(top1) for name, top1 in run.trained.validated.items()},
            "trained_parameters": parameters(model, run.parts),
            "all_parameters": parameters(model, tuple(model.source.weights)),
            "train_seconds": run.train_seconds if from_nothing else None,
            "train_seconds_cached": run.train_seconds - run.cached_seconds,
            "clips_per_second": clips_per_second(model, test),
            "left_out": len(evaluation.left_out) + len(run.trained.left_out),
            "histories": [each.to_json() for each in run.trained.histories],
        }


def overrides(recipe: str, arguments: argparse.Namespace) -> Overrides:
    """The weights that are at hand, where the recipe can use them."""
    architecture = RECIPES[recipe].architecture
    audio: dict[str, Any] = {}
    if architecture.audio is not None and arguments.audio_weights is not None:
        audio = {"audio_cnn": "yamnet", "audio_weights": arguments.audio_weights}
    if architecture.spatial is None or architecture.spatial.backbone in OWN_BACKBONES:
        return Overrides(**audio)
    return spatial_overrides(arguments.backbone, arguments.spatial_weights, **audio)


def parameters(model: Model, parts: Sequence[str]) -> int:
    """The parameters of a model's parts, and of the linear classifier on its embedding.

    Not those that are no weights of the network: the second bias of a gate, which is held at zero.
    """
    modules = {}
    for stream, (cnn, encoder) in build_parts(model.source).items():
        modules |= {f"{stream}.cnn": cnn, f"{stream}.recurrent": encoder}
    chosen = [modules[part] for part in parts if part in modules]
    counts = [each.numel() for module in chosen for each in module.parameters() if each.requires_grad]
    return sum(counts) + (sum(model.dims.values()) + 1) * len(model.source.classes)


def clips_per_second(model: Model, test: Sequence[Example]) -> float:
    """Files embedded and classified in a second by this process, one after the other."""
    chosen = list(test)[:: max(1, len(test) // RATE_CLIPS)][:RATE_CLIPS]
    model.classifier.of([model.embed(chosen[0].path)])  # the first run warms up
    began = time.perf_counter()
    for example in chosen:
        model.classifier.of([model.embed(example.path)])
    return len(chosen) / (time.perf_counter() - began)


def row(recipe: str, figures: dict[str, Any]) -> str:
    """A recipe's row of the table."""
    whole = figures["train_seconds"]
    cells = (
        shown(Interval(**figures["top1"])),
        f"{figures['trained_parameters']:,}",
        f"{figures['all_parameters']:,}",
        "-" if whole is None else f"{whole:.0f}",
        f"{figures['train_seconds_cached']:.0f}",
        f"{figures['clips_per_second']:.1f}",
    )
    return f"| `{recipe}` | {' | '.join(cells)} |"


def main() -> None:
    """Run the recipes that are not done, and print the table of all that are."""
    arguments = _arguments()
    names = arguments.recipes.split(",")
    if unknown := [name for name in names if name not in RECIPES]:
        sys.exit(f"no recipe {unknown[0]!r}; there are {', '.join(RECIPES)}")
    asked = {name: value for name, value in vars(arguments).items() if name not in ("recipes", "cache", "out")}
    kept = Kept(arguments.out, asked)
    for name in names:
        if name not in kept.done:
            print(f"== {name}", file=sys.stderr, flush=True)
            kept.add(name, in_a_process(measure, name, arguments))
    print(f"| recipe | {' | '.join(COLUMNS)} |")
    print("| --- |" + " ---: |" * len(COLUMNS))
    for name in names:
        print(row(name, kept.done[name]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", type=Path, default=SHARED / "data" / "ucf101-6c")
    parser.add_argument("--recipes", default=",".join(RECIPES), help="names, with commas between")
    parser.add_argument("--backbone", default="mobilenetv1_100")
    parser.add_argument("--spatial-weights", type=Path, default=WEIGHTS / "mobilenetv1_100.safetensors")
    parser.add_argument("--audio-weights", type=Path, help="YAMNet's; without them the audio CNN is trained, too")
    parser.add_argument("--epochs", type=int, help="at most, of the encoders; the recipe's own without it")
    parser.add_argument("--cnn-epochs", type=int, help="at most, of CNNs trained from scratch; likewise")
    parser.add_argument("--cache", type=Path, help="keep each recipe's features in its folder there")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
