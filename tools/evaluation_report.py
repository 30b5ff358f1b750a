"""An evaluation on the terminal: figures, classes, what each stream adds, and a sweep beside the paper's."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tristream.training.ablation import Ablation, AblationRow, StreamGain
from tristream.training.bootstrap import Interval
from tristream.training.evaluate import Evaluation
from tristream.training.sweep import SweepRow

CLASSES_SHOWN = 20  # of more, the worst
COLUMNS = 110  # where nobody's terminal says how wide it is


def print_evaluation(evaluation: Evaluation, *, to_stderr: bool = False) -> None:
    """The figures of an evaluation, on standard output unless JSON goes there."""
    console = _console(to_stderr)
    metrics = evaluation.metrics
    table = Table(title=f"{metrics.clips} clips of {len(evaluation.classes)} classes", title_justify="left")
    for column in ("figure", "value", "95 % interval"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    table.add_row("top-1", f"{metrics.top1:.3f}", _span(evaluation.top1))
    table.add_row("top-5", f"{metrics.top5:.3f}" if len(evaluation.classes) > 5 else "-", "")
    table.add_row("mean per class (balanced accuracy)", f"{metrics.mean_per_class:.3f}", "")
    if metrics.macro_roc_auc is not None:
        table.add_row("area under ROC, mean of classes", f"{metrics.macro_roc_auc:.3f}", "")
    if metrics.calibration_error is not None:
        table.add_row("calibration error", f"{metrics.calibration_error:.3f}", "")
    console.print(table)
    console.print(_classes(evaluation))
    if evaluation.ablation is not None:
        _print_ablation(console, evaluation.ablation)
    if evaluation.left_out:
        console.print(f"{len(evaluation.left_out)} files could not be read and are not counted")


def _classes(evaluation: Evaluation) -> Table:
    metrics = evaluation.metrics
    order = [index for index, value in enumerate(metrics.per_class) if value is not None]
    title = "classes"
    if len(order) > CLASSES_SHOWN:
        order = sorted(order, key=lambda index: metrics.per_class[index] or 0.0)[:CLASSES_SHOWN]
        title = f"the {CLASSES_SHOWN} worst classes"
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for column in ("clips", "right"):
        table.add_column(column, justify="right")
    table.add_column("most often taken for")
    for index in order:
        row = list(metrics.confusion[index])
        right, clips = row[index], sum(row)
        row[index] = 0
        wrong = max(row)
        confused = f"{evaluation.classes[row.index(wrong)]} ({wrong})" if wrong else ""
        table.add_row(evaluation.classes[index], str(clips), f"{right / clips:.3f}", confused)
    return table


def _print_ablation(console: Console, ablation: Ablation) -> None:
    table = Table(title="every set of streams, fused anew on the training part", title_justify="left")
    table.add_column("streams")
    for column in ("top-1", "95 % interval", "on clips that have them", "clips"):
        table.add_column(column, justify="right")
    for row in ablation.rows:
        table.add_row(" + ".join(row.streams), *_figures(row))
    presence = ablation.presence_only
    table.add_row("(which streams are there, alone)", f"{presence.top1:.3f}", _span(presence.interval), "", "")
    console.print(table)
    if ablation.gains:
        console.print(_gains(ablation.gains))


def _figures(row: AblationRow) -> tuple[str, str, str, str]:
    present = row.on_present
    on_present = f"{present.value:.3f}  {_span(present)}" if present else "-"
    return f"{row.top1:.3f}", _span(row.interval), on_present, str(present.clips) if present else "0"


def _gains(gains: Sequence[StreamGain]) -> Table:
    table = Table(title="what each stream adds to the others (top-1)", title_justify="left")
    table.add_column("stream")
    for column in ("on all clips", "on clips that have it", "beyond its bare presence"):
        table.add_column(column, justify="right")
    for gain in gains:
        present = _signed(gain.on_present) if gain.on_present else "-"
        table.add_row(gain.stream, _signed(gain.gain), present, _signed(gain.beyond_presence))
    return table


def print_sweep(rows: Sequence[SweepRow], *, to_stderr: bool = False) -> None:
    """Encoders beside the paper's figures for them."""
    console = _console(to_stderr)
    table = Table(title="recurrent encoders of the spatial stream (Tkachenko 2018, Table I)", title_justify="left")
    table.add_column("encoder")
    for column in ("units", "top-1", "top-5", "paper's top-1", "top-5", "parameters", "seconds"):
        table.add_column(column, justify="right")
    for row in rows:
        ours = f"{100 * row.top1:.2f}", f"{100 * row.top5:.2f}"
        paper = f"{row.paper_top1:.2f}", f"{row.paper_top5:.2f}"
        table.add_row(row.name, str(row.units), *ours, *paper, f"{row.parameters:,}", f"{row.seconds:.0f}")
    console.print(table)


def _console(to_stderr: bool) -> Console:
    file = sys.stderr if to_stderr else sys.stdout
    return Console(file=file, width=None if file.isatty() else COLUMNS, markup=False, emoji=False)


def _span(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.3f}  ({interval.low:+.3f} to {interval.high:+.3f})"
