"""`train-video`: labelled videos in, a model that embeds and classifies out."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

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
        str,
        typer.Option(help="tkachenko2018, corehar2020, orozco2021, konakalla, lrcn2024 or convlstm2024."),
    ] = "tkachenko2018",
    layout: Annotated[
        Literal["auto", "ucf101", "hmdb51", "kth", "ucf11", "ucf50", "folders", "csv"],
        typer.Option(help="How the data set is laid out."),
    ] = "auto",
    split: Annotated[int, typer.Option(metavar="N", help="The published split of UCF101 and HMDB-51.")] = 1,
    test_group: Annotated[
        int | None, typer.Option(metavar="N", help="The group of UCF-11 and UCF50 to leave out.", show_default=False)
    ] = None,
    streams: Annotated[
        str | None, typer.Option(help="Only these streams of the recipe, as in spatial,audio.", show_default=False)
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Another timm backbone for the spatial stream.", show_default=False)
    ] = None,
    same_padding: Annotated[
        bool | None,
        typer.Option("--same-padding", help="Pad the backbone as TensorFlow does, for weights converted from it."),
    ] = None,
    audio_cnn: Annotated[
        Literal["vggish", "yamnet", "small"] | None,
        typer.Option(help="Another audio CNN.", show_default=False),
    ] = None,
    recurrent: Annotated[
        Literal["gru", "lstm", "rnn", "mean"] | None,
        typer.Option(help="Another recurrent cell; mean needs no training.", show_default=False),
    ] = None,
    hidden: Annotated[
        int | None,
        typer.Option(metavar="N", help="Units of each recurrent layer and direction.", show_default=False),
    ] = None,
    sampling: Annotated[
        Literal["adaptive", "uniform", "every-nth", "segments", "first"] | None,
        typer.Option(help="How frames are chosen where a clip has more than the model takes.", show_default=False),
    ] = None,
    frame_jump: Annotated[
        int | None,
        typer.Option(metavar="N", help="Take one frame in N, where sampling is every-nth.", show_default=False),
    ] = None,
    flow: Annotated[
        Literal["dis", "tvl1", "farneback", "raft", "codec"] | None,
        typer.Option(help="Optical flow engine.", show_default=False),
    ] = None,
    spatial_weights: Annotated[
        Path | None, typer.Option(help="Weights of the backbone, .safetensors or .npz.", show_default=False)
    ] = None,
    audio_weights: Annotated[
        Path | None,
        typer.Option(help="Weights of the audio CNN; without them it is trained from scratch.", show_default=False),
    ] = None,
    flow_weights: Annotated[
        Path | None, typer.Option(help="Weights of RAFT-small, .safetensors.", show_default=False)
    ] = None,
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
    window: Annotated[float, typer.Option(help="Seconds a clip.")] = 36.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, metavar="N", help="Of all that is drawn at random.")] = 0,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where the networks run.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(help="Precision of multiplications; auto takes bfloat16 where the hardware has it."),
    ] = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Worker processes that read files.", show_default="one a core"),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds a file may take.")] = 3600.0,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where step features are kept.", show_default="~/.cache/tristream/features"),
    ] = None,
    cache_size: Annotated[float, typer.Option(metavar="GB", help="How much the cache may hold.")] = 50.0,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Keep step features for this training only.")] = False,
    log: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write TensorBoard logs there.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing or unfinished model.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> int:
    """Train a model from labelled videos.

    Each stream is trained by itself, then what classifies their joined embedding. A run that was stopped goes on
    where it was when the same command is given again. Exit codes: 0 done, 1 usage or set-up, 2 done, but some
    files could not be read or are not there, 130 interrupted.
    """
    # Threads that wait by spinning keep the cores from those that read ahead; OpenMP reads this when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from tristream.fusion.batch import cores
    from tristream.fusion.source import Overrides
    from tristream.tools.training_report import say_notes, training_report
    from tristream.training.cache import DEFAULT_CACHE
    from tristream.training.datasets import read_dataset
    from tristream.training.settings import TrainSettings
    from tristream.training.setup import set_up
    from tristream.training.splits import train_and_test

    overrides = Overrides(
        streams=tuple(name.strip() for name in streams.split(",")) if streams is not None else None,
        backbone=backbone,
        same_padding=same_padding,
        recurrent=recurrent,
        hidden=hidden,
        sampling=sampling,
        frame_jump=frame_jump,
        flow=flow,
        audio_cnn=audio_cnn,
        spatial_weights=spatial_weights,
        audio_weights=audio_weights,
        flow_weights=flow_weights,
    )
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
    train, _ = train_and_test(data, seed=seed)
    trainer = set_up(
        train,
        recipe,
        overrides,
        settings,
        output,
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
