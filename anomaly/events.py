"""Scores over time in, events out, one by one as they end: hysteresis, so that one event is not told as many."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tristream.anomaly.calibration import Calibration
from tristream.streams.grid import Box


@dataclass(frozen=True)
class Score:
    """How strange [start_seconds, end_seconds) is: the score of its strangest tile, as smoothed, and why.

    `shares` are the streams' parts of it, in the proportions of the tile's own score, and `box` is where the tile is.
    """

    start_seconds: float
    end_seconds: float
    score: float
    box: Box | None
    shares: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """The middle."""
        return (self.start_seconds + self.end_seconds) / 2


@dataclass(frozen=True)
class Event:
    """A span in which something strange was seen. `alarm_seconds` is when that was known: the end of the window."""

    start_seconds: float
    alarm_seconds: float
    peak: Score
    end_seconds: float
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {
            "start_seconds": self.start_seconds,
            "alarm_seconds": self.alarm_seconds,
            "peak_seconds": self.peak.seconds,
            "end_seconds": self.end_seconds,
            "score": self.peak.score,
            "p_value": self.p_value,
            "streams": dict(self.peak.shares),
            "box": None if self.peak.box is None else [round(side, 4) for side in self.peak.box],
        }


@dataclass(frozen=True)
class Levels:
    """An event opens above `alarm`; it goes on while scores are above `calm`, and is over `join_seconds` after."""

    alarm: float
    calm: float
    join_seconds: float


class EventFinder:
    """Finds the events of one source in its scores, which come in the order of time."""

    def __init__(self, levels: Levels, calibration: Calibration) -> None:
        self._levels, self._calibration = levels, calibration
        self._open: Event | None = None

    @property
    def open(self) -> Event | None:
        """The event that goes on, as far as it is known."""
        return None if self._open is None else self._judged(self._open)

    def add(self, score: Score) -> Iterator[Event]:
        """Take the next score; the event that it shows to be over, if there is one."""
        if self._open is not None and score.seconds - self._open.end_seconds > self._levels.join_seconds:
            yield from self.finish()
        if self._open is None:
            if score.score > self._levels.alarm:
                self._open = Event(score.seconds, score.end_seconds, score, score.seconds, 1.0)
        elif score.score > self._levels.calm:
            peak = max(self._open.peak, score, key=lambda each: each.score)
            self._open = replace(self._open, peak=peak, end_seconds=score.seconds)

    def finish(self) -> Iterator[Event]:
        """Close the event that goes on, if there is one."""
        if self._open is not None:
            event, self._open = self._open, None
            yield self._judged(event)

    def _judged(self, event: Event) -> Event:
        return replace(event, p_value=self._calibration.p_value(event.peak.score))
