"""A picture of scores over time: threshold, events with thumbnails of their peaks, and the truth where it is known."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from tristream.anomaly.evaluation import Labels
from tristream.anomaly.events import Event, Score
from tristream.fusion.folder import write_atomically
from tristream.fusion.thumbnails import thumbnails
from tristream.streams.errors import UsageError

DOTS_PER_INCH = 120
WIDTH_INCHES, CURVE_INCHES, PICTURE_INCHES = 11.0, 1.5, 1.4
MOST_VIDEOS = 40
MOST_PICTURES = 6  # a video: of its strangest events
CURVE, EVENT, TRUTH, LEVEL = "#4477aa", "#ee6677", "#bbbbbb", "#aa3377"  # Tol's bright, safe for the colour-blind


@dataclass(frozen=True)
class Strip:
    """What is drawn of one video; `labels` (T,) are of its frames, `fps` a second."""

    path: str
    scores: Sequence[Score]
    events: Sequence[Event]
    labels: Labels | None = None
    fps: float | None = None


def write_plot(path: Path, strips: Sequence[Strip], level: float | None, frames_fps: float | None = None) -> None:
    """Draw the videos, one below the other, as `.png`, whole or not at all; of more than 40 the 40 strangest.

    Raises:
        UsageError: it cannot be written there.
    """
    ranked = sorted(strips, key=lambda strip: -max((score.score for score in strip.scores), default=0.0))
    chosen = [strip for strip in strips if strip in ranked[:MOST_VIDEOS] and strip.scores]
    data = draw(chosen, level, frames_fps)
    try:
        write_atomically(path, data)
    except OSError as error:
        raise UsageError(f"cannot write the plot {path}: {error.strerror or error}") from error


def draw(strips: Sequence[Strip], level: float | None, frames_fps: float | None = None) -> bytes:
    """The picture, as PNG."""
    heights = [inches for strip in strips for inches in _heights(strip)] or [CURVE_INCHES]
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights) + 0.4), layout="constrained")
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    highest = max((score.score for strip in strips for score in strip.scores), default=1.0)
    lowest = min((score.score for strip in strips for score in strip.scores), default=0.0)
    row = 0
    for strip in strips:
        axes = figure.add_subplot(grid[row])
        _draw_curve(axes, strip, level)
        if lowest > 0:  # scores of the autoencoder go over decades
            axes.set_yscale("log")
            axes.set_ylim(lowest / 1.3, highest * 1.5)
        row += 1
        if strip.events:
            places = grid[row].subgridspec(1, MOST_PICTURES, wspace=0.02)
            _draw_peaks([figure.add_subplot(places[column]) for column in range(MOST_PICTURES)], strip, frames_fps)
            row += 1
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH)
    return file.getvalue()


def _heights(strip: Strip) -> list[float]:
    return [CURVE_INCHES, PICTURE_INCHES] if strip.events else [CURVE_INCHES]


def _draw_curve(axes: Axes, strip: Strip, level: float | None) -> None:
    if strip.labels is not None and strip.fps:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], strip.labels.astype(int), [0]])))
        for begin, end in edges.reshape(-1, 2) / strip.fps:
            axes.axvspan(begin, end, color=TRUTH, alpha=0.4, linewidth=0)
    for event in strip.events:
        axes.axvspan(event.start_seconds, event.end_seconds, ymax=0.06, color=EVENT, linewidth=0)
    axes.plot([score.seconds for score in strip.scores], [score.score for score in strip.scores], color=CURVE)
    for number, event in enumerate(_strangest(strip), 1):
        axes.annotate(str(number), (event.peak.seconds, event.peak.score), ha="center", va="bottom", fontsize=8)
    if level is not None:
        axes.axhline(level, color=LEVEL, linestyle="--", linewidth=1)
    axes.set_title(Path(strip.path).name, fontsize=9, loc="left")
    axes.margins(x=0)
    axes.tick_params(labelsize=7)
    axes.set_ylabel("score", fontsize=8)
    axes.xaxis.set_major_formatter(lambda seconds, _: f"{int(seconds) // 60}:{int(seconds) % 60:02d}")


def _draw_peaks(places: Sequence[Axes], strip: Strip, frames_fps: float | None) -> None:
    events = _strangest(strip)
    pictures = thumbnails([(strip.path, event.peak.seconds) for event in events], fps=frames_fps)
    for axes in places:
        axes.set_axis_off()
    for number, (axes, event, picture) in enumerate(zip(places, events, pictures, strict=False), 1):
        if picture is None:
            axes.text(0.5, 0.5, "no picture", ha="center", fontsize=8, color="0.5")
            continue
        image = np.asarray(Image.open(io.BytesIO(picture)))
        axes.imshow(image)
        height, width = image.shape[:2]
        if event.peak.box is not None:
            left, top, right, bottom = event.peak.box
            size = (right - left) * width, (bottom - top) * height
            axes.add_patch(Rectangle((left * width, top * height), *size, fill=False, color=EVENT, linewidth=1.5))
        streams = ", ".join(stream for stream in event.peak.shares) if len(event.peak.shares) > 1 else ""
        axes.set_title(f"{number}.  {event.peak.score:.3g}  {streams}".rstrip(), fontsize=7, loc="left", pad=2)


def _strangest(strip: Strip) -> list[Event]:
    """The events whose peaks are shown, in the order of time."""
    ranked = sorted(strip.events, key=lambda event: -event.peak.score)[:MOST_PICTURES]
    return sorted(ranked, key=lambda event: event.peak.seconds)
