"""`fit-anomaly`: normal footage in, a calibrated detector of what is not normal out."""

import sys
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    Jobs,
    Recurrent,
    SamePadding,
    SpatialWeights,
    StepsAtOnce,
    Streams,
    TemporalCNN,
    TemporalWeights,
    Timeout,
    names_of,
)
from tristream.tools.shell import paths_of, run_command, say

if TYPE_CHECKING:  # its libraries would slow --help down
    from tristream.anomaly.detector import Detector
    from tristream.fusion.batch import Job

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

EMBEDDINGS = ".embeddings"  # beside the detector, while footage is embedded


@app.command()
def fit_anomaly(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Normal footage: videos, folders, globs, lists, - ; or the folder of one embedding table.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DETECTOR", help="The folder of the detector.")],
    detector: Annotated[
        str,
        typer.Option(
            help="autoencoder; for comparison pca, knn, isolation-forest, mahalanobis, or a class of scikit-learn or "
            "PyOD, as in sklearn.svm.OneClassSVM."
        ),
    ] = "autoencoder",
    false_alarms_per_hour: Annotated[
        float, typer.Option(help="How many false alarms an hour the threshold may let through.")
    ] = 1.0,
    hold_out: Annotated[
        float, typer.Option(help="The share of the footage, its last, that the threshold comes from; 0 for none.")
    ] = 0.3,
    smooth: Annotated[float, typer.Option(help="Seconds over which scores are averaged.")] = 1.0,
    model: Annotated[
        str, typer.Option(help="camera (motion alone, nothing to train), pocket, a recipe, or a model folder.")
    ] = "camera",
    streams: Streams = None,
    backbone: Backbone = None,
    same_padding: SamePadding = None,
    temporal_cnn: TemporalCNN = None,
    audio_cnn: AudioCNN = None,
    recurrent: Recurrent = None,
    flow: Flow = None,
    spatial_weights: SpatialWeights = None,
    temporal_weights: TemporalWeights = None,
    audio_weights: AudioWeights = None,
    flow_weights: FlowWeights = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Give parts without weights files random ones; download nothing.")
    ] = False,
    window: Annotated[float, typer.Option(help="Seconds that a score is made of.")] = 1.0,
    stride: Annotated[float, typer.Option(help="Seconds from one score to the next.")] = 0.2,
    grid: Grid = "4x6",
    fps: Fps = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_size: StepsAtOnce = 64,
    jobs: Jobs = None,
    timeout: Timeout = 3600.0,
    seed: Annotated[int, typer.Option(help="Of the autoencoder's weights.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing detector.")] = False,
    debug: Debug = False,
) -> int:
    """Learn what normal footage is like, and from which score on to raise an alarm.

    Files are taken in the order of their paths; their first part is learnt from, their last one sets the threshold.
    Stopped while it embeds, the same command goes on. Exit codes: 0 done, 1 usage or set-up, 2 some files could not
    be read and were left out, 130 interrupted.
    """
    from tristream.anomaly.baselines import AUTOENCODER, detector_of
    from tristream.anomaly.fitting import FitSettings, fit_detector
    from tristream.fusion.batch import Job, cores
    from tristream.fusion.overrides import Overrides
    from tristream.fusion.parts import is_table, parts_of
    from tristream.fusion.source import find_model
    from tristream.fusion.table import remove_table
    from tristream.fusion.windows import Windows
    from tristream.streams.errors import DetectorError
    from tristream.streams.grid import parse_grid
    from tristream.tools.progress import counting_bar

    if detector != AUTOENCODER:
        detector_of(detector)  # raises for one that is not
    if output.exists() and not overwrite:
        raise DetectorError(f"{output} exists: use another -o, or --overwrite to replace it")
    settings = FitSettings(
        detector,
        {"random_state": seed} if detector == AUTOENCODER else {},
        hold_out=hold_out,
        false_alarms_per_hour=false_alarms_per_hour,
        smooth_seconds=smooth,
    )
    settings.check()
    given = Path(inputs[0])
    failed, made = 0, len(inputs) > 1 or not (any(parts_of(given)) and is_table(given))
    table = output.with_name(output.name + EMBEDDINGS) if made else given
    if made:
        overrides = Overrides(
            streams=names_of(streams),
            backbone=backbone,
            same_padding=same_padding,
            temporal_cnn=temporal_cnn,
            audio_cnn=audio_cnn,
            recurrent=recurrent,
            flow=flow,
            spatial_weights=spatial_weights,
            temporal_weights=temporal_weights,
            audio_weights=audio_weights,
            flow_weights=flow_weights,
        )
        source = find_model(model, overrides, untrained=untrained)
        if source.warning:
            say(f"warning: model {source.name} has {source.warning}; it only tells what is strange roughly")
        paths = paths_of(inputs, fps)
        windows = Windows(window, stride, parse_grid(grid))
        settings.check_footage(_declared_seconds(paths, fps))
        job = Job(source, windows, batch_size, device, dtype, fps=fps)
        failed = _embed(job, paths, table, min(jobs or cores(), len(paths)), timeout)
    with counting_bar("held-out videos") as progress:
        fitted = fit_detector(table, settings, progress)
    fitted.save(output)
    if made:
        remove_table(table)
    _tell(fitted, output)
    return 2 if failed else 0


def _declared_seconds(paths: tuple[str, ...], fps: float | None) -> float:
    """How much footage there is, as far as files tell; infinite where one does not."""
    from tristream.streams.errors import MediaError
    from tristream.streams.frame_folder import FrameFolder
    from tristream.streams.media import probe

    seconds = 0.0
    for path in paths:
        with suppress(MediaError):  # which its worker will tell
            info = FrameFolder(path, fps).info if fps and Path(path).is_dir() else probe(path)
            seconds += inf if info.duration_seconds is None else info.duration_seconds
    return seconds


def _embed(job: "Job", paths: tuple[str, ...], table: Path, jobs: int, timeout: float) -> int:
    """Embed footage into a table, or go on with that; how many files could not be.

    Raises:
        MediaError: none of them could.
    """
    from tristream.fusion.output import open_output
    from tristream.fusion.run import run
    from tristream.streams.errors import MediaError
    from tristream.tools.report import progress_of, tell

    with (
        open_output(str(table), job.source, job.windows, paths, overwrite=False) as sink,
        progress_of(len(paths)) as on_result,
    ):
        summary = run(paths, sink, job, jobs=jobs, timeout_seconds=timeout, retry_failed=True, on_result=on_result)
    tell(summary, str(table))
    if summary.exit_code == 3:
        raise MediaError("none of the footage could be embedded, so there is nothing to learn from")
    return summary.failed


def _tell(fitted: "Detector", output: Path) -> None:
    """What came of it, on standard error."""
    from tristream.anomaly.calibration import alarms_an_hour, clock_hours

    about = fitted.about
    learnt, held = clock_hours(about.fitted_seconds / 3600), clock_hours(about.held_out_seconds / 3600)
    levels = fitted.levels()
    if levels is None or about.false_alarms_per_hour is None:
        say(f"learnt from {learnt}; nothing was held out, so that it scores and raises no alarms -> {output}")
        return
    low, high = fitted.calibration.bounds(about.false_alarms_per_hour, 1.0)
    say(
        f"learnt from {learnt}, calibrated on {held}: alarm above {levels.alarm:.3g}, at most "
        f"{alarms_an_hour(about.false_alarms_per_hour)} on average; with 95 % confidence {low} to {high} in "
        f"another hour -> {output}"
    )


def main() -> None:
    """The console script."""
    sys.exit(run_command(app))


if __name__ == "__main__":
    main()
