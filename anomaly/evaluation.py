"""Scores and events against frame labels: AUROC, average precision, false alarms an hour, detection delay."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from tristream.anomaly.calibration import HOUR_SECONDS
from tristream.anomaly.events import Event, Score
from tristream.fusion.blocks import Floats
from tristream.streams.errors import UsageError

Labels = NDArray[np.bool_]  # (T,) one a frame


@dataclass(frozen=True)
class Labelled:
    """One video with the truth: its frames' labels (T,), how many a second there are, and what was found."""

    name: str
    labels: Labels
    fps: float
    scores: Sequence[Score]
    events: Sequence[Event]

    @property
    def frame_scores(self) -> Floats:
        """A score for each frame (T,): between those of the windows around it, in proportion."""
        return at_frames(self.scores, len(self.labels), self.fps)

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Start and end in seconds of each run of anomalous frames."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], self.labels, [False]]).astype(np.int8)))
        return [(float(begin) / self.fps, float(end) / self.fps) for begin, end in edges.reshape(-1, 2)]


@dataclass(frozen=True)
class Evaluation:
    """How well anomalous frames are told from normal ones.

    Attributes:
        auroc_micro: over the frames of all videos together, scores as they are.
        auroc_macro: the mean over the videos that hold both kinds of frames.
        average_precision: over the frames of all videos together.
        false_alarms: events that opened by a window without an anomalous frame; `false_alarms_per_hour` of normal
            footage.
        detected, anomalies: runs of anomalous frames that an event touches, and all.
        delay_seconds: from the beginning of a run to when its first alarm was known, at the median of those detected.
    """

    videos: int
    frames: int
    anomalous_frames: int
    auroc_micro: float | None
    auroc_macro: float | None
    average_precision: float | None
    false_alarms: int | None
    false_alarms_per_hour: float | None
    detected: int | None
    anomalies: int
    delay_seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON data."""
        return asdict(self)


def evaluate(videos: Sequence[Labelled], *, with_events: bool = True) -> Evaluation:
    """Compare what was found with the truth; `with_events` where there was a threshold.

    AUROC and average precision are None where frames of one kind are all there is.
    """
    truth = np.concatenate([video.labels for video in videos])
    scores = np.concatenate([video.frame_scores for video in videos])
    both = truth.any() and not truth.all()
    apart = [video for video in videos if video.labels.any() and not video.labels.all()]
    macro = [roc_auc_score(video.labels, video.frame_scores) for video in apart]
    false = sum(1 for video in videos for event in video.events if not _opened_in(event, video.spans))
    normal_hours = sum(float((~video.labels).sum()) / video.fps for video in videos) / HOUR_SECONDS
    delays = [delay for video in videos for delay in _delays(video)]
    seen = [delay for delay in delays if delay is not None]
    return Evaluation(
        videos=len(videos),
        frames=len(truth),
        anomalous_frames=int(truth.sum()),
        auroc_micro=float(roc_auc_score(truth, scores)) if both else None,
        auroc_macro=float(np.mean(macro)) if macro else None,
        average_precision=float(average_precision_score(truth, scores)) if both else None,
        false_alarms=false if with_events else None,
        false_alarms_per_hour=false / normal_hours if with_events and normal_hours else None,
        detected=len(seen) if with_events else None,
        anomalies=len(delays),
        delay_seconds=float(np.median(seen)) if seen else None,
    )


def at_frames(scores: Sequence[Score], frames: int, fps: float) -> Floats:
    """A score for each of so many frames (T,), in proportion between the windows' middles."""
    seconds = (np.arange(frames) + 0.5) / fps
    found = np.interp(seconds, [score.seconds for score in scores], [score.score for score in scores])
    return np.asarray(found, np.float64)


def read_labels(path: Path) -> dict[str, Labels]:
    """Frame labels by video, of a CSV with the columns `clip,frame,anomalous` (0 or 1), a row a frame in order.

    Raises:
        UsageError: the file cannot be read, or is no such CSV.
    """
    labels: dict[str, list[bool]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                if row.get("anomalous") not in ("0", "1") or not row.get("clip"):
                    raise UsageError(f"{path}, line {number}: needs columns clip,frame,anomalous (0 or 1), got {row}")
                labels.setdefault(row["clip"], []).append(row["anomalous"] == "1")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the labels {path} cannot be read: {error}") from error
    if not labels:
        raise UsageError(f"{path} holds no labels: it is a CSV of clip,frame,anomalous, a row a frame")
    return {clip: np.array(values) for clip, values in labels.items()}


def labels_of(path: str, labels: Mapping[str, Labels]) -> Labels | None:
    """The labels of a video: those of its name, with or without its suffix; None where there are none."""
    name = Path(path).name
    return labels.get(name, labels.get(Path(path).stem))


def _opened_in(event: Event, spans: Sequence[tuple[float, float]]) -> bool:
    """Whether the window that opened an event holds anything of the spans."""
    first = 2 * event.start_seconds - event.alarm_seconds  # start_seconds is its middle
    return any(first < end and event.alarm_seconds > begin for begin, end in spans)


def _touches(event: Event, spans: Sequence[tuple[float, float]]) -> bool:
    first, last = min(event.start_seconds, event.peak.start_seconds), event.end_seconds
    return any(first < end and last > begin for begin, end in spans)


def _delays(video: Labelled) -> list[float | None]:
    """For each anomalous run, the seconds until an alarm was known; None where there was none."""
    delays: list[float | None] = []
    for begin, end in video.spans:
        touching = [event for event in video.events if _touches(event, [(begin, end)])]
        delays.append(max(0.0, touching[0].alarm_seconds - begin) if touching else None)
    return delays
