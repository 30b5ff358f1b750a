"""A detector is fitted on a table, kept, and read again; what is damaged or strange is refused, and nothing is run."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tristream.anomaly.detector import ARRAYS_FILE, Detector, load_detector
from tristream.anomaly.evaluation import Labelled, at_frames, evaluate, labels_of, read_labels
from tristream.anomaly.events import Event, Score
from tristream.anomaly.fitting import FitSettings, fit_detector
from tristream.anomaly.scoring import Scorer, events_of, scores_of, windows_of
from tristream.fusion.embedding import ClipEmbedding, VideoEmbedding
from tristream.fusion.parts import TableKind
from tristream.fusion.rows import rows_of
from tristream.fusion.table import EmbeddingTable
from tristream.fusion.windows import Windows
from tristream.streams.errors import DetectorError, TableError, UsageError
from tristream.streams.grid import Grid

DIMS = {"temporal": 6}
WINDOWS = Windows(1.0, 0.5, Grid(2, 3))
MODEL_ID = "0123456789ab"
KIND = TableKind(MODEL_ID, "fake", WINDOWS, DIMS, dict.fromkeys(DIMS, 1.0))


def clips(windows: int, seed: int = 0, strange: tuple[int, int] | None = None) -> tuple[ClipEmbedding, ...]:
    """Clips of six tiles; `strange` (window, tile) is far from the others."""
    chance = np.random.default_rng(seed)
    hidden = chance.normal(size=(windows, 6, 2)) @ np.random.default_rng(7).normal(size=(2, 6))
    vectors = (hidden + 0.2 * chance.normal(size=(windows, 6, 6)) + 3).astype(np.float32)
    if strange:
        vectors[strange] += 8.0
    return tuple(
        ClipEmbedding(0.5 * n, 0.5 * n + 1, vectors[n, tile], {"temporal": True}, DIMS, tile=tile)
        for n in range(windows)
        for tile in range(6)
    )


def table(folder: Path, windows: int = 400, videos: int = 3) -> Path:
    with EmbeddingTable(folder, MODEL_ID, WINDOWS) as opened:
        opened.begin(KIND)
        for number in range(videos):
            made = clips(windows, number)
            result = VideoEmbedding(
                f"/{number}.avi", MODEL_ID, made[0].vector, {"temporal": True}, DIMS, made, fps=10.0
            )
            opened.put(rows_of(result, f"/{number}.avi", f"{number}" * 64))
        opened.put(rows_of(VideoEmbedding("/bad.avi", MODEL_ID, error="bad"), "/bad.avi", "b" * 64))
    return folder


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return fit_detector(table(tmp_path_factory.mktemp("t") / "table"), FitSettings(false_alarms_per_hour=60.0))


def test_it_learns_from_the_first_part_and_is_calibrated_on_the_last(fitted: Detector) -> None:
    about = fitted.about
    assert (about.model_id, about.dims, about.windows, about.fps) == (MODEL_ID, DIMS, WINDOWS, 10.0)
    assert about.fitted_seconds == pytest.approx(0.7 * 600)
    assert about.held_out_seconds == pytest.approx(0.3 * 600)
    assert len(fitted.calibration.peaks) in (35, 36)  # 180 s, a window of which overlaps what was learnt from
    levels = fitted.levels()
    assert levels is not None
    assert levels.calm < levels.alarm
    assert fitted.levels(300.0) != levels


def test_the_strangest_tile_is_the_score_and_has_the_box(fitted: Detector) -> None:
    scores = list(scores_of(replace_smoothing(fitted, 0.0), clips(20, 9, strange=(7, 4))))
    assert len(scores) == 20
    strangest = max(scores, key=lambda score: score.score)
    assert (strangest.start_seconds, strangest.end_seconds) == (3.5, 4.5)
    assert strangest.box == WINDOWS.grid.boxes()[4]
    assert strangest.shares["temporal"] == pytest.approx(strangest.score)
    assert strangest.score > 5 * np.median([score.score for score in scores])


def test_smoothing_goes_back_in_time_only(fitted: Detector) -> None:
    raw = [score.score for score in scores_of(replace_smoothing(fitted, 0.0), clips(12, 9))]
    smooth = list(scores_of(replace_smoothing(fitted, 1.0), clips(12, 9)))
    expected = [raw[0], *((a + b) / 2 for a, b in itertools.pairwise(raw))]
    np.testing.assert_allclose([score.score for score in smooth], expected)
    assert (smooth[5].start_seconds, smooth[5].end_seconds) == (2.0, 3.5)


def test_scores_do_not_depend_on_how_many_come_at_once(fitted: Detector) -> None:
    made = clips(150, 9)
    at_once = list(scores_of(fitted, made))
    scorer = Scorer(fitted)
    one_by_one = [score for window in windows_of(made, 6) for score in scorer.add([window])]
    assert [score.box for score in one_by_one] == [score.box for score in at_once]
    np.testing.assert_allclose([s.score for s in one_by_one], [s.score for s in at_once], rtol=1e-9)


def test_events_of_normal_and_strange_footage(fitted: Detector) -> None:
    levels = fitted.levels()
    assert levels is not None
    (event,) = events_of(fitted, levels, scores_of(fitted, clips(60, 11, strange=(30, 2))))
    assert event.start_seconds <= 15.5 <= event.end_seconds + 1
    assert event.p_value == pytest.approx(1 / (len(fitted.calibration.peaks) + 1))


def replace_smoothing(detector: Detector, seconds: float) -> Detector:
    return replace(detector, about=replace(detector.about, smooth_seconds=seconds))


# Kept and read


@pytest.mark.parametrize("name", ["autoencoder", "pca", "knn", "isolation-forest", "mahalanobis"])
def test_every_detector_is_the_same_after_it_was_kept(tmp_path: Path, name: str) -> None:
    made = fit_detector(table(tmp_path / "table", 60), FitSettings(name, {}, false_alarms_per_hour=200.0))
    made.save(tmp_path / "detector")
    again = load_detector(tmp_path / "detector")
    vectors = np.random.default_rng(5).normal(size=(7, 6, 6)) + 3
    np.testing.assert_allclose(again.score(vectors), made.score(vectors), rtol=1e-12)
    assert again.levels() == made.levels()
    assert replace(again.about, sha256="") == made.about
    far = vectors + np.array([6, -6, 6, -6, 6, -6])
    assert np.median(again.score(far)) > np.median(again.score(vectors))  # higher is stranger, whatever the detector


def test_any_class_of_scikit_learn_that_finds_outliers(tmp_path: Path) -> None:
    made = fit_detector(table(tmp_path / "table", 60), FitSettings("sklearn.svm.OneClassSVM", {}, hold_out=0))
    vectors = np.random.default_rng(5).normal(size=(7, 6, 6)) + 3
    assert np.median(made.score(vectors * -3)) > np.median(made.score(vectors))
    assert made.levels() is None  # nothing was held out


@pytest.mark.parametrize(
    "name, words",
    [
        ("nonsense", "one of autoencoder, pca"),
        ("os.system", "one of autoencoder, pca"),
        ("sklearn.nowhere.Thing", "cannot be imported"),
        ("pyod.models.ecod.ECOD", "pip install pyod"),
        ("sklearn.preprocessing.StandardScaler", "finds no outliers"),
        ("sklearn.svm.Nothing", "no detector"),
    ],
)
def test_what_is_no_detector_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        fit_detector(table(tmp_path / "table", 30), FitSettings(name, {}, hold_out=0))


def test_a_changed_byte_is_refused_wherever_it_is(fitted: Detector, tmp_path: Path) -> None:
    fitted.save(tmp_path / "whole")
    for name in ("detector.json", ARRAYS_FILE):
        data = (tmp_path / "whole" / name).read_bytes()
        for place in np.linspace(0, len(data) - 1, 60).astype(int).tolist():
            folder = shutil.copytree(tmp_path / "whole", tmp_path / "changed")
            (folder / name).write_bytes(data[:place] + bytes([data[place] ^ 0x15]) + data[place + 1 :])
            with pytest.raises(DetectorError):
                load_detector(folder)
            shutil.rmtree(folder)
    folder = shutil.copytree(tmp_path / "whole", tmp_path / "lacking")
    (folder / ARRAYS_FILE).unlink()
    with pytest.raises(DetectorError, match="cannot be read"):
        load_detector(folder)
    with pytest.raises(DetectorError, match="no detector"):
        load_detector(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 99},
        {"detector": "os.system"},
        {"dims": {}},
        {"dims": {"temporal": 7}},
        {"grid_rows": 0},
        {"parameters": {"nonsense": 1}},
        {"parameters": {"hidden": 5}},
        {"unknown": 1},
        {"model_id": 3},
        {"window_seconds": -1},
        [],
    ],
)
def test_an_about_that_does_not_fit_is_refused(fitted: Detector, tmp_path: Path, change: object) -> None:
    fitted.save(tmp_path)
    path = tmp_path / "detector.json"
    data = json.loads(path.read_text()) | change if isinstance(change, dict) else change
    path.write_text(json.dumps(data))
    with pytest.raises(DetectorError):
        load_detector(tmp_path)


def test_a_full_disk_keeps_what_was_there(fitted: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted.save(tmp_path / "detector")

    def fail(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tristream.anomaly.detector.write_atomically", fail)
    with pytest.raises(DetectorError, match="No space left"):
        fitted.save(tmp_path / "detector")
    assert load_detector(tmp_path / "detector").about.model_id == MODEL_ID


# Too little, too much, nothing


def test_too_little_footage_is_refused_and_says_how_much_it_takes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1 false alarm an hour needs 59\.9 min of held-out .* 3\.3 h in all"):
        fit_detector(table(tmp_path / "a", 100))
    with pytest.raises(UsageError, match="learns from 20 windows"):
        fit_detector(table(tmp_path / "b", 3), FitSettings(hold_out=0))
    assert fit_detector(table(tmp_path / "c", 30), FitSettings(hold_out=0)).levels() is None


def test_a_table_without_a_clip(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no embedding table"):
        fit_detector(tmp_path)
    with EmbeddingTable(tmp_path / "table", MODEL_ID, WINDOWS) as opened:
        opened.begin(KIND)
        opened.put(rows_of(VideoEmbedding("/bad.avi", MODEL_ID, error="bad"), "/bad.avi", "b" * 64))
    with pytest.raises(TableError, match="no embedded clip"):
        fit_detector(tmp_path / "table")


def test_of_much_footage_windows_spread_over_all_of_it_are_learnt_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tristream.anomaly.fitting.MOST_BYTES", 8 * 6 * 8 * 50)  # 50 windows of six rows of 8
    seen = []
    fit = fit_detector.__globals__["make_estimator"]

    def spy(*args: object) -> object:
        estimator = fit(*args)
        inner = estimator.fit
        estimator.fit = lambda X: (seen.append(X), inner(X))[1]
        return estimator

    monkeypatch.setattr("tristream.anomaly.fitting.make_estimator", spy)
    fit_detector(table(tmp_path / "table", 400), FitSettings("pca", {}, hold_out=0))
    assert seen[0].shape == (300, 8)


# Against the truth


def labelled(labels: list[int], events: list[Event], scores: NDArray[np.float64]) -> Labelled:
    made = [Score(n / 10, n / 10 + 0.1, float(value), None, {}) for n, value in enumerate(scores)]
    return Labelled("v", np.array(labels, bool), 10.0, made, events)


def event(start: float, end: float) -> Event:
    return Event(start, start + 0.5, Score(start, start + 1, 9.0, None, {}), end, 0.01)


def test_an_evaluation_by_hand() -> None:
    truth = [0] * 50 + [1] * 50 + [0] * 50 + [1] * 50
    scores = np.array([0.0] * 50 + [1.0] * 50 + [0.5] * 50 + [0.2] * 50)
    found = [event(1.0, 2.0), event(5.2, 8.0)]  # one false, one 0.7 s after the beginning; the second is missed
    result = evaluate([labelled(truth, found, scores)])
    assert result.auroc_micro == pytest.approx(0.75)
    assert (result.false_alarms, result.detected, result.anomalies) == (1, 1, 2)
    assert result.false_alarms_per_hour == pytest.approx(360.0)
    assert result.delay_seconds == pytest.approx(0.7)


def test_an_alarm_long_before_is_a_false_one() -> None:
    truth = [0] * 100 + [1] * 50
    early = evaluate([labelled(truth, [event(2.0, 14.0)], np.arange(150.0))])
    assert (early.false_alarms, early.detected) == (1, 1)
    just = evaluate([labelled(truth, [event(9.8, 14.0)], np.arange(150.0))])
    assert just.false_alarms == 0


def test_frames_between_windows_get_what_lies_between() -> None:
    scores = [Score(0.0, 1.0, 2.0, None, {}), Score(1.0, 2.0, 4.0, None, {})]
    np.testing.assert_allclose(at_frames(scores, 4, 2.0), [2.0, 2.5, 3.5, 4.0])


def test_labels_are_read_and_what_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("clip,frame,anomalous\n01,000.jpg,0\n01,001.jpg,1\nb,0,1\n")
    labels = read_labels(path)
    assert {name: values.tolist() for name, values in labels.items()} == {"01": [False, True], "b": [True]}
    assert labels_of("/videos/b.avi", labels) is labels["b"]
    assert labels_of("/videos/c.avi", labels) is None
    for text in ("", "clip,frame,anomalous\n", "clip,frame,anomalous\na,0,2\n", "a,b\n1,2\n"):
        path.write_text(text)
        with pytest.raises(UsageError):
            read_labels(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_labels(tmp_path / "none.csv")
