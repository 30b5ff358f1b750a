"""How a batch run is shown to the person at the terminal: what it would do, how far it is, how it went."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tristream.fusion.batch import Job, Workers, in_order
from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.rows import text_of
from tristream.fusion.run import Planned, Summary
from tristream.fusion.worker import ProbeJob
from tristream.tools.shell import say

ERRORS_SHOWN = 10


@contextmanager
def progress_of(total: int) -> Iterator[Callable[[Summary], None]]:
    """A progress bar on standard error, where that is a terminal."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("embedding", total=total, speed="")

        def show(summary: Summary) -> None:
            progress.update(task, completed=summary.accounted, speed=speed_of(summary))

        yield show


def speed_of(summary: Summary) -> str:
    """Videos a second and times real time, over the whole run; empty before the first video is done."""
    videos = summary.embedded + summary.failed
    if not videos or not summary.seconds:
        return ""
    return f"{videos / summary.seconds:.2f} videos/s, {summary.media_seconds / summary.seconds:.1f} x real time"


def tell(summary: Summary, output: str) -> None:
    """The closing summary on standard error; its counts add up to the total."""
    counts = {
        "embedded": summary.embedded,
        "copied (same content)": summary.copied,
        "done already": summary.done_before,
        "failed": summary.failed,
        "failed before (--retry-failed tries again)": summary.failed_before,
        "left for later (--limit)": summary.left,
    }
    for path, error in summary.errors[:ERRORS_SHOWN]:
        say(f"failed: {error}" if path in error else f"failed: {path}: {error}")
    if len(summary.errors) > ERRORS_SHOWN:
        say(f"… and {len(summary.errors) - ERRORS_SHOWN} more; the rows with status=error tell")
    where = "standard output" if output == "-" else output
    parts = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    say(f"{_number(summary.total, 'video')}: {parts} -> {where}")
    if summary.embedded:
        say(f"{_number(summary.clips, 'clip')} in {summary.seconds:.1f} s: {speed_of(summary)}")
    elif summary.done_before + summary.failed_before == summary.total:
        say("nothing to do: every video is in the table")
    if summary.warned:
        say(f"{_number(summary.warned, 'video')} embedded with a warning in the rows (truncated, damaged, …)")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def dry_run_of(planned: Iterable[Planned], job: Job, jobs: int, timeout_seconds: float) -> int:
    """Print what a run would do with each file and what the file says of itself; the exit code."""
    bad = good = 0
    probe = ProbeJob(job.source, job.windows, job.batch_size)
    with Workers[int](probe, jobs=jobs, timeout_seconds=timeout_seconds) as workers:
        for item, probed in in_order(workers, ((item, item.path) for item in planned)):
            bad += probed.error is not None
            good += probed.error is None
            print(_probe_line(item, probed), flush=True)
    say(f"{_number(bad + good, 'file')}, {bad} of which cannot be opened; nothing was done (--dry-run)")
    if not bad:
        return 0
    return 2 if good else 3


def _probe_line(item: Planned, probed: VideoEmbedding) -> str:
    path = text_of(item.path)
    if probed.error:
        return f"error\t{path}\t{' '.join(text_of(probed.error).split())}"
    length = "unknown length" if probed.duration_seconds is None else f"{probed.duration_seconds:.2f} s"
    rate = f" {probed.fps:.4g} fps" if probed.fps else ""
    picture = f"{probed.width}x{probed.height}{rate}" if probed.width else "no picture"
    sound = "sound" if probed.present.get("audio") else "no sound"
    return f"{item.state.value}\t{path}\t{length}\t{picture}\t{sound}"
