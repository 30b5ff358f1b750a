"""`embed-video`: videos in, a table of embeddings out."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tristream.tools.shell import run_command, say

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def embed_video(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Videos or sound files, folders, globs, a .txt or .csv list, or - for a list on standard input.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="A folder for a Parquet data set; or FILE.npz, FILE.jsonl; or - for JSON Lines on standard output.",
        ),
    ] = "embeddings",
    model: Annotated[str, typer.Option(help="pocket, tkachenko2018, or a model folder.")] = "pocket",
    streams: Annotated[
        str | None, typer.Option(help="Only these streams of the model, as in spatial,audio.", show_default=False)
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
        typer.Option(help="Another CNN for the audio stream; --audio-weights gives its weights.", show_default=False),
    ] = None,
    recurrent: Annotated[
        Literal["gru", "lstm", "rnn", "mean"] | None,
        typer.Option(help="Another recurrent cell; mean needs no training.", show_default=False),
    ] = None,
    sampling: Annotated[
        Literal["adaptive", "uniform", "every-nth", "segments"] | None,
        typer.Option(help="How frames are chosen where a clip has more than the model takes.", show_default=False),
    ] = None,
    flow: Annotated[
        Literal["dis", "tvl1", "farneback", "raft", "codec"] | None,
        typer.Option(help="Optical flow engine; codec reads the bit stream's motion vectors.", show_default=False),
    ] = None,
    spatial_weights: Annotated[
        Path | None, typer.Option(help="Weights of the backbone, .safetensors or .npz.", show_default=False)
    ] = None,
    audio_weights: Annotated[
        Path | None,
        typer.Option(
            help="Weights of the audio CNN (VGGish, YAMNet, small), .safetensors or .npz.", show_default=False
        ),
    ] = None,
    flow_weights: Annotated[
        Path | None, typer.Option(help="Weights of RAFT-small, .safetensors.", show_default=False)
    ] = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Give parts without weights files random ones; download nothing.")
    ] = False,
    window: Annotated[float, typer.Option(help="Seconds a clip.")] = 36.0,
    stride: Annotated[
        float | None, typer.Option(help="Seconds from one clip to the next.", show_default="the window")
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where the networks run.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(help="Precision of the CNNs; auto takes bfloat16 where the hardware has it."),
    ] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Steps that go through a CNN together.")] = 16,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Worker processes.", show_default="one a core")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds a video may take.")] = 3600.0,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Embed at most so many videos in this run.", show_default=False),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try videos again that failed before.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin an existing output anew.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and probe each file.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> int:
    """Turn videos into embeddings that say how they look, how they move and how they sound.

    A run that was stopped goes on where it was when the same command is given again. Exit codes: 0 all done,
    1 usage or set-up, 2 some inputs failed, 3 all failed, 130 interrupted.
    """
    from tristream.fusion.batch import Job, cores
    from tristream.fusion.output import open_output
    from tristream.fusion.run import plan, run
    from tristream.fusion.source import Overrides, find_model
    from tristream.fusion.windows import Windows
    from tristream.streams.errors import UsageError
    from tristream.streams.inputs import find_inputs
    from tristream.tools.report import dry_run_of, progress_of, tell

    overrides = Overrides(
        streams=tuple(name.strip() for name in streams.split(",")) if streams is not None else None,
        backbone=backbone,
        same_padding=same_padding,
        audio_cnn=audio_cnn,
        recurrent=recurrent,
        sampling=sampling,
        flow=flow,
        spatial_weights=spatial_weights,
        audio_weights=audio_weights,
        flow_weights=flow_weights,
    )
    windows = Windows(window, window if stride is None else stride)
    source = find_model(model, overrides, untrained=untrained)
    if source.warning:
        say(f"warning: model {source.name} has {source.warning}; its embeddings only tell videos apart roughly")
    found = find_inputs(inputs)
    if found.passed_over:
        say(f"{found.passed_over} files in the folders have no suffix of a video or sound file and were passed over")
    if not found.paths:
        raise UsageError("no video or sound file in the inputs: name files, or a folder, glob or list that has some")
    job = Job(source, windows, batch_size, device, dtype)
    jobs = min(jobs or cores(), max(1, len(found.paths)))
    with open_output(output, source, windows, found.paths, overwrite=overwrite, write=not dry_run) as sink:
        if dry_run:
            return dry_run_of(plan(found.paths, sink, retry_failed=retry_failed), job, jobs, timeout)
        with progress_of(len(found.paths)) as on_result:
            summary = run(
                found.paths,
                sink,
                job,
                jobs=jobs,
                timeout_seconds=timeout,
                retry_failed=retry_failed,
                limit=limit,
                on_result=on_result,
            )
    tell(summary, output)
    return summary.exit_code


def main() -> None:
    """The console script."""
    sys.exit(run_command(app))


if __name__ == "__main__":
    main()
