"""How scores, events and an evaluation are told: tables for a reader, JSON Lines and CSV for programs."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tristream.anomaly.evaluation import Evaluation
from tristream.anomaly.events import Event, Score
from tristream.fusion.rows import text_of
from tristream.tools.shell import say

EVENT_COLUMNS = (
    "path",
    "start_seconds",
    "alarm_seconds",
    "peak_seconds",
    "end_seconds",
    "score",
    "p_value",
    "box",
)


def event_of(path: str, event: Event) -> dict[str, Any]:
    """An event as plain JSON data."""
    return {"path": text_of(path)} | event.to_json()


class EventWriter:
    """Events on standard output, file by file."""

    def __init__(self, form: str, streams: Sequence[str], out: TextIO) -> None:
        self._form, self._streams, self._out = form, streams, out
        self._csv = csv.writer(out, lineterminator="\n")
        self._table = Table(box=None, pad_edge=False)
        for name in ("start", "peak", "end", "score", "p", *(streams if len(streams) > 1 else ()), "where"):
            self._table.add_column(name, justify="right")
        self._table.add_column("video", overflow="fold")
        if form == "csv":
            self._csv.writerow([*EVENT_COLUMNS, *streams])

    def write(self, path: str, events: Iterable[Event]) -> None:
        """Tell the events of a file."""
        for event in events:
            data = event_of(path, event)
            if self._form == "jsonl":
                self._out.write(json.dumps(data, allow_nan=False) + "\n")
            elif self._form == "csv":
                box = "" if data["box"] is None else " ".join(map(str, data["box"]))
                shares = [data["streams"].get(stream, "") for stream in self._streams]
                self._csv.writerow([*(data[name] for name in EVENT_COLUMNS[:-1]), box, *shares])
            else:
                self._table.add_row(*self._cells(event), Text(Path(path).name))
        self._out.flush()

    def close(self) -> None:
        """The table, which is shown whole."""
        if self._form == "table" and self._table.row_count:
            Console(file=self._out).print(self._table)

    def _cells(self, event: Event) -> list[str]:
        peak = event.peak
        shares = [f"{peak.shares.get(stream, 0):.3g}" for stream in self._streams] if len(self._streams) > 1 else []
        box = "-" if peak.box is None else "{:.0%},{:.0%}".format(*_middle(peak.box))
        seconds = [_clock(each) for each in (event.start_seconds, peak.seconds, event.end_seconds)]
        return [*seconds, f"{peak.score:.3g}", f"{event.p_value:.2g}", *shares, box]


def write_scores(path: Path, scores: Mapping[str, Sequence[Score]], streams: Sequence[str]) -> str:
    """Scores over time as CSV or JSON Lines, by the suffix."""
    lines: list[str] = []
    rows = [(text_of(video), score) for video, all_of in scores.items() for score in all_of]
    if path.suffix == ".jsonl":
        for video, score in rows:
            data = {"path": video, "start_seconds": score.start_seconds, "end_seconds": score.end_seconds}
            lines.append(json.dumps(data | {"score": score.score, "streams": dict(score.shares), "box": score.box}))
        return "".join(f"{line}\n" for line in lines)
    names = "path start_seconds end_seconds score left top right bottom".split()
    lines.append(",".join([*names, *streams]))
    for video, score in rows:
        box = ["", "", "", ""] if score.box is None else [f"{side:.4f}" for side in score.box]
        shares = [f"{score.shares.get(stream, 0.0):.6g}" for stream in streams]
        span = [f"{score.start_seconds:.3f}", f"{score.end_seconds:.3f}", f"{score.score:.9g}"]
        lines.append(",".join(['"' + video.replace('"', '""') + '"', *span, *box, *shares]))
    return "".join(f"{line}\n" for line in lines)


def tell_evaluation(evaluation: Evaluation) -> None:
    """How well it did, on standard error."""
    say(
        f"{evaluation.frames} frames of {evaluation.videos} videos, {evaluation.anomalous_frames} anomalous: AUROC "
        f"{_three(evaluation.auroc_micro)} over all frames, {_three(evaluation.auroc_macro)} by video, average "
        f"precision {_three(evaluation.average_precision)}"
    )
    if evaluation.false_alarms is not None:
        delay = "" if evaluation.delay_seconds is None else f", {evaluation.delay_seconds:.1f} s after their beginning"
        say(
            f"{evaluation.detected} of {evaluation.anomalies} anomalies raised an alarm{delay}; "
            f"{evaluation.false_alarms} false alarms, {_three(evaluation.false_alarms_per_hour)} an hour"
        )


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _middle(box: tuple[float, float, float, float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{seconds % 60:04.1f}"
