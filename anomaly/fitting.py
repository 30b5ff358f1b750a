"""A table of normal footage in, a calibrated detector out: the first part is learnt from, the last one held out.

rows of clips (N, P, D) in the order of files and time -> fit on the first, peaks of blocks of the last
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tristream.anomaly.baselines import AUTOENCODER
from tristream.anomaly.calibration import (
    HOUR_SECONDS,
    Calibration,
    alarms_an_hour,
    block_peaks,
    clock_hours,
    hours_needed,
)
from tristream.anomaly.detector import About, Detector, make_estimator, places_of, rows_of
from tristream.anomaly.footage import Footage, clips_of, vectors_of, videos_of
from tristream.anomaly.scoring import scores_of
from tristream.fusion.blocks import Floats
from tristream.fusion.parts import about_table, windows_of
from tristream.fusion.windows import Windows
from tristream.streams.errors import UsageError

MOST_BYTES = 256 << 20  # of rows that are learnt from, in float64; of more footage, windows evenly spread over it
LEAST_WINDOWS = 20  # that can be learnt from

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FitSettings:
    """How a detector is made of a table.

    Args:
        detector: `autoencoder`, or another for comparison (see BaselineDetector).
        parameters: of the autoencoder.
        hold_out: the share of the footage, its last, that thresholds come from; 0 for a detector that only scores.
        false_alarms_per_hour: what the threshold allows; None for one that only scores.
        smooth_seconds: over which scores are averaged.
    """

    detector: str = AUTOENCODER
    parameters: Mapping[str, Any] | None = None
    hold_out: float = 0.3
    false_alarms_per_hour: float | None = 1.0
    smooth_seconds: float = 1.0

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            UsageError: it cannot.
        """
        if not 0 <= self.hold_out < 1:
            raise UsageError(f"--hold-out is a share from 0 to below 1, got {self.hold_out}")
        if not 0 <= self.smooth_seconds < 3600:
            raise UsageError(f"--smooth is from 0 to below 3600 seconds, got {self.smooth_seconds}")
        rate = self.false_alarms_per_hour
        if rate is not None and not 0 < rate < inf:
            raise UsageError(f"--false-alarms-per-hour is a positive number, got {rate}")

    def check_footage(self, seconds: float) -> None:
        """Refuse too little footage before any time is spent on it.

        Raises:
            UsageError: a threshold needs more.
        """
        rate = self.false_alarms_per_hour
        if not self.hold_out or rate is None:
            return
        held_hours, needed = seconds * self.hold_out / HOUR_SECONDS, hours_needed(rate)
        if held_hours < needed:
            raise UsageError(
                f"a threshold with {alarms_an_hour(rate)} needs {clock_hours(needed)} of held-out normal "
                f"footage, {clock_hours(needed / self.hold_out)} in all at --hold-out {self.hold_out:g}; there are "
                f"{clock_hours(held_hours)}: give more, or --false-alarms-per-hour {1.5 / max(held_hours, 1e-3):.3g}, "
                "or --hold-out 0 for a detector that scores and raises no alarms"
            )


def fit_detector(
    table: Path, settings: FitSettings | None = None, progress: Progress = lambda done, total: None
) -> Detector:
    """Fit a detector on a table of normal footage, of files in the order of their paths, and calibrate it.

    Raises:
        TableError: no table, a damaged one, or one without embeddings.
        UsageError: too little footage for what is asked, which is said, or settings that cannot be.
    """
    settings = settings or FitSettings()
    settings.check()
    about = about_table(table)
    windows = windows_of(about)
    dims = {stream: place["length"] for stream, place in about["streams"].items()}
    videos = videos_of(table, windows)
    total = sum(video.windows for video in videos)
    learn = round(total * (1 - settings.hold_out))
    if learn < LEAST_WINDOWS:
        raise UsageError(
            f"a detector learns from {LEAST_WINDOWS} windows of normal footage or more, got {learn}: give more footage"
        )
    settings.check_footage(total * windows.stride_seconds)
    estimator = make_estimator(settings.detector, dims, windows.grid, settings.parameters or {})
    estimator.fit(_rows(videos, learn, windows, sum(dims.values())))
    fps = [video.fps for video in videos if video.fps]
    described = About(
        model_id=about["model_id"],
        model=about["model"],
        dims=dims,
        window_seconds=windows.window_seconds,
        stride_seconds=windows.stride_seconds,
        grid_rows=windows.grid.rows,
        grid_columns=windows.grid.columns,
        asked=about.get("asked", {}),
        detector=settings.detector,
        parameters=_parameters(estimator),
        smooth_seconds=settings.smooth_seconds,
        false_alarms_per_hour=settings.false_alarms_per_hour if settings.hold_out else None,
        fps=median(fps) if fps else None,
        fitted_seconds=learn * windows.stride_seconds,
        held_out_seconds=(total - learn) * windows.stride_seconds,
    )
    fitted = Detector(described, estimator, Calibration(np.zeros(0)))
    runs = _held_out_runs(fitted, videos, learn, windows, progress)
    calibrated = Detector(described, estimator, Calibration(block_peaks(runs)))
    calibrated.levels()  # refuses a rate for which there is too little footage
    return calibrated


def _rows(videos: list[Footage], learn: int, windows: Windows, width: int) -> Floats:
    """The rows (N, D + C) that are learnt from, in the order of time."""
    places = places_of(windows.grid)
    most = max(1, MOST_BYTES // (8 * windows.grid.tiles * (width + places.shape[1])))
    chosen = set(np.linspace(0, learn - 1, min(learn, most)).round().astype(int).tolist())
    rows, number = [], 0
    for video, vectors, _ in vectors_of(videos, windows):
        if number >= learn:
            break
        kept = [place for place in range(len(vectors)) if number + place in chosen]
        rows.append(rows_of(vectors[kept], places))
        number += video.windows
    return np.concatenate(rows)


def _held_out_runs(
    detector: Detector, videos: list[Footage], learn: int, windows: Windows, progress: Progress
) -> Iterator[tuple[Floats, Floats]]:
    """Times and scores of each video's windows that were not learnt from, nor overlap with such."""
    ends = np.cumsum([video.windows for video in videos])
    later = [video for video, end in zip(videos, ends, strict=True) if end > learn]
    number = int(ends[-1]) - sum(video.windows for video in later)
    for done, (video, vectors, spans) in enumerate(vectors_of(later, windows)):
        first = max(0, learn - number)
        if first:
            first += int(np.ceil(windows.window_seconds / windows.stride_seconds))
        clips = clips_of(vectors[first:], spans[first:], detector.about.dims)
        scores = list(scores_of(detector, clips))
        number += video.windows
        progress(done + 1, len(later))
        yield np.array([score.end_seconds for score in scores]), np.array([score.score for score in scores])


def _parameters(estimator: Any) -> dict[str, Any]:
    """What an estimator was made with, but for the dims, as plain JSON data."""
    return {name: value for name, value in estimator.get_params(deep=False).items() if name != "dims"}
