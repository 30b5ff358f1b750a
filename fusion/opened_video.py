"""A file that is being embedded: its clips, one after the other, and what is known of it in the end.

steps -> tiles (T, P, ...) -> CNN (T, P, F) -> recurrent (P, D_s) a clip -> joined (P, D), with what is present
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from time import perf_counter
from typing import TYPE_CHECKING

from torch import Tensor

from tristream.fusion.clip_maker import ClipMaker
from tristream.fusion.embedding import NO_VECTOR, ClipEmbedding, VideoEmbedding, join_clips, shifted
from tristream.fusion.tiles import tile_features
from tristream.fusion.windows import Windows
from tristream.streams.config import StreamName
from tristream.streams.errors import MediaError
from tristream.streams.excerpt import Excerpt
from tristream.streams.flow import FlowEngine
from tristream.streams.frame_folder import FrameFolder
from tristream.streams.media import MediaInfo, MediaReader
from tristream.streams.pipeline import read_steps
from tristream.streams.sampling import ROUNDING_SECONDS, step_distance_seconds
from tristream.streams.side_by_side import AT_ONCE, cnn_pool
from tristream.streams.steps import StepPlan, Steps, Timings

if TYPE_CHECKING:  # which makes these
    from tristream.fusion.model import Model


class OpenedVideo:
    """A file that is being embedded: `clips` gives its clips, once, as they become known. Close it, or use `with`."""

    def __init__(
        self,
        model: "Model",
        reader: MediaReader | FrameFolder,
        plan: StepPlan,
        engine: FlowEngine | None,
        windows: Windows,
        batch_size: int,
        moment: tuple[float, float] | None,
    ) -> None:
        self._model, self._windows, self._batch_size = model, windows, batch_size
        self._opened = reader
        self._reader = reader if moment is None else Excerpt(reader, *moment)
        self._from_seconds = moment[0] if moment else 0.0
        self._plan, self._engine = plan, engine
        self._timings = Timings()

    def __enter__(self) -> "OpenedVideo":
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.__exit__(None, None, None)

    @property
    def info(self) -> MediaInfo:
        """What the file says of itself."""
        return self._reader.info

    def clips(self) -> Iterator[ClipEmbedding]:
        """The clips in the order of time, of each those of all tiles.

        Raises:
            MediaError: the file cannot be decoded, or has none of the model's streams.
        """
        model = self._model
        awaited = streams_of(self.info) & model.streams.keys()
        maker = ClipMaker(model.streams, model.config.sampling, self._windows, awaited)
        given = False
        # Closed before the file is, whatever happens: its threads read from it.
        with closing(read_steps(self._reader, self._plan, self._engine, self._timings)) as pieces:
            for steps, part, features in self._features(pieces):
                for clip in self._shifted(maker.add(steps.stream, features, steps, part)):
                    given = True
                    yield clip
        for clip in self._shifted(maker.finish(self._reader.duration_seconds)):
            given = True
            yield clip
        if not given:
            raise MediaError(
                f"{self._reader.path} holds nothing that the streams {', '.join(model.streams)} could embed"
            )

    def summary(self, clips: tuple[ClipEmbedding, ...]) -> VideoEmbedding:
        """What is known of the file once all its clips have come, with the vector of the whole."""
        vector, present = join_clips(clips) if clips else (NO_VECTOR, {})
        model, reader, timings = self._model, self._reader, self._timings
        video = reader.info.video
        return VideoEmbedding(
            path=str(reader.path),
            model_id=model.model_id,
            vector=vector,
            present=present,
            dims=model.dims,
            clips=clips,
            warnings=tuple(filter(None, (model.source.warning, *reader.warnings, self._too_short()))),
            duration_seconds=reader.duration_seconds,
            fps=video.fps if video else None,
            width=video.width if video else None,
            height=video.height if video else None,
            decode_seconds=timings.decode_seconds,
            flow_seconds=timings.flow_seconds,
            model_seconds=timings.model_seconds,
        )

    def _too_short(self) -> str:
        """What to say of windows that are shorter than the time between two steps."""
        video, window_seconds = self.info.video, self._windows.window_seconds
        if video is None or not self._plan.needs_video:
            return ""
        apart = step_distance_seconds(self._plan.sampling, video.fps)
        frame_seconds = 1 / min(video.fps, self._plan.sampling.max_fps)  # a step lasts until the next frame
        if window_seconds >= apart - ROUNDING_SECONDS or apart <= frame_seconds + ROUNDING_SECONDS:
            return ""
        strategy = self._plan.sampling.strategy
        return f"some windows of {window_seconds:g} s have no picture: {strategy} takes one each {apart:.2f} s"

    def _features(self, pieces: Iterable[Steps]) -> Iterator[tuple[Steps, slice, Tensor]]:
        """The features (T, P, F) of some steps at a time, in the order of the pieces; a few are made side by side."""
        at_once = max(1, self._batch_size // self._windows.grid.tiles)
        waiting: deque[tuple[Steps, slice, Future[tuple[Tensor, float]]]] = deque()
        try:
            for steps in pieces:
                for first in range(0, len(steps), at_once):
                    part = slice(first, min(first + at_once, len(steps)))
                    waiting.append((steps, part, cnn_pool().submit(self._part_features, steps, part)))
                    if len(waiting) > AT_ONCE:
                        yield self._awaited(*waiting.popleft())
            while waiting:
                yield self._awaited(*waiting.popleft())
        finally:
            for *_, result in waiting:  # after an error, or where the consumer stops early
                result.cancel()

    def _part_features(self, steps: Steps, part: slice) -> tuple[Tensor, float]:
        """The features of a part, and the seconds that they took."""
        began = perf_counter()
        features = tile_features(self._model.streams[steps.stream], steps.take(part), self._windows.grid)
        return features, perf_counter() - began

    def _awaited(self, steps: Steps, part: slice, result: Future[tuple[Tensor, float]]) -> tuple[Steps, slice, Tensor]:
        features, seconds = result.result()
        self._timings.model_seconds += seconds
        return steps, part, features

    def _shifted(self, clips: Iterable[ClipEmbedding]) -> Iterator[ClipEmbedding]:
        """Clips on the clock of the file; counts the time that making them takes."""
        clips = iter(clips)
        while True:
            began = perf_counter()
            clip = next(clips, None)
            self._timings.model_seconds += perf_counter() - began
            if clip is None:
                return
            yield shifted(clip, self._from_seconds) if self._from_seconds else clip


def streams_of(info: MediaInfo) -> set[StreamName]:
    """The streams that a file can have, as it tells."""
    pictures: set[StreamName] = {"spatial", "temporal"} if info.video else set()
    return pictures | {"audio"} if info.audio else pictures
