"""Fights told from other footage of surveillance cameras: all streams and every set of them, by cross-validation.

    python benchmarks/fights.py [DATASET] --model MODEL [--repeats N]
    python benchmarks/fights.py [DATASET] [--cnn-epochs N] [--cache DIR] [--out FILE.json]

With `--model` the networks are those of a model that was trained on other videos, as in `train-video --model`: the
clips are embedded once, and the SVM is fitted on each set of streams, in five folds by clip. How clips fall into folds
moves the figure by several hundredths, so they are drawn anew N times, and the mean is told.

Without, every network but MobileNetV1 (ImageNet) and YAMNet (AudioSet) is trained on four folds, whose validation part
decides how long, and the fusion is fitted on each set of streams. What a fold got goes into FILE.json as soon as it is
done; a fold that is in it already is not run again. The folds share the cache: frames' and sound's features and the
flow are computed once. The table pools the folds: each clip is tested once, by the model that did not see it.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from clips import SHARED
from numpy.typing import NDArray
from trainings import WEIGHTS, Kept, in_a_process, shown, spatial_overrides, train_and_evaluate

from tristream.fusion.batch import cores
from tristream.fusion.embedding import slice_of
from tristream.fusion.model import open_model
from tristream.fusion.source import find_model
from tristream.fusion.svm import FusionSVM
from tristream.streams.config import to_json
from tristream.training.ablation import AblationRow, Clips, presence_scores
from tristream.training.bootstrap import Interval, accuracy_interval
from tristream.training.datasets import read_dataset
from tristream.training.record import trained_window_seconds
from tristream.training.settings import TrainSettings
from tristream.training.splits import folds

LEAST = 0.75  # of the clips that are to be classified rightly with all streams
PRESENCE = "(which streams are there, alone)"


def measure(fold: int, arguments: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """What every set of streams gets on the clips of one fold."""
    train, test = _folds(arguments)[fold]
    if len({each.group for each in test}) < len(test):
        sys.exit(f"{arguments.dataset}: the folds are by clip, and these clips have groups")
    overrides = spatial_overrides(
        arguments.backbone, arguments.spatial_weights, audio_cnn="yamnet", audio_weights=arguments.audio_weights
    )
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
        run = train_and_evaluate(train, test, "tkachenko2018", overrides, settings, folder, ablation=True)
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


def on_a_model(arguments: argparse.Namespace) -> float:
    """What an SVM on a model's embeddings gets, in a table; that of all streams."""
    source = find_model(arguments.model)
    model = open_model(source)
    examples = read_dataset(arguments.dataset).examples
    paths = [each.path for each in examples]
    results = list(model.embed_many(paths, jobs=cores(), window=trained_window_seconds(source)))
    if failed := [result.error for result in results if result.error is not None]:
        sys.exit(failed[0])
    X, truth = np.stack([each.vector for each in results]), np.array([each.label for each in examples])
    streams = tuple(model.dims)
    there = np.array([[each.present[stream] for stream in streams] for each in results])
    place = {str(each.path): row for row, each in enumerate(examples)}
    sets = [chosen for size in range(len(streams) + 1) for chosen in combinations(streams, size)]
    hits = {chosen: np.zeros((arguments.repeats, len(examples)), bool) for chosen in sets}
    for repeat in range(arguments.repeats):
        for parts in folds(examples, arguments.folds, arguments.seed + repeat):
            train, test = ([place[str(each.path)] for each in part] for part in parts)
            for chosen in sets:
                named = predicted(X, truth, there, model.dims, chosen, train, test)
                hits[chosen][repeat, test] = named == truth[test]
    print(
        f"| streams | top-1, mean of {arguments.repeats} (95 % interval) | lowest and highest | clips that have them |"
    )
    print("| --- | ---: | ---: | ---: |")
    for chosen in (*sets[1:], sets[0]):
        each = hits[chosen].mean(axis=1)
        having = there[:, [streams.index(stream) for stream in chosen]].all(axis=1).sum() if chosen else ""
        interval = accuracy_interval(hits[chosen].mean(axis=0), np.arange(len(examples)))
        name = " + ".join(chosen) or PRESENCE
        print(f"| {name} | {shown(interval)} | {each.min():.3f}, {each.max():.3f} | {having} |")
    return float(hits[streams].mean())


def predicted(
    X: NDArray[np.float32],
    truth: NDArray[np.str_],
    there: NDArray[np.bool_],
    dims: dict[str, int],
    chosen: tuple[str, ...],
    train: list[int],
    test: list[int],
) -> NDArray[np.str_]:
    """The classes of the test clips by a set of streams; by their presence alone, of none.

    A clip that has none of them gets the commonest class.
    """
    streams = tuple(dims)
    names, labels = np.unique(truth, return_inverse=True)
    if not chosen:
        known, asked = (Clips(labels[part], np.array(part), there[part]) for part in (train, test))
        return names[presence_scores(known, asked, len(names))[0].argmax(axis=1)]
    columns = np.concatenate([np.arange(X.shape[1])[slice_of(dims, stream)] for stream in chosen])
    fusion = FusionSVM(dims={stream: dims[stream] for stream in chosen}, calibration_folds=0)
    fusion.fit(X[train][:, columns], truth[train])
    has_any = there[test][:, [streams.index(stream) for stream in chosen]].any(axis=1)
    commonest = names[np.bincount(labels[train]).argmax()]
    return np.where(has_any, fusion.predict(X[test][:, columns]), commonest)


def main() -> None:
    """Print the table, of the folds that are done and those that are run; 1 where the accuracy is too low."""
    arguments = _arguments()
    if arguments.model is not None:
        sys.exit(f"less than {LEAST}" if on_a_model(arguments) < LEAST else 0)
    asked = {name: value for name, value in vars(arguments).items() if name not in ("cache", "out", "model", "repeats")}
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
    parser.add_argument("--model", type=Path, help="the networks of this model, trained on other videos, are kept")
    parser.add_argument("--repeats", type=int, default=10, help="how often the folds are drawn anew, with --model")
    parser.add_argument("--backbone", default="mobilenetv1_100")
    parser.add_argument("--spatial-weights", type=Path, default=WEIGHTS / "mobilenetv1_100.safetensors")
    parser.add_argument("--audio-weights", type=Path, default=WEIGHTS / "yamnet.safetensors")
    parser.add_argument("--epochs", type=int, help="at most, of the encoders; the recipe's own without it")
    parser.add_argument("--cnn-epochs", type=int, help="at most, of the motion CNN; likewise")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep features, flow and motion CNNs there")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error("--repeats must be at least 1")
    return arguments


if __name__ == "__main__":
    main()
