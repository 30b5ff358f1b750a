"""`score-anomaly`: footage in, what is strange in it out: events, scores over time, a plot."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tristream.tools.options import (
    Debug,
    DetectorModel,
    Device,
    Dtype,
    FalseAlarmsPerHour,
    Fps,
    Jobs,
    StepsAtOnce,
    Timeout,
    check_picture,
)
from tristream.tools.shell import paths_of, run_command, say

if TYPE_CHECKING:  # its libraries would slow --help down
    from tristream.anomaly.detector import Detector
    from tristream.anomaly.scoring import ScoredVideo
    from tristream.fusion.batch import Job

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def score_anomaly(
    detector: Annotated[Path, typer.Argument(metavar="DETECTOR", help="The folder that fit-anomaly made.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Videos, folders, globs, lists, - ; or the folder of one embedding table.",
            show_default=False,
        ),
    ],
    format: Annotated[
        Literal["table", "jsonl", "csv"] | None,
        typer.Option(help="How events are told.", show_default="table on a terminal, else jsonl"),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all scores over time, too: FILE.csv or .jsonl.", show_default=False),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw scores, events and their pictures, too.", show_default=False),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv", help="The truth, clip,frame,anomalous a row: say how well it did.", show_default=False
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write how well it did.", show_default=False)
    ] = None,
    false_alarms_per_hour: FalseAlarmsPerHour = None,
    fps: Fps = None,
    model: DetectorModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_size: StepsAtOnce = 64,
    jobs: Jobs = None,
    timeout: Timeout = 3600.0,
    debug: Debug = False,
) -> int:
    """Say how strange footage is over time, and when it is strange enough for an alarm.

    Each event has its start, peak and end, its score and p-value (how often a span of normal footage is as strange),
    what each stream had to do with it, and where in the picture it was. Exit codes: 0 done, 1 usage or set-up, 2 some
    inputs failed, 3 all failed, 130 interrupted.
    """
    from tristream.anomaly.detector import load_detector
    from tristream.anomaly.evaluation import Labelled, evaluate, labels_of, read_labels
    from tristream.anomaly.plot import Strip, write_plot
    from tristream.anomaly.scoring import events_of
    from tristream.fusion.parts import is_table, parts_of
    from tristream.streams.errors import UsageError
    from tristream.tools.anomaly_report import EventWriter, tell_evaluation

    if format is None:
        format = "table" if sys.stdout.isatty() else "jsonl"
    check_picture(plot, "--plot", (".png",))
    check_picture(scores, "--scores", (".csv", ".jsonl"))
    if json_file is not None and labels is None:
        raise UsageError("--json says how well it did, which takes --labels")
    known = read_labels(labels) if labels else {}
    opened = load_detector(detector)
    levels = opened.levels(false_alarms_per_hour)
    given = Path(inputs[0])
    if len(inputs) == 1 and any(parts_of(given)) and is_table(given):
        videos = _of_table(opened, given)
    else:
        paths = paths_of(inputs, fps)
        if labels and not any(labels_of(path, known) is not None for path in paths):
            raise UsageError(
                f"{labels} has labels of {', '.join(list(known)[:5])}, …: none of these is among the inputs"
            )
        videos = _of_files(opened, paths, _job(opened, model, batch_size, device, dtype, fps), jobs, timeout)
    writer = EventWriter(format, tuple(opened.about.dims), sys.stdout)
    strips, labelled, done, failed = [], [], 0, 0
    for video in videos:
        if video.error is not None:
            say(f"failed: {video.error}" if video.path in video.error else f"failed: {video.path}: {video.error}")
            failed += 1
            continue
        done += 1
        events = events_of(opened, levels, video.scores) if levels else []
        writer.write(video.path, events)
        truth = labels_of(video.path, known)
        if truth is not None:
            labelled.append(Labelled(video.path, truth, _checked_fps(video, len(truth)), video.scores, events))
        strips.append(Strip(video.path, video.scores, events, truth, video.fps))
    writer.close()
    if scores:
        _write(scores, {strip.path: strip.scores for strip in strips}, tuple(opened.about.dims))
    if plot and strips:
        write_plot(plot, strips, levels.alarm if levels else None, fps)
        say(f"-> {plot}")
    if levels is None:
        say("the detector has no threshold (--hold-out 0): it scores and raises no alarms")
    else:
        alarms = sum(len(strip.events) for strip in strips)
        counts = f"{done} video{'s' * (done != 1)}, {alarms} event{'s' * (alarms != 1)}"
        say(f"{counts} above {levels.alarm:.3g}" + (f"; {failed} failed" if failed else ""))
    if labelled:
        evaluation = evaluate(labelled, with_events=levels is not None)
        tell_evaluation(evaluation)
        if json_file:
            _save(json_file, json.dumps(evaluation.to_json(), indent=2) + "\n")
    return (2 if done else 3) if failed else 0


def _job(
    detector: "Detector", model: str | None, batch_size: int, device: str, dtype: "object", fps: float | None
) -> "Job":
    """What embeds and scores a file, with the detector's own model."""
    from tristream.anomaly.scoring import ScoreJob

    source = detector.find_model(model)
    return ScoreJob(source, detector.about.windows, batch_size, device, dtype, fps=fps, detector=detector)  # type: ignore[arg-type]


def _of_files(
    detector: "Detector", paths: tuple[str, ...], job: "Job", jobs: int | None, timeout: float
) -> Iterator["ScoredVideo"]:
    from tristream.anomaly.scoring import ScoredVideo
    from tristream.fusion.batch import cores, embed_files
    from tristream.tools.progress import counting_bar

    with counting_bar("videos") as progress:
        results = embed_files(job, paths, jobs=min(jobs or cores(), len(paths)), timeout_seconds=timeout)
        for number, result in enumerate(results, 1):
            progress(number, len(paths))
            if isinstance(result, ScoredVideo):
                for warning in result.warnings:
                    say(f"warning: {result.path}: {warning}")
                if pace := detector.other_pace(result.fps):
                    say(f"warning: {result.path}: {pace}")
                yield result
            else:
                yield ScoredVideo(**vars(result))


def _of_table(detector: "Detector", table: Path) -> Iterator["ScoredVideo"]:
    """The videos of an embedding table, scored.

    Raises:
        DetectorError: it is of another model, or was cut in another way.
    """
    from tristream.anomaly.footage import clips_of, vectors_of, videos_of
    from tristream.anomaly.scoring import ScoredVideo, scores_of
    from tristream.fusion.parts import about_table, windows_of
    from tristream.streams.errors import DetectorError

    about, found = detector.about, about_table(table)
    windows = windows_of(found)
    if found["model_id"] != about.model_id:
        raise DetectorError(
            f"the detector is of model {about.model_id} ({about.model}), but the table {table} is of model "
            f"{found['model_id']} ({found['model']})"
        )
    if windows != about.windows:
        raise DetectorError(f"the table {table} was cut by {windows}, and the detector by {about.windows}")
    for video, vectors, spans in vectors_of(videos_of(table, windows), windows):
        scores = tuple(scores_of(detector, clips_of(vectors, spans, about.dims)))
        yield ScoredVideo(video.path, about.model_id, fps=video.fps, scores=scores)


def _checked_fps(video: "ScoredVideo", frames: int) -> float:
    """The frame rate that labels go by.

    Raises:
        UsageError: there are not as many labels as frames.
    """
    from tristream.streams.errors import UsageError

    end_seconds = video.scores[-1].end_seconds
    fps = video.fps or frames / end_seconds
    if abs(frames / fps - end_seconds) > max(1.0, 0.02 * end_seconds):
        raise UsageError(
            f"the labels of {video.path} are of {frames} frames, {frames / fps:.1f} s at {fps:g} a second, but it is "
            f"{end_seconds:.1f} s long: they are of another video, or --fps is another"
        )
    return fps


def _write(path: Path, scores: "object", streams: tuple[str, ...]) -> None:
    from tristream.tools.anomaly_report import write_scores

    _save(path, write_scores(path, scores, streams))  # type: ignore[arg-type]
    say(f"-> {path}")


def _save(path: Path, text: str) -> None:
    from tristream.fusion.folder import write_atomically
    from tristream.streams.errors import UsageError

    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def main() -> None:
    """The console script."""
    sys.exit(run_command(app))


if __name__ == "__main__":
    main()
