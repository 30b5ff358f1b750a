"""Clips of a video in, in the order of time; how strange it is over time out: (P, D) a window -> one Score each."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tristream.anomaly.detector import Detector
from tristream.anomaly.events import Event, EventFinder, Levels, Score
from tristream.fusion.embedding import ClipEmbedding, VideoEmbedding
from tristream.fusion.worker import EmbedFile, Job

WINDOWS_AT_ONCE = 64  # of a file


class Scorer:
    """Scores one source. The score of a window is that of its strangest tile, and of a moment the mean over windows.

    The mean is over those that begin in the last `smooth_seconds`: it goes back in time only, so that a camera gets
    the scores that its recording gets.

    Args:
        detector: of the clips' model.
        ignored: the tiles (P,) that are not looked at.
    """

    def __init__(self, detector: Detector, ignored: NDArray[np.bool_] | None = None) -> None:
        self._detector = detector
        self._ignored = np.zeros(detector.about.windows.grid.tiles, bool) if ignored is None else ignored
        grid = detector.about.windows.grid
        self._boxes = None if grid.is_whole else grid.boxes()
        self._recent: deque[tuple[float, float]] = deque()  # start_seconds, score

    def add(self, windows: Sequence[Sequence[ClipEmbedding]]) -> list[Score]:
        """The scores of windows, each given as the clips of its tiles."""
        vectors = np.stack([[clip.vector for clip in window] for window in windows])  # (N, P, D)
        scores = self._detector.score(vectors)  # (N, P)
        tiles = np.where(self._ignored, -np.inf, scores).argmax(axis=1)  # (N,)
        rows = np.arange(len(tiles))
        shares = self._detector.explain(vectors[rows, tiles], tiles)
        made = []
        for window, score, tile, share in zip(
            windows, scores[rows, tiles].tolist(), tiles.tolist(), shares, strict=True
        ):
            start_seconds, mean = self._smooth(window[0].start_seconds, score)
            box = self._boxes[tile] if self._boxes else None
            parts = {stream: part * mean / score for stream, part in share.items()} if score else share
            made.append(Score(start_seconds, window[0].end_seconds, mean, box, parts))
        return made

    def _smooth(self, start_seconds: float, score: float) -> tuple[float, float]:
        """Where the mean with those before it begins, and the mean."""
        recent = self._recent
        recent.append((start_seconds, score))
        while recent[0][0] < start_seconds - self._detector.about.smooth_seconds + 1e-9 and len(recent) > 1:
            recent.popleft()
        return recent[0][0], sum(each for _, each in recent) / len(recent)


def windows_of(clips: Iterable[ClipEmbedding], tiles: int) -> Iterator[list[ClipEmbedding]]:
    """The clips of a video, in their order, by window."""
    window: list[ClipEmbedding] = []
    for clip in clips:
        window.append(clip)
        if len(window) == tiles:
            yield window
            window = []


def scores_of(detector: Detector, clips: Iterable[ClipEmbedding]) -> Iterator[Score]:
    """The scores of a video along its clips."""
    scorer = Scorer(detector)
    waiting: list[list[ClipEmbedding]] = []
    for window in windows_of(clips, detector.about.windows.grid.tiles):
        waiting.append(window)
        if len(waiting) == WINDOWS_AT_ONCE:
            yield from scorer.add(waiting)
            waiting = []
    if waiting:
        yield from scorer.add(waiting)


def events_of(detector: Detector, levels: Levels, scores: Iterable[Score]) -> list[Event]:
    """The events in the scores of a video."""
    finder = EventFinder(levels, detector.calibration)
    events = [event for score in scores for event in finder.add(score)]
    return [*events, *finder.finish()]


@dataclass(frozen=True)
class ScoredVideo(VideoEmbedding):
    """What is known of a video after scoring: its scores, and no vectors."""

    scores: tuple[Score, ...] = field(default=())


@dataclass(frozen=True)
class ScoreJob(Job):
    """Files are embedded and scored in the worker, clip by clip, so that no embeddings travel or pile up."""

    detector: Detector | None = None

    def open(self) -> tuple[dict[str, int], EmbedFile]:
        """Load the model: the length of each of its streams' vectors, and what scores a file."""
        model, detector = self.load_model(), self.detector
        if detector is None:
            raise ValueError("a ScoreJob has a detector")

        def score_file(path: str) -> ScoredVideo:
            with model.open(path, self.windows, fps=self.fps, batch_size=self.batch_size) as opened:
                scores = tuple(scores_of(detector, opened.clips()))
                return ScoredVideo(**vars(opened.summary(())), scores=scores)

        return {str(name): size for name, size in model.dims.items()}, score_file
