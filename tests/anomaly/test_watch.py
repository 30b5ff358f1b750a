"""One camera: which tiles are looked at, from which score on, and what a gap does."""

from pathlib import Path
from time import monotonic, time

import numpy as np
import pytest
import torch
from PIL import Image

from tristream.anomaly.autoencoder import AutoencoderDetector
from tristream.anomaly.calibration import Calibration
from tristream.anomaly.cameras import Camera
from tristream.anomaly.detector import About, Detector
from tristream.anomaly.events import Levels
from tristream.anomaly.notes import Alarm, Note, Scored
from tristream.anomaly.watch import Watch, ignored_tiles, levels_of
from tristream.fusion.model import Model, load_model
from tristream.streams.errors import UsageError
from tristream.streams.grid import Grid
from tristream.streams.live_steps import Piece
from tristream.streams.media_info import MediaInfo, VideoInfo
from tristream.streams.steps import Steps

pytestmark = pytest.mark.usefixtures("one_thread")
INFO = MediaInfo("x", "rtsp", None, VideoInfo("h264", 64, 48, 10.0, None), None)
FPS, TILES = 10, 4


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("camera", device="cpu")


@pytest.fixture(scope="module")
def detector(model: Model) -> Detector:
    """It knows features about 1, of four tiles."""
    chance = np.random.default_rng(0)
    rows = np.hstack([chance.normal(1, 0.1, (200, 19)), np.tile([[-1, -1], [-1, 1], [1, -1], [1, 1]], (50, 1))])
    estimator = AutoencoderDetector(dims={"temporal": 19}, context=2, max_epochs=20).fit(rows)
    about = About(
        model.model_id, "camera", {"temporal": 19}, 1.0, 0.5, 2, 2, smooth_seconds=0.0, false_alarms_per_hour=36.0
    )
    peaks = np.sort(chance.uniform(1, 3, 200))
    return Detector(about, estimator, Calibration(peaks))


def camera(**settings: object) -> Camera:
    return Camera("yard", "rtsp://host/x", "detector", **settings)  # type: ignore[arg-type]


def piece(
    first: int, frames: int, value: float, gaps: tuple[tuple[float, float], ...] = ()
) -> tuple[Piece, torch.Tensor]:
    times = np.arange(first, first + frames) / FPS
    steps = Steps("temporal", times, times, times + 1 / FPS, np.zeros(frames).__getitem__)
    features = torch.ones(frames, TILES, 19)
    features[:, 2] = value
    end = (first + frames) / FPS
    began = monotonic() - end - 0.001 * (first % 3)  # as estimates go
    return Piece(steps, end, began, frames, first + frames, 0, gaps, ()), features


def fed(it: Watch, made: tuple[Piece, torch.Tensor]) -> list[Note]:
    """What a watch has to say of a piece."""
    it.meet(made[0])
    assert made[0].steps is not None
    return list(it.add(made[0].steps, made[1]))


def watch(detector: Detector, model: Model, **settings: object) -> Watch:
    own = camera(**settings)
    ignored = ignored_tiles(own, detector.about.windows.grid)
    return Watch(own, detector, levels_of(own, detector), ignored, model, INFO)


def test_an_alarm_when_an_event_opens_and_again_when_it_is_over(detector: Detector, model: Model) -> None:
    it, notes = watch(detector, model), []
    for first in range(0, 300, 5):
        notes += fed(it, piece(first, 5, 5.0 if 100 <= first < 120 else 1.0))
    notes += list(it.finish())
    scores = [note for note in notes if isinstance(note, Scored)]
    assert [score.score.start_seconds for score in scores] == pytest.approx(np.arange(59) / 2)
    opened, over = [note for note in notes if isinstance(note, Alarm)]
    assert (opened.over, over.over) == (False, True)
    assert opened.key == over.key
    assert all(abs(score.time - time()) < 10 and score.latency_seconds < 5 for score in scores)
    assert 9.0 <= over.event.start_seconds <= 10.5
    assert 11.0 <= over.event.end_seconds <= 12.5
    assert over.event.peak.box == pytest.approx((0, 1 / 3, 2 / 3, 1))
    assert opened.event.p_value == over.event.p_value == pytest.approx(1 / 201)
    assert [score.alarmed for score in scores].count(True) >= 4


def test_an_event_that_goes_on_is_told_as_over_when_the_camera_is_lost(detector: Detector, model: Model) -> None:
    it = watch(detector, model)
    notes = [note for first in range(0, 60, 5) for note in fed(it, piece(first, 5, 5.0))]
    assert [note.over for note in notes if isinstance(note, Alarm)] == [False]
    assert [note.over for note in it.finish() if isinstance(note, Alarm)] == [True]


def test_windows_of_which_much_was_dropped_are_not_scored(detector: Detector, model: Model) -> None:
    it, starts = watch(detector, model), []
    for first in [*range(0, 50, 5), *range(53, 103, 5)]:
        gaps = ((5.0, 5.3),) if first == 53 else ()
        notes = fed(it, piece(first, 5, 1.0, gaps))
        starts += [note.score.start_seconds for note in notes if isinstance(note, Scored)]
    assert starts == [each for each in np.arange(len(starts) + 2) / 2 if each not in (4.5, 5.0)]


def test_a_camera_that_is_lost_at_once_gives_no_score(detector: Detector, model: Model) -> None:
    it = watch(detector, model)
    assert fed(it, piece(0, 3, 1.0)) == list(it.finish()) == []


def test_masked_tiles_are_not_looked_at(detector: Detector, model: Model, tmp_path: Path) -> None:
    mask = np.full((30, 40), 255, np.uint8)
    mask[14:, :20] = 0  # most of tile 2
    Image.fromarray(mask).save(tmp_path / "mask.png")
    it = watch(detector, model, mask=str(tmp_path / "mask.png"))
    notes = [note for first in range(0, 60, 5) for note in fed(it, piece(first, 5, 5.0))]
    assert not [note for note in notes if isinstance(note, Alarm)]
    assert ignored_tiles(camera(mask=str(tmp_path / "mask.png")), Grid(2, 2)).tolist() == [False, False, True, False]  # type: ignore[union-attr]


def test_settings_that_cannot_be(detector: Detector, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    (tmp_path / "text.png").write_text("no picture")
    for settings, grid, words in (
        ({"mask": str(tmp_path / "black.png")}, Grid(2, 2), "leaves no tile"),
        ({"mask": str(tmp_path / "text.png")}, Grid(2, 2), "no picture that can be read"),
        ({"mask": str(tmp_path / "no.png")}, Grid(2, 2), "no picture that can be read"),
        ({"mask": str(tmp_path / "black.png")}, Grid(), "fit with --grid"),
        ({"grid": "4x6"}, Grid(2, 2), "a grid of 2x2, not 4x6"),
    ):
        with pytest.raises(UsageError, match=words):
            ignored_tiles(camera(**settings), grid)
    with pytest.raises(UsageError, match="held-out"):
        levels_of(camera(false_alarms_per_hour=0.001), detector)


def test_a_threshold_of_its_own(detector: Detector) -> None:
    of_detector = detector.levels()
    assert of_detector is not None
    assert levels_of(camera(), detector) == of_detector
    assert levels_of(camera(threshold=99.0), detector) == Levels(99.0, of_detector.calm, 5.0)
    assert levels_of(camera(threshold=0.5), detector) == Levels(0.5, 0.5, 5.0)
    lower = levels_of(camera(false_alarms_per_hour=360.0), detector)
    assert lower is not None
    assert lower.alarm < of_detector.alarm
