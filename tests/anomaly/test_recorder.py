"""Pictures of events: the right ones, in a folder that does not grow."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from tristream.anomaly.events import Event, Score
from tristream.anomaly.notes import Alarm, Note, Pulse, Scored, State
from tristream.anomaly.recorder import Recorder, with_box
from tristream.streams.errors import UsageError
from tristream.streams.frame import Frame
from tristream.streams.media import MediaReader
from tristream.streams.picture import PictureFormat

BEGAN = 1_700_000_000.0
MB = 1 << 20
JOIN_SECONDS = 5  # after which an event is over


def jpeg(value: float) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((48, 64, 3), value, np.uint8))[1])


def scored(seconds: float, score: float, alarmed: bool = False) -> Scored:
    made = Score(seconds - 0.5, seconds + 0.5, score, (0.5, 0.5, 1.0, 1.0), {"temporal": score})
    return Scored("yard", made, 10.0, BEGAN + seconds + 0.5, 0.1, alarmed)


def play(recorder: Recorder, until: float = 60.0, peak: float = 30.0, start: float = 25.0, end: float = 35.0) -> None:
    """A minute in which something happens, pictures growing brighter by 4 a second."""
    recorder(State("yard", "watching"))
    event = None
    for tenth in range(round(until * 10)):
        seconds = tenth / 10
        recorder(Pulse("yard", tenth, 0, 1, BEGAN + seconds, ((seconds, jpeg(4 * seconds)),)))
        score = 50 - abs(seconds - peak) if start <= seconds <= end else 1.0
        now = scored(seconds, score, start <= seconds <= end + JOIN_SECONDS)
        if seconds == start:
            event = Event(seconds, seconds + 0.5, now.score, seconds, 0.1)
            recorder(Alarm("yard", False, event, BEGAN))
        if seconds == end + JOIN_SECONDS:
            assert event is not None
            whole = Event(start, start + 0.5, scored(peak, 50).score, end, 0.01)
            recorder(Alarm("yard", True, whole, BEGAN))
        recorder(now)
    recorder.close()


def test_a_snapshot_at_once_and_that_of_the_peak_with_a_clip_when_it_is_over(tmp_path: Path) -> None:
    told: list[Note] = []
    said: list[str] = []
    play(Recorder(tmp_path / "events", 10 * MB, told.append, said.append))
    assert said == []
    opened, over = told
    assert isinstance(opened, Alarm)
    assert isinstance(over, Alarm)
    assert (opened.over, opened.clip) == (False, None)
    assert opened.snapshot == over.snapshot == str(tmp_path / "events" / f"{over.key}.jpg")
    picture = cv2.imread(str(over.snapshot))
    assert picture is not None
    assert picture[10, 10].tolist() == pytest.approx([120] * 3, abs=4)  # at 30 s
    red = picture[24:, 32:][1:2, 5].astype(int)[0]
    assert red[2] > red[0] + 30  # the box
    with MediaReader(str(over.clip)) as reader:
        frames = [frame.picture(PictureFormat(48, 64, "gray"))[24, 32] for frame in reader if isinstance(frame, Frame)]
        assert reader.duration_seconds == pytest.approx(10.0, abs=0.3)
    assert [frames[0], frames[-1]] == pytest.approx([100, 140], abs=6)  # from 25 to 35 s


def test_the_peak_of_an_event_that_lasts_is_kept_until_it_is_over(tmp_path: Path) -> None:
    told: list[Note] = []
    play(Recorder(tmp_path, 10 * MB, told.append, print), peak=12.0, start=10.0, end=50.0)
    assert isinstance(told[-1], Alarm)
    with MediaReader(str(told[-1].clip)) as reader:
        frames = [frame.picture(PictureFormat(48, 64, "gray"))[24, 32] for frame in reader if isinstance(frame, Frame)]
    assert [frames[0], frames[-1]] == pytest.approx([28, 68], abs=6)  # from 7 to 17 s


def test_the_oldest_files_go_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    old = tmp_path / "yard-20200101T000000.000Z.mp4"
    for number, path in enumerate([old, tmp_path / "holiday.mp4", tmp_path / "yard-20240101T000000.000Z.jpg"]):
        path.write_bytes(b"x" * (MB // 2 + 20_000 * number))
        os.utime(path, (number, number))
    play(Recorder(tmp_path, MB, lambda note: None, print))
    names = {path.name for path in tmp_path.iterdir()}
    assert old.name not in names
    assert "holiday.mp4" in names
    assert len(names) == 4  # holiday, the newer one, and the two of this event
    assert not any(name.startswith(".") for name in names)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="events cannot be kept in"):
        Recorder(tmp_path / "file", MB, print, print)
    with pytest.raises(UsageError, match="room for a megabyte"):
        Recorder(tmp_path, 10, print, print)


def test_an_alarm_is_told_though_its_files_cannot_be_written(tmp_path: Path) -> None:
    told: list[Note] = []
    said: list[str] = []
    recorder = Recorder(tmp_path / "events", MB, told.append, said.append)
    (tmp_path / "events").rmdir()
    play(recorder)
    alarms = [note for note in told if isinstance(note, Alarm)]
    assert [alarm.snapshot for alarm in alarms] == [None, None]
    assert len(said) == 2
    assert "no picture of yard-2023" in said[0]


def test_a_camera_without_pictures_has_an_alarm_all_the_same(tmp_path: Path) -> None:
    told: list[Note] = []
    recorder = Recorder(tmp_path, MB, told.append, print)
    event = Event(0, 0.5, scored(0, 20).score, 0, 0.1)
    recorder(Alarm("yard", True, event, BEGAN))
    recorder.close()
    assert told == [Alarm("yard", True, event, BEGAN)]


def test_what_is_no_picture_gets_no_box() -> None:
    assert with_box(b"no picture", (0, 0, 1, 1)) == b"no picture"
