"""One camera between two losses: features of its steps in, scores and events out."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, time

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tristream.anomaly.cameras import Camera
from tristream.anomaly.detector import Detector
from tristream.anomaly.events import Event, EventFinder, Levels
from tristream.anomaly.notes import Alarm, Note, Scored
from tristream.anomaly.scoring import Scorer, windows_of
from tristream.fusion.clip_maker import ClipMaker
from tristream.fusion.embedding import ClipEmbedding
from tristream.fusion.model import Model
from tristream.fusion.opened_video import streams_of
from tristream.streams.errors import UsageError
from tristream.streams.grid import Grid, parse_grid
from tristream.streams.live_steps import Piece
from tristream.streams.media_info import MediaInfo
from tristream.streams.newest import Gap
from tristream.streams.steps import Steps

LAG_SECONDS = 2.0  # that a score waits for a stream that falls behind: an example of sound is a second
MOST_GAPS = 1000  # that are remembered; each comes after at least 0.75 s
MASKED_SHARE = 0.5  # of a tile that is left out
MISSING_SHARE = 0.2  # of a window that may have been dropped: with more, it is strange for what is not in it
SHORTEST_SHARE = 0.5  # of a window that still is scored, when a camera is lost


class Watch:
    """What is done with one connection of a camera."""

    def __init__(
        self,
        camera: Camera,
        detector: Detector,
        levels: Levels | None,
        ignored: NDArray[np.bool_] | None,
        model: Model,
        info: MediaInfo,
    ) -> None:
        self._camera, self._detector, self._levels = camera.name, detector, levels
        self._windows = detector.about.windows
        awaited = streams_of(info) & model.streams.keys()
        self._maker = ClipMaker(model.streams, model.config.sampling, self._windows, awaited, LAG_SECONDS)
        self._scorer = Scorer(detector, ignored)
        self._finder = EventFinder(levels, detector.calibration) if levels else None
        self._told = (-1.0, 0.0)  # the start of the event that was told of as open, and when time 0 was by then
        self._newest_seconds = self._began_seconds = 0.0
        self._gaps: deque[Gap] = deque(maxlen=MOST_GAPS)

    def meet(self, piece: Piece) -> None:
        """Take what a piece tells of its source; to be called for each, before `add`."""
        self._newest_seconds, self._began_seconds = piece.newest_seconds, piece.began_seconds
        self._gaps.extend(piece.gaps)

    def add(self, steps: Steps, features: Tensor) -> Iterator[Note]:
        """Take steps with their features (T, P, F); the scores and alarms that follow."""
        yield from self._scores(list(self._maker.add(steps.stream, features, steps, slice(None))))

    def finish(self) -> Iterator[Note]:
        """What is left when the camera is lost, or no longer watched."""
        clips = list(self._maker.finish(self._newest_seconds))
        shortest = SHORTEST_SHARE * self._windows.window_seconds
        yield from self._scores([clip for clip in clips if clip.end_seconds - clip.start_seconds >= shortest])
        for event in self._finder.finish() if self._finder else ():
            yield self._alarm(event, over=True)

    def _scores(self, clips: list[ClipEmbedding]) -> Iterator[Note]:
        windows = [window for window in windows_of(clips, self._windows.grid.tiles) if self._is_whole(window[0])]
        for score in self._scorer.add(windows) if windows else ():
            over = list(self._finder.add(score)) if self._finder else []
            for event in over:
                yield self._alarm(event, over=True)
            opened = self._finder.open if self._finder else None
            if opened is not None and opened.start_seconds != self._told[0]:
                self._told = opened.start_seconds, world_seconds(self._began_seconds)
                yield self._alarm(opened, over=False)
            moment = self._began_seconds + score.end_seconds
            level, late_seconds = self._levels.alarm if self._levels else None, monotonic() - moment
            yield Scored(self._camera, score, level, world_seconds(moment), late_seconds, opened is not None)

    def _is_whole(self, clip: ClipEmbedding) -> bool:
        """Whether no more of a clip is missing than may be."""
        missing_seconds = sum(
            max(0.0, min(end_seconds, clip.end_seconds) - max(start_seconds, clip.start_seconds))
            for start_seconds, end_seconds in self._gaps
        )
        return missing_seconds <= MISSING_SHARE * (clip.end_seconds - clip.start_seconds)

    def _alarm(self, event: Event, *, over: bool) -> Alarm:
        # The estimate of when time 0 was moves by milliseconds: an event keeps the one that it opened with.
        return Alarm(self._camera, over, event, self._told[1])


def world_seconds(moment: float) -> float:
    """A moment of the monotonic clock in seconds since 1970, by the clock of now, which may have been set since."""
    return time() - monotonic() + moment


def levels_of(camera: Camera, detector: Detector) -> Levels | None:
    """From which scores on a camera's events open and go on; None where there is no threshold.

    Raises:
        UsageError: too little footage was held out for so low a rate.
    """
    levels = detector.levels(camera.false_alarms_per_hour)
    if camera.threshold is None:
        return levels
    join_seconds = detector.calibration.block_seconds
    calm = camera.threshold if levels is None else min(levels.calm, camera.threshold)
    return Levels(camera.threshold, calm, join_seconds)


def ignored_tiles(camera: Camera, grid: Grid) -> NDArray[np.bool_] | None:
    """The tiles (P,) that the camera's mask leaves out.

    Raises:
        UsageError: the mask cannot be read, or leaves nothing to look at; or the grid is not the one asked for.
    """
    if camera.grid is not None and parse_grid(camera.grid) != grid:
        raise UsageError(f"camera {camera.name}: its detector has a grid of {grid}, not {camera.grid}: fit one with it")
    if camera.mask is None:
        return None
    picture = cv2.imread(camera.mask, cv2.IMREAD_GRAYSCALE) if Path(camera.mask).is_file() else None
    if picture is None:
        raise UsageError(f"camera {camera.name}: the mask {camera.mask} is no picture that can be read")
    if grid.is_whole:
        raise UsageError(f"camera {camera.name}: a mask leaves out tiles, and its detector has none: fit with --grid")
    white = np.asarray(picture, np.float32) > 127  # (H, W)
    shares = grid.cut(white[None].astype(np.float32), axis=1).mean(axis=(0, 2, 3))  # (P,)
    ignored: NDArray[np.bool_] = shares < MASKED_SHARE
    if ignored.all():
        raise UsageError(f"camera {camera.name}: the mask {camera.mask} leaves no tile to look at")
    return ignored
