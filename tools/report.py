"""How a batch run is shown to the person at the terminal: what it would do, how far it is, how it went."""

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tristream.fusion.batch import Job, Workers
from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.run import Planned, Summary
from tristream.tools.shell import say

ERRORS_SHOWN = 10


@contextmanager
def progress_of(total: int) -> Iterator[Callable[[Summary], None]]:
    """A progress bar on standard error, where that is a terminal."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("embedding", total=total, speed="")

        def show(summary: Summary) -> None:
            done = summary.embedded + summary.copied + summary.done_before + summary.failed + summary.failed_before
            progress.update(task, completed=done, speed=speed_of(summary))

        yield show


def speed_of(summary: Summary) -> str:
    """Videos a second and times real time."""
    seconds = max(summary.seconds, 1e-9)
    videos = summary.embedded + summary.failed
    return f"{videos / seconds:.2f} videos/s, {summary.media_seconds / seconds:.1f} x real time"


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
        say(f"failed: {path}: {error}")
    if len(summary.errors) > ERRORS_SHOWN:
        say(f"… and {len(summary.errors) - ERRORS_SHOWN} more; the rows with status=error tell")
    parts = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing to do"
    say(f"{summary.total} videos: {parts} -> {output}")
    if summary.embedded:
        say(f"{summary.clips} clips in {summary.seconds:.1f} s: {speed_of(summary)}")
    elif summary.done_before == summary.total and summary.total:
        say("nothing to do: every video is in the table")
    if summary.warned:
        say(f"{summary.warned} videos have a warning in their rows (truncated, damaged, …)")


def dry_run_of(planned: Iterable[Planned], job: Job, jobs: int, timeout_seconds: float) -> int:
    """Print what a run would do with each file and what the file says of itself; the exit code."""
    counts = {"bad": 0, "good": 0}
    with Workers(job, jobs=jobs, timeout_seconds=timeout_seconds) as workers:
        waiting: list[tuple[Planned, Future[VideoEmbedding]]] = []
        for item in planned:
            waiting.append((item, workers.probe(item.path)))
            if len(waiting) > workers.room:
                _print_probe(*_first(waiting), counts)
        while waiting:
            _print_probe(*_first(waiting), counts)
    say(f"{sum(counts.values())} files, {counts['bad']} of which cannot be opened; nothing was done (--dry-run)")
    if not counts["bad"]:
        return 0
    return 2 if counts["good"] else 3


def _first(waiting: list[tuple[Planned, Any]]) -> tuple[Planned, VideoEmbedding]:
    item, future = waiting.pop(0)
    return item, future.result()


def _print_probe(item: Planned, probed: VideoEmbedding, counts: dict[str, int]) -> None:
    counts["bad" if probed.error else "good"] += 1
    if probed.error:
        print(f"error\t{item.path}\t{probed.error}")
        return
    length = "?" if probed.duration_seconds is None else f"{probed.duration_seconds:.2f} s"
    picture = f"{probed.width}x{probed.height} {probed.fps:.4g} fps" if probed.width else "no picture"
    sound = "sound" if probed.present.get("audio") else "no sound"
    print(f"{item.state.value}\t{item.path}\t{length}\t{picture}\t{sound}")
