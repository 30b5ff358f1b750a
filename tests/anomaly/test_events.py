"""Events: hysteresis, joining, and that a stream of scores gives the same events however it is cut."""

import numpy as np

from tristream.anomaly.calibration import Calibration
from tristream.anomaly.events import Event, EventFinder, Levels, Score

CALIBRATION = Calibration(np.arange(1.0, 100.0))
LEVELS = Levels(alarm=10.0, calm=5.0, join_seconds=3.0)


def scored(values: list[float]) -> list[Score]:
    """One a second, each of a window of 2 s."""
    return [Score(t, t + 2.0, value, (0.0, 0.0, 0.5, 0.5), {"temporal": value}) for t, value in enumerate(values)]


def found(values: list[float]) -> list[Event]:
    finder = EventFinder(LEVELS, CALIBRATION)
    events = [event for score in scored(values) for event in finder.add(score)]
    return [*events, *finder.finish()]


def test_an_event_goes_on_while_scores_are_not_calm() -> None:
    (event,) = found([0, 0, 11, 6, 30, 7, 4, 0, 0, 0, 0])
    assert (event.start_seconds, event.end_seconds) == (3.0, 6.0)  # middles of windows
    assert event.alarm_seconds == 4.0  # the end of the first window above
    assert (event.peak.score, event.peak.seconds) == (30.0, 5.0)
    assert event.p_value == CALIBRATION.p_value(30.0) == 0.71
    assert event.to_json()["box"] == [0.0, 0.0, 0.5, 0.5]
    assert event.to_json()["streams"] == {"temporal": 30.0}


def test_what_never_reaches_the_alarm_is_no_event() -> None:
    assert found([9.9, 6, 10.0, 7]) == []


def test_near_ones_are_joined_and_far_ones_are_not() -> None:
    assert len(found([11, 0, 0, 11])) == 1
    assert len(found([11, 0, 0, 0, 11])) == 2


def test_an_open_event_is_closed_at_the_end() -> None:
    finder = EventFinder(LEVELS, CALIBRATION)
    assert list(finder.add(scored([20.0])[0])) == []
    assert finder.open is not None
    (event,) = finder.finish()
    assert event.p_value == CALIBRATION.p_value(20.0)
    assert (finder.open, list(finder.finish())) == (None, [])
