"""Many cameras, one embedder: what their processes send goes through the networks together, and each is scored.

Cameras -> Feed each -> Pieces -> CNN (T, P, F) of all -> Watch each -> Notes
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event

import numpy as np
from numpy.typing import NDArray

from tristream.anomaly.cameras import Camera, check_names
from tristream.anomaly.detector import Detector, load_detector
from tristream.anomaly.events import Levels
from tristream.anomaly.feed import Feed, Inbox, Message
from tristream.anomaly.notes import Listener, Pulse, State
from tristream.anomaly.watch import Watch, ignored_tiles, levels_of, world_seconds
from tristream.fusion.model import Model, open_model
from tristream.fusion.plan import flow_engine, step_plan
from tristream.fusion.tiles import features_together
from tristream.streams.errors import UsageError
from tristream.streams.live_steps import Opened, Piece, Watched
from tristream.streams.placement import DtypeName

LOOK_SECONDS = 0.2  # in which a wish to stop is noticed


@dataclass(frozen=True, eq=False)
class _Ready:
    """A camera with all that is needed to watch it."""

    camera: Camera
    detector: Detector
    model: Model
    levels: Levels | None
    ignored: NDArray[np.bool_] | None


class Watcher:
    """Watches cameras until each is at its end, or it is told to stop.

    Args:
        cameras: which, and with which detectors.
        model: where the detectors' model is, if not where it was.
        batch_size: steps that go through a CNN together.
        pictures: whether Pulse notes shall have pictures of what is seen.

    Raises:
        DetectorError, ModelError: a detector or its model is missing, damaged or of another kind.
        UsageError: two cameras of one name, or a threshold, mask or grid that cannot be.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        *,
        model: str | None = None,
        device: str = "auto",
        dtype: DtypeName = "auto",
        batch_size: int = 64,
        pictures: bool = False,
    ) -> None:
        if not cameras:
            raise UsageError("there is no camera to watch")
        check_names(cameras, "the list")
        detectors = {folder: load_detector(folder) for folder in dict.fromkeys(camera.detector for camera in cameras)}
        sources = {folder: detector.find_model(model) for folder, detector in detectors.items()}
        settings = [
            (levels_of(camera, detector), ignored_tiles(camera, detector.about.windows.grid))
            for camera in cameras
            for detector in [detectors[camera.detector]]
        ]
        by_id = {source.model_id: source for source in sources.values()}
        self._models = {model_id: open_model(source, device=device, dtype=dtype) for model_id, source in by_id.items()}
        self._cameras = [
            _Ready(camera, detectors[camera.detector], self._models[sources[camera.detector].model_id], *setting)
            for camera, setting in zip(cameras, settings, strict=True)
        ]
        self._batch_size, self._pictures = batch_size, pictures
        self._watches: dict[int, Watch] = {}

    def run(self, tell: Listener, stop: Event) -> dict[str, str]:
        """Watch; returns what became of the cameras that failed, by name.

        All that is said, is said to `tell`, in this thread. Events that go on when it ends are told as over.
        """
        inbox, failed = Inbox(), {}
        feeds = [
            Feed(number, self._watched(ready), ready.camera.retry, inbox) for number, ready in enumerate(self._cameras)
        ]
        going = set(range(len(feeds)))
        try:
            for ready, feed in zip(self._cameras, feeds, strict=True):
                tell(State(ready.camera.name, "connecting"))
                feed.start()
            while going and not stop.is_set():
                for feed in feeds:
                    feed.check()
                for number, error in self._take(inbox.take(LOOK_SECONDS), tell):
                    going.discard(number)
                    if error is not None:
                        failed[self._cameras[number].camera.name] = error
        finally:
            for feed in feeds:
                feed.stop()
            for feed in feeds:
                feed.join()
        self._take(inbox.take(0), tell)
        for number in list(self._watches):
            self._finish(number, tell)
        return failed

    def _watched(self, ready: _Ready) -> Watched:
        model = ready.model
        plan = step_plan(model.config, model.picture, ready.detector.about.windows)
        engine = partial(flow_engine, model.source, plan, model.device)
        return Watched(ready.camera.address, plan, engine, ready.camera.fps, self._pictures)

    def _take(self, messages: list[tuple[int, Message]], tell: Listener) -> list[tuple[int, str | None]]:
        """Take what came; the cameras that are at their end, with the error of those that failed."""
        pieces: list[tuple[int, Piece]] = []
        ended: list[tuple[int, str | None]] = []
        for number, message in messages:
            if isinstance(message, Piece):
                pieces.append((number, message))
                continue
            self._embed(pieces, tell)
            pieces = []
            name = self._cameras[number].camera.name
            if isinstance(message, Opened):
                self._open(number, message, tell)
                continue
            self._finish(number, tell)
            if message.pause_seconds is not None:
                tell(State(name, "lost", message.error or "it ended", pause_seconds=message.pause_seconds))
            else:
                tell(State(name, "failed" if message.error else "ended", message.error or ""))
                ended.append((number, message.error))
        self._embed(pieces, tell)
        return ended

    def _open(self, number: int, opened: Opened, tell: Listener) -> None:
        ready = self._cameras[number]
        self._finish(number, tell)
        self._watches[number] = Watch(
            ready.camera, ready.detector, ready.levels, ready.ignored, ready.model, opened.info
        )
        fps = opened.info.video.fps if opened.info.video else None
        none = "its detector has no threshold (--hold-out 0), so that it is scored and raises no alarms"
        pace = ready.detector.other_pace(min(filter(None, (fps, ready.camera.fps)), default=None))
        warning = "; ".join(filter(None, [pace, "" if ready.levels else none]))
        tell(State(ready.camera.name, "watching", warning, fps=fps))

    def _finish(self, number: int, tell: Listener) -> None:
        watch = self._watches.pop(number, None)
        for note in watch.finish() if watch else ():
            tell(note)

    def _embed(self, pieces: list[tuple[int, Piece]], tell: Listener) -> None:
        """Score what came of all cameras; those of one model go through its networks together."""
        for number, piece in pieces:
            name, newest = self._cameras[number].camera.name, piece.began_seconds + piece.newest_seconds
            tell(Pulse(name, piece.came, piece.dropped, piece.frames, world_seconds(newest), piece.pictures))
            self._watches[number].meet(piece)
        for model in self._models.values():
            own = [(number, piece.steps) for number, piece in pieces if self._cameras[number].model is model]
            asked = [(number, steps) for number, steps in own if steps is not None]
            grids = [self._cameras[number].detector.about.windows.grid for number, _ in asked]
            steps_of_all = [steps for _, steps in asked]
            found = features_together(model.streams, list(zip(steps_of_all, grids, strict=True)), self._batch_size)
            for (number, steps), features in zip(asked, found, strict=True):
                for note in self._watches[number].add(steps, features):
                    tell(note)
