"""`classify-video`: videos in, their classes out, with each stream's share of the decision."""

import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tristream.tools.options import Debug, Device, Dtype, Fps, Inputs, Jobs, StepsAtOnce, Stride, Timeout, TrainedWindow
from tristream.tools.shell import EXIT_INTERRUPTED, paths_of, run_command, say

if TYPE_CHECKING:  # their libraries would slow --help down
    from tristream.fusion.batch import Job
    from tristream.fusion.run import Summary
    from tristream.tools.classification_output import Put

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def classify_video(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The folder of a model that train-video made, or hf:owner/name.")
    ],
    inputs: Inputs,
    output: Annotated[str, typer.Option("-o", "--output", help="FILE.jsonl, or - for standard output.")] = "-",
    format: Annotated[
        Literal["table", "jsonl"] | None,
        typer.Option(help="How standard output tells the classes.", show_default="table on a terminal, else jsonl"),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="K", help="The K most probable classes.")] = 3,
    clips: Annotated[
        bool,
        typer.Option(
            "--clips",
            help="Classify each clip, too: a timeline. The table joins neighbours of one class, JSON Lines do not.",
        ),
    ] = False,
    window: TrainedWindow = None,
    stride: Stride = None,
    fps: Fps = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_size: StepsAtOnce = 16,
    jobs: Jobs = None,
    timeout: Timeout = 3600.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    debug: Debug = False,
) -> int:
    """Tell the classes of videos by a trained model, and what each stream has to do with it.

    Beside each class stands its probability and, stream by stream, what that adds to its score, or takes from it; the
    class with the highest score wins, and a stream that a file has not adds nothing. Exit codes: 0 all done, 1 usage
    or set-up, 2 some inputs failed, 3 all failed, 130 interrupted.
    """
    from tristream.fusion.batch import Job, cores
    from tristream.fusion.classify import find_classifying_model
    from tristream.fusion.run import Summary
    from tristream.fusion.windows import Windows
    from tristream.tools.classification_output import open_output, partial_of
    from tristream.training.record import trained_window_seconds

    if format is None:
        format = "table" if output == "-" and sys.stdout.isatty() else "jsonl"
    source = find_classifying_model(model)
    window = trained_window_seconds(source) if window is None else window
    windows = Windows(window, window if stride is None else stride)
    if source.warning:
        say(f"warning: model {source.name} has {source.warning}; what it says of classes may be worth little")
    paths = paths_of(inputs, fps)
    job = Job(source, windows, batch_size, device, dtype, fps=fps)
    summary = Summary(total=len(paths))
    try:
        with open_output(output, format, source.config.streams, top, overwrite=overwrite) as put:
            jobs = min(jobs or cores(), len(paths))
            _classify(paths, job, put, summary, clips=clips, jobs=jobs, timeout_seconds=timeout)
    except KeyboardInterrupt:
        kept = summary.accounted and output != "-"
        _tell(summary, str(partial_of(Path(output))) if kept else "-", format)
        say("interrupted: the same command begins anew")
        raise SystemExit(EXIT_INTERRUPTED) from None  # the shell's own words for it tell of going on
    _tell(summary, output, format)
    return summary.exit_code


def _classify(
    paths: Sequence[str], job: "Job", put: "Put", summary: "Summary", *, clips: bool, jobs: int, timeout_seconds: float
) -> None:
    """Put what the classifier says of each file, in their order."""
    from tristream.fusion.batch import Workers, in_order
    from tristream.fusion.classify import ModelClassifier
    from tristream.fusion.timeline import spans_of
    from tristream.tools.report import progress_of

    classifier: ModelClassifier | None = None
    began = monotonic()
    with (
        Workers[int](job, jobs=jobs, timeout_seconds=timeout_seconds) as workers,
        progress_of(len(paths)) as show,
    ):
        for _, result in in_order(workers, ((None, path) for path in paths)):
            if result.error is None:
                classifier = classifier or ModelClassifier(job.source, result.dims)
                put(result, spans_of(classifier, result, clips=clips))
                summary.embedded += 1
                summary.warned += len(result.warnings) > bool(job.source.warning)  # that one is told already
                summary.media_seconds += result.duration_seconds or 0.0
            else:
                put(result, [])
                summary.failed += 1
                summary.errors.append((result.path, result.error))
            summary.seconds = monotonic() - began
            show(summary)


def _tell(summary: "Summary", output: str, form: str) -> None:
    """The closing summary on standard error; a table has the errors already."""
    from tristream.tools.report import ERRORS_SHOWN

    errors = summary.errors if form == "jsonl" else []
    for path, error in errors[:ERRORS_SHOWN]:
        say(f"failed: {error}" if path in error else f"failed: {path}: {error}")
    if len(errors) > ERRORS_SHOWN:
        say(f"… and {len(errors) - ERRORS_SHOWN} more; the lines with an error tell")
    counts = {
        "classified": summary.embedded,
        "failed": summary.failed,
        "not looked at": summary.total - summary.accounted,
    }
    parts = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    videos = "1 video" if summary.total == 1 else f"{summary.total} videos"
    say(f"{videos}: {parts}" + ("" if output == "-" else f" -> {output}"))
    if summary.warned:
        say(f"{summary.warned} of them with a warning (truncated, damaged, …), which JSON Lines tell")


def main() -> None:
    """The console script."""
    sys.exit(run_command(app))


if __name__ == "__main__":
    main()
