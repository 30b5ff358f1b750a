"""Fights told from other footage of surveillance cameras: all streams and every set of them, by cross-validation.

    python benchmarks/fights.py [DATASET] [--model MODEL] [--cache DIR] [--out FILE.json]

Five folds by clip. For each, every network but MobileNetV1 (ImageNet) and YAMNet (AudioSet) is trained on the other
four, whose validation part decides how long; with `--model` none is, as all are kept that the model has. The fusion
is then fitted on each set of streams. What a fold got
goes into FILE.json as soon as it is done; a fold that is in it already is not run again. The folds share the cache:
frames' and sound's features and the flow are computed once.

The table pools the folds: each clip is tested once, by the model that did not see it.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from clips import SHARED
from trainings import WEIGHTS, Kept, in_a_process, shown, spatial_overrides, train_and_evaluate

from tristream.fusion.batch import cores
from tristream.fusion.source import Overrides
from tristream.streams.config import to_json
from tristream.training.ablation import AblationRow
from tristream.training.bootstrap import Interval, accuracy_interval
from tristream.training.datasets import read_dataset
from tristream.training.settings import TrainSettings
from tristream.training.splits import folds

LEAST = 0.75  # of the clips that are to be classified rightly with all streams
PRESENCE = "(which streams are there, alone)"


def measure(fold: int, arguments: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """What every set of streams gets on the clips of one fold."""
    train, test = _folds(arguments)[fold]
    if len({each.group for each in test}) < len(test):
        sys.exit(f"{arguments.dataset}: the folds are by clip, and these clips have groups")
    recipe, overrides = None, Overrides()  # the model's own
    if arguments.model is None:
        given = {"audio_cnn": "yamnet", "audio_weights": arguments.audio_weights}
        recipe, overrides = "tkachenko2018", spatial_overrides(arguments.backbone, arguments.spatial_weights, **given)
    settings = TrainSettings(
        seed=arguments.seed,
        epochs=arguments.epochs,
        cnn_epochs=arguments.cnn_epochs,
        jobs=cores(),
        cache=cache,
        cache_gigabytes=None,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        run = train_and_evaluate(train, test, recipe, overrides, settings, folder, model=arguments.model, ablation=True)
    ablation = run.evaluation.ablation
    if ablation is None:
        sys.exit("the evaluation has no ablation")
    return {
        "clips": len(run.evaluation.examples),
        "right": {_name(row): round(row.top1 * row.clips) for row in (*ablation.rows, ablation.presence_only)},
        "clips_with": {_name(row): row.on_present.clips if row.on_present else 0 for row in ablation.rows},
        "validation": {name: to_json(top1) for name, top1 in run.trained.validated.items()},
        "train_seconds": run.train_seconds,
        "left_out": len(run.evaluation.left_out) + len(run.trained.left_out),
        "histories": [each.to_json() for each in run.trained.histories],
    }


def pooled(done: Sequence[dict[str, Any]], name: str) -> Interval:
    """The accuracy over all folds. No two clips have a group in common, so their order says nothing."""
    clips, right = sum(each["clips"] for each in done), sum(each["right"][name] for each in done)
    return accuracy_interval(np.arange(clips) < right, np.arange(clips))


def print_table(done: Sequence[dict[str, Any]]) -> None:
    """Every set of streams."""
    print("| streams | top-1 (95 % interval) | by fold | clips that have them |")
    print("| --- | ---: | ---: | ---: |")
    for name in done[0]["right"]:
        by_fold = ", ".join(f"{each['right'][name] / each['clips']:.2f}" for each in done)
        there = sum(each["clips_with"].get(name, 0) for each in done) or ""
        print(f"| {name} | {shown(pooled(done, name))} | {by_fold} | {there} |")
    minutes = sum(each["train_seconds"] for each in done) / 60
    print(f"\n{sum(each['clips'] for each in done)} clips in {len(done)} folds, trained in {minutes:.0f} minutes")


def main() -> None:
    """Run the folds that are not done, and print the table; the exit code is 1 where the accuracy is too low."""
    arguments = _arguments()
    asked = {name: value for name, value in vars(arguments).items() if name not in ("cache", "out")}
    kept = Kept(arguments.out, asked)
    with tempfile.TemporaryDirectory() as temporary:
        for fold in range(len(_folds(arguments))):
            if str(fold) not in kept.done:
                print(f"== fold {fold}", file=sys.stderr, flush=True)
                cache = arguments.cache or Path(temporary)
                kept.add(str(fold), in_a_process(measure, fold, arguments, cache))
    done = list(kept.done.values())
    print_table(done)
    everything = max(done[0]["clips_with"], key=len)
    sys.exit(f"less than {LEAST}" if pooled(done, everything).value < LEAST else 0)


def _name(row: AblationRow) -> str:
    return " + ".join(row.streams) or PRESENCE


def _folds(arguments: argparse.Namespace) -> Sequence[Any]:
    return folds(read_dataset(arguments.dataset).examples, arguments.folds, arguments.seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", type=Path, default=SHARED / "data" / "surveillance-fights")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, help="keep the networks of this model, trained on other videos")
    parser.add_argument("--backbone", default="mobilenetv1_100")
    parser.add_argument("--spatial-weights", type=Path, default=WEIGHTS / "mobilenetv1_100.safetensors")
    parser.add_argument("--audio-weights", type=Path, default=WEIGHTS / "yamnet.safetensors")
    parser.add_argument("--epochs", type=int, help="at most, of the encoders; the recipe's own without it")
    parser.add_argument("--cnn-epochs", type=int, help="at most, of the motion CNN; likewise")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep features, flow and motion CNNs there")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
