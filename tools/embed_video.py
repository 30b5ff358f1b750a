"""`embed-video`: videos in, a table of embeddings out."""

import sys
from typing import Annotated

import typer

from tristream.tools.options import (
    AudioCNN,
    AudioWeights,
    Backbone,
    Debug,
    Device,
    Dtype,
    Flow,
    FlowWeights,
    Fps,
    Grid,
    Inputs,
    Jobs,
    Recurrent,
    SamePadding,
    Sampling,
    SpatialWeights,
    StepsAtOnce,
    Streams,
    Stride,
    TemporalCNN,
    TemporalWeights,
    Timeout,
    Window,
    names_of,
)
from tristream.tools.shell import paths_of, run_command, say

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def embed_video(
    inputs: Inputs,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="A folder for a Parquet data set; or FILE.npz, FILE.jsonl; or - for JSON Lines on standard output.",
        ),
    ] = "embeddings",
    model: Annotated[str, typer.Option(help="pocket, tkachenko2018, or a model folder.")] = "pocket",
    streams: Streams = None,
    backbone: Backbone = None,
    same_padding: SamePadding = None,
    temporal_cnn: TemporalCNN = None,
    audio_cnn: AudioCNN = None,
    recurrent: Recurrent = None,
    sampling: Sampling = None,
    flow: Flow = None,
    spatial_weights: SpatialWeights = None,
    temporal_weights: TemporalWeights = None,
    audio_weights: AudioWeights = None,
    flow_weights: FlowWeights = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Give parts without weights files random ones; download nothing.")
    ] = False,
    window: Window = 36.0,
    stride: Stride = None,
    grid: Grid = "1x1",
    fps: Fps = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_size: StepsAtOnce = 16,
    jobs: Jobs = None,
    timeout: Timeout = 3600.0,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Embed at most so many videos in this run.", show_default=False),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try videos again that failed before.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin an existing output anew.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and probe each file.")] = False,
    debug: Debug = False,
) -> int:
    """Turn videos into embeddings that say how they look, how they move and how they sound.

    A run that was stopped goes on where it was when the same command is given again. Exit codes: 0 all done,
    1 usage or set-up, 2 some inputs failed, 3 all failed, 130 interrupted.
    """
    from tristream.fusion.batch import Job, cores
    from tristream.fusion.output import open_output
    from tristream.fusion.overrides import Overrides
    from tristream.fusion.run import plan, run
    from tristream.fusion.source import find_model
    from tristream.fusion.windows import Windows
    from tristream.streams.grid import parse_grid
    from tristream.tools.report import dry_run_of, progress_of, tell

    overrides = Overrides(
        streams=names_of(streams),
        backbone=backbone,
        same_padding=same_padding,
        temporal_cnn=temporal_cnn,
        audio_cnn=audio_cnn,
        recurrent=recurrent,
        sampling=sampling,
        flow=flow,
        spatial_weights=spatial_weights,
        temporal_weights=temporal_weights,
        audio_weights=audio_weights,
        flow_weights=flow_weights,
    )
    windows = Windows(window, window if stride is None else stride, parse_grid(grid))
    source = find_model(model, overrides, untrained=untrained)
    if source.warning:
        say(f"warning: model {source.name} has {source.warning}; its embeddings only tell videos apart roughly")
    paths = paths_of(inputs, fps)
    job = Job(source, windows, batch_size, device, dtype, fps=fps)
    jobs = min(jobs or cores(), len(paths))
    with open_output(output, source, windows, paths, overwrite=overwrite, write=not dry_run) as sink:
        if dry_run:
            return dry_run_of(plan(paths, sink, retry_failed=retry_failed, fps=fps), job, jobs, timeout)
        with progress_of(len(paths)) as on_result:
            summary = run(
                paths,
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
