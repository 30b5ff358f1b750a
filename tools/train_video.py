"""`train-video`: labelled videos in, a model that embeds and classifies out."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tristream.tools.options import (
    AudioCNN,
    AudioWeights,
    Backbone,
    Cache,
    CacheSize,
    Debug,
    Device,
    Dtype,
    Flow,
    FlowWeights,
    Jobs,
    Layout,
    NoCache,
    Recurrent,
    SamePadding,
    Sampling,
    SpatialWeights,
    Split,
    Streams,
    TemporalWeights,
    TestGroup,
    Timeout,
    TrainedWindow,
    names_of,
)
from tristream.tools.shell import run_command, say

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def train_video(
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="A data set's folder as published, a folder a class (with train/ and test/, or without), or a CSV.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL", help="The model folder to write.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="tkachenko2018, corehar2020, orozco2021, konakalla, lrcn2024 or convlstm2024.",
            show_default="tkachenko2018",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Keep the networks of this model, and fit what classifies its embeddings: for few labels.",
            show_default=False,
        ),
    ] = None,
    layout: Layout = "auto",
    split: Split = 1,
    test_group: TestGroup = None,
    streams: Streams = None,
    backbone: Backbone = None,
    same_padding: SamePadding = None,
    audio_cnn: AudioCNN = None,
    recurrent: Recurrent = None,
    hidden: Annotated[
        int | None,
        typer.Option(metavar="N", help="Units of each recurrent layer and direction.", show_default=False),
    ] = None,
    sampling: Sampling = None,
    frame_jump: Annotated[
        int | None,
        typer.Option(metavar="N", help="Take one frame in N, where sampling is every-nth.", show_default=False),
    ] = None,
    flow: Flow = None,
    spatial_weights: SpatialWeights = None,
    temporal_weights: TemporalWeights = None,
    audio_weights: AudioWeights = None,
    flow_weights: FlowWeights = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Give a backbone without weights random ones; download nothing.")
    ] = False,
    fine_tune: Annotated[
        int, typer.Option(min=0, metavar="N", help="Train the last N blocks of the backbone, too.")
    ] = 0,
    classifier: Annotated[
        Literal["svm", "softmax", "late"] | None,
        typer.Option(help="How streams are fused, in place of the recipe's way.", show_default=False),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="At most so many, of the encoders.", show_default="the recipe's"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Clips a batch.", show_default="the recipe's")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(metavar="RATE", help="Of the encoders.", show_default="the recipe's")
    ] = None,
    cnn_epochs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="At most so many, of CNNs.", show_default="the recipe's"),
    ] = None,
    validation: Annotated[float, typer.Option(metavar="SHARE", help="How much of it to validate on.")] = 0.2,
    window: TrainedWindow = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, metavar="N", help="Of all that is drawn at random.")] = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    jobs: Jobs = None,
    timeout: Timeout = 3600.0,
    cache: Cache = None,
    cache_size: CacheSize = 50.0,
    no_cache: NoCache = False,
    log: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write TensorBoard logs there.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing or unfinished model.")] = False,
    debug: Debug = False,
) -> int:
    """Train a model from labelled videos.

    Each stream is trained by itself, then what classifies their joined embedding. A run that was stopped goes on
    where it was when the same command is given again. Exit codes: 0 done, 1 usage or set-up, 2 done, but some
    files could not be read or are not there, 130 interrupted.
    """
    from tristream.training.process import prepare_to_train

    prepare_to_train()
    from tristream.fusion.batch import cores
    from tristream.fusion.overrides import Overrides
    from tristream.tools.training_report import say_notes, training_report
    from tristream.training.cache import DEFAULT_CACHE
    from tristream.training.datasets import read_dataset
    from tristream.training.record import DEFAULT_WINDOW_SECONDS, trained_window_seconds
    from tristream.training.settings import TrainSettings
    from tristream.training.setup import find_base, set_up
    from tristream.training.splits import train_and_test

    overrides = Overrides(
        streams=names_of(streams),
        backbone=backbone,
        same_padding=same_padding,
        recurrent=recurrent,
        hidden=hidden,
        sampling=sampling,
        frame_jump=frame_jump,
        flow=flow,
        audio_cnn=audio_cnn,
        spatial_weights=spatial_weights,
        temporal_weights=temporal_weights,
        audio_weights=audio_weights,
        flow_weights=flow_weights,
    )
    base = find_base(recipe, model)
    if window is None:
        window = DEFAULT_WINDOW_SECONDS if base is None else trained_window_seconds(base)
    settings = TrainSettings(
        seed=seed,
        validation_share=validation,
        window_seconds=window,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        cnn_epochs=cnn_epochs,
        fine_tune=fine_tune,
        classifier=classifier,
        jobs=jobs or cores(),
        device=device,
        dtype=dtype,
        timeout_seconds=timeout,
        cache=None if no_cache else cache or DEFAULT_CACHE,
        cache_gigabytes=cache_size,
    )
    data = read_dataset(dataset, layout=layout, split=split, test_group=test_group)
    say_notes(data)
    train, test = train_and_test(data, seed=seed)
    if unknown := sorted({each.label for each in test} - {each.label for each in train}):
        say(f"warning: class {unknown[0]!r} is only in the test part, so that the model will not know it")
    trainer = set_up(
        train,
        recipe,
        overrides,
        settings,
        output,
        base=base,
        untrained=untrained,
        overwrite=overwrite,
        report=training_report(log),
    )
    trained = trainer.run()
    say(f"{trained.folder}: a model of {len(trained.classes)} classes; evaluate-video measures it")
    return 2 if trained.left_out or data.missing else 0


def main() -> None:
    """The console script."""
    sys.exit(run_command(app))


if __name__ == "__main__":
    main()
