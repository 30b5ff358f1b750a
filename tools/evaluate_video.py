"""`evaluate-video`: a trained model and labelled videos in, how good it is out."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tristream.tools.options import (
    Cache,
    CacheSize,
    Debug,
    Device,
    Dtype,
    Jobs,
    Layout,
    NoCache,
    Split,
    TestGroup,
    Timeout,
    TrainedWindow,
)
from tristream.tools.shell import run_command, say

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def evaluate_video(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The folder of a model that was trained with classes.")],
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="The data set; its test part is what the model is measured on.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Write confusion.png, confusion.csv, roc.png and predictions.csv there, and what --ablation draws.",
            show_default=False,
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all figures as JSON; - for standard output."),
    ] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Fit the fusion on every set of streams, and say what each adds.")
    ] = False,
    sweep: Annotated[
        Literal["recurrent"] | None,
        typer.Option(help="Train the encoders of Table I of the paper, and print them beside its figures."),
    ] = None,
    layout: Layout = "auto",
    split: Split = 1,
    test_group: TestGroup = None,
    window: TrainedWindow = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most so many, of a sweep's encoders.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**32 - 1,
            metavar="N",
            help="Of the split and the intervals.",
            show_default="as the model was trained, or 0",
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    jobs: Jobs = None,
    timeout: Timeout = 3600.0,
    cache: Cache = None,
    cache_size: CacheSize = 50.0,
    no_cache: NoCache = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    debug: Debug = False,
) -> int:
    """Measure a model on the test part of a data set.

    A data set without a test part is measured on whole, where the model learnt from none of its files, which it knows
    by their content; else on the quarter of its groups that train-video held out, unless another --seed is given.
    Exit codes: 0 done, 1 usage or set-up, 2 done, but some files could not be read or are not there, 130 interrupted.
    """
    from tristream.training.process import prepare_to_train

    prepare_to_train()
    from tristream.fusion.batch import cores
    from tristream.fusion.classify import find_classifying_model
    from tristream.streams.errors import UsageError
    from tristream.tools.evaluation_files import check_free, write_files
    from tristream.tools.evaluation_report import print_evaluation, print_sweep
    from tristream.tools.training_report import say_notes, training_report
    from tristream.training.cache import DEFAULT_CACHE
    from tristream.training.datasets import read_dataset
    from tristream.training.evaluate import Evaluator, cache_of
    from tristream.training.layouts import PUBLISHED_SPLITS
    from tristream.training.record import learnt_from, trained_window_seconds, training_record
    from tristream.training.settings import TrainSettings
    from tristream.training.splits import train_and_measured
    from tristream.training.sweep import check_sweepable, sweep_recurrent

    if epochs is not None and not sweep:
        raise UsageError("--epochs is for the encoders of --sweep")
    source = find_classifying_model(model)
    if sweep:
        check_sweepable(source)
    check_free(output, json_file, overwrite)
    known = training_record(source)["settings"]
    seed = known.get("seed", 0) if seed is None else seed
    data = read_dataset(dataset, layout=layout, split=split, test_group=test_group)
    say_notes(data)
    learnt = learnt_from(source)
    train, test = train_and_measured(data, lambda each: learnt is None or learnt(each.path), seed)
    if not train and (ablation or sweep):
        option = "--ablation" if ablation else "--sweep"
        raise UsageError(f"{option} fits anew on a training part, and {dataset} has none: leave it out")
    settings = TrainSettings(
        seed=seed,
        window_seconds=trained_window_seconds(source) if window is None else window,
        epochs=epochs,
        jobs=jobs or cores(),
        device=device,
        dtype=dtype,
        timeout_seconds=timeout,
        cache=cache or DEFAULT_CACHE,
        cache_gigabytes=cache_size,
    )
    with cache_of(settings, keep=not no_cache) as features:
        evaluator = Evaluator(source, settings, features, training_report(None))
        evaluation = evaluator.evaluate(test, train if ablation else None)
        swept = sweep_recurrent(evaluator, train, test) if sweep else ()
    say(f"measured on {len(test)} of the data set's {len(data.examples)} files")
    to_stdout = json_file is not None and str(json_file) == "-"
    print_evaluation(evaluation, to_stderr=to_stdout)
    if swept:
        print_sweep(swept, to_stderr=to_stdout)
    measured_on: dict[str, Any] = {"dataset": data.name, "layout": data.layout, "test_group": test_group}
    measured_on |= {"split": split if data.layout in PUBLISHED_SPLITS else None}
    measured_on |= {"seed": seed, "window_seconds": settings.window_seconds}
    write_files(evaluation, measured_on, swept, output, json_file)
    return 2 if evaluation.left_out or data.missing else 0


def main() -> None:
    """The console script."""
    sys.exit(run_command(app))


if __name__ == "__main__":
    main()
