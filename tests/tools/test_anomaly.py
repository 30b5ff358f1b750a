"""`fit-anomaly` and `score-anomaly` as their user meets them: from normal footage to the moment and the place."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tristream.tools import embed_video, fit_anomaly, index_video, score_anomaly
from tristream.tools.shell import run_command

sys.path.append(str(Path(__file__).parents[1] / "anomaly"))
from fake_footage import FPS, footage

pytestmark = pytest.mark.usefixtures("signals_kept")
GRID = "--grid 2x2 --jobs 1"


@pytest.fixture(scope="module")
def normal(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("normal")
    for part in range(3):
        make_video(folder / f"{part}.mp4", frames=footage(30, begin=30 * part), fps=FPS, codec="libx264")
    return folder


@pytest.fixture(scope="module")
def detector(normal: Path) -> Path:
    folder = normal.parent / "detector"
    options = ["--false-alarms-per-hour", "180", *GRID.split()]
    assert run_command(fit_anomaly.app, [str(normal), "-o", str(folder), *options]) == 0
    return folder


@pytest.fixture(scope="module")
def strange(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runner at the bottom, from 10 to 14 s."""
    path = tmp_path_factory.mktemp("strange") / "strange.mp4"
    return make_video(path, frames=footage(24, begin=90, runner=(10, 14)), fps=FPS, codec="libx264")


def score(detector: Path, *arguments: str | Path) -> int:
    return run_command(score_anomaly.app, [str(detector), *map(str, arguments), "--jobs", "1"])


def test_the_runner_raises_an_alarm_with_time_and_place(
    detector: Path, strange: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.csv"
    frames = [f"strange,{n},{int(100 <= n < 140)}\n" for n in range(240)]
    labels.write_text("clip,frame,anomalous\n" + "".join(frames))
    told, plot, scores = tmp_path / "e.json", tmp_path / "p.png", tmp_path / "s.csv"
    options = ["--labels", labels, "--json", told, "--plot", plot, "--scores", scores]
    assert score(detector, strange, *options) == 0
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    best = max(events, key=lambda event: event["score"])
    assert 9.0 <= best["start_seconds"] <= 11.5
    assert 13.0 <= best["end_seconds"] <= 16.0
    assert best["alarm_seconds"] <= 11.5
    assert best["box"][1] == pytest.approx(1 / 3, abs=1e-3)  # of the tiles below
    assert best["p_value"] == pytest.approx(1 / 6)  # higher than all five blocks that were held out
    assert best["streams"]["temporal"] > 0
    evaluation = json.loads(told.read_text())
    assert evaluation["auroc_micro"] > 0.97
    assert (evaluation["detected"], evaluation["anomalies"]) == (1, 1)
    assert "AUROC" in err
    with Image.open(plot) as picture:
        assert picture.size[0] > 1000
    rows = list(csv.DictReader(scores.read_text().splitlines()))
    assert len(rows) == 116  # windows of 1 s every 0.2 s
    assert {"path", "start_seconds", "end_seconds", "score", "left", "temporal"} <= rows[0].keys()


def test_tables_and_folders_of_frames_give_the_same_scores(
    detector: Path, normal: Path, strange: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, picture in enumerate(footage(12, begin=90)):
        Image.fromarray(picture).save(frames / f"{number:04d}.png")
    table = tmp_path / "table"
    cut = ["--window", "1", "--stride", "0.2", "--model", "camera", *GRID.split(), "--fps", str(FPS)]
    assert run_command(embed_video.app, [str(frames), "-o", str(table), *cut]) == 0
    found = []
    for source in ([frames, "--fps", str(FPS)], [table]):
        path = tmp_path / f"{len(found)}.jsonl"
        assert score(detector, *source, "--scores", path) == 0
        found.append([json.loads(line) for line in path.read_text().splitlines()])
    assert [each["score"] for each in found[0]] == pytest.approx([each["score"] for each in found[1]], rel=1e-6)
    assert len(found[0]) == 56
    assert run_command(index_video.app, [str(table), "-o", str(tmp_path / "index")]) == 1
    assert "--grid 2x2: search takes tables of whole pictures" in capsys.readouterr().err


def test_a_table_makes_the_detector_that_its_files_make(detector: Path, normal: Path, tmp_path: Path) -> None:
    cut = ["--window", "1", "--stride", "0.2", "--model", "camera", *GRID.split()]
    assert run_command(embed_video.app, [str(normal), "-o", str(tmp_path / "table"), *cut]) == 0
    options = ["-o", str(tmp_path / "detector"), "--false-alarms-per-hour", "180"]
    assert run_command(fit_anomaly.app, [str(tmp_path / "table"), *options]) == 0
    one, other = (json.loads((folder / "detector.json").read_text()) for folder in (detector, tmp_path / "detector"))
    assert one == other
    assert (tmp_path / "table").is_dir()  # it was given, so it stays
    assert not detector.with_name("detector.embeddings").exists()


def test_an_unreadable_file_is_told_and_left_out(
    normal: Path, detector: Path, strange: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    options = ["-o", str(tmp_path / "d"), "--hold-out", "0", *GRID.split()]
    assert run_command(fit_anomaly.app, [str(normal / "0.mp4"), str(bad), *options]) == 2
    assert "raises no alarms" in capsys.readouterr().err
    assert score(detector, strange, bad) == 2
    assert score(detector, bad) == 3
    assert run_command(fit_anomaly.app, [str(bad), "-o", str(tmp_path / "e"), "--hold-out", "0"]) == 1
    assert "nothing to learn from" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["{normal}", "-o", "{new}"], "1 false alarm an hour needs 59.9 min"),
        (["{normal}", "-o", "{detector}", "--hold-out", "0"], "exists: use another -o, or --overwrite"),
        (["{normal}", "-o", "{new}", "--detector", "wishes"], "one of autoencoder"),
        (["{normal}", "-o", "{new}", "--hold-out", "1"], "--hold-out is a share"),
        (["{normal}", "-o", "{new}", "--false-alarms-per-hour", "-3"], "positive number"),
        (["{normal}", "-o", "{new}", "--smooth", "-1"], "--smooth"),
        (["{normal}", "-o", "{new}", "--grid", "9"], "ROWSxCOLUMNS"),
        (["{normal}", "-o", "{new}", "--hold-out", "0", "--stride", "2"], "stride"),
        (["{normal}", "-o", "{new}", "--model", "nowhere"], "no model 'nowhere'"),
        (["{missing}", "-o", "{new}"], "no such file or folder"),
        (["{gaps}", "-o", "{new}", "--hold-out", "0", "--fps", "10"], "lacks 1 of the frames 0 to 4"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(
    arguments: list[str], words: str, normal: Path, detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gaps").mkdir()
    for number in (0, 1, 3, 4):
        Image.new("L", (32, 24)).save(tmp_path / "gaps" / f"{number}.png")
    places = {"normal": normal, "detector": detector, "new": tmp_path / "new", "missing": tmp_path / "missing"}
    filled = [each.format(**places, gaps=tmp_path / "gaps") for each in arguments]
    assert run_command(fit_anomaly.app, filled) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["{normal}", "{strange}"], "no detector"),
        (["{detector}", "{missing}"], "no such file or folder"),
        (["{detector}", "{strange}", "--model", "pocket"], "--model names the detector's"),
        (["{detector}", "{strange}", "--model", "nowhere"], "no model 'nowhere'"),
        (["{detector}", "{strange}", "--plot", "x.svg"], "--plot"),
        (["{detector}", "{strange}", "--plot", "/nowhere/x.png"], "there is no folder"),
        (["{detector}", "{strange}", "--scores", "x.xlsx"], "--scores"),
        (["{detector}", "{strange}", "--json", "x.json"], "takes --labels"),
        (["{detector}", "{strange}", "--labels", "{missing}"], "cannot be read"),
        (["{detector}", "{strange}", "--labels", "{other}"], "none of these is among the inputs"),
        (["{detector}", "{strange}", "--labels", "{short}"], "of another video"),
        (["{detector}", "{strange}", "--false-alarms-per-hour", "0.01"], "held-out normal footage"),
        (["{detector}", "{table}"], "the detector is of model"),
    ],
)
def test_what_cannot_be_scored_is_one_line(
    arguments: list[str],
    words: str,
    normal: Path,
    detector: Path,
    strange: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "other.csv").write_text("clip,frame,anomalous\nelse,0,1\n")
    (tmp_path / "short.csv").write_text("clip,frame,anomalous\nstrange,0,1\n")
    places: dict[str, Path] = {"normal": normal, "detector": detector, "strange": strange, "missing": tmp_path / "no"}
    places |= {"other": tmp_path / "other.csv", "short": tmp_path / "short.csv", "table": tmp_path / "table"}
    if "{table}" in arguments:
        options = "--model pocket --streams spatial --recurrent mean --untrained --jobs 1".split()
        assert run_command(embed_video.app, [str(strange), "-o", str(tmp_path / "table"), *options]) == 0
    capsys.readouterr()
    assert run_command(score_anomaly.app, [each.format(**places) for each in arguments]) == 1
    assert words in capsys.readouterr().err


def test_another_frame_rate_is_told(
    detector: Path, make_video: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_video(tmp_path / "fast.mp4", frames=footage(6, seed=4), fps=2 * FPS, codec="libx264")
    assert score(detector, path) == 0
    assert "the footage learnt from 10" in capsys.readouterr().err


def test_a_folder_of_numbered_frames_without_fps_is_told_what_to_do(
    detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        Image.new("L", (32, 24)).save(tmp_path / f"{number}.png")
    assert score(detector, tmp_path) == 1
    assert "--fps says that folders of numbered pictures are videos" in capsys.readouterr().err
