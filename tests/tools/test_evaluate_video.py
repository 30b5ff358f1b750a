"""`evaluate-video` as its user meets it: figures, files, the sweep, what it refuses and how fast it answers."""

import csv
import json
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tristream.fusion.source import find_model
from tristream.streams.config import RecurrentConfig
from tristream.tools.evaluate_video import app
from tristream.tools.shell import run_command
from tristream.training import extraction, sweep

sys.path.append(str(Path(__file__).parents[1] / "training"))
from fake_extraction import InlineWorkers
from made_clips import STREAMS, examples_of, make_clips, quick, tiny_trainer

COMMAND = [sys.executable, "-m", "tristream.tools.evaluate_video"]
QUICK = "--device cpu --dtype float32 --jobs 1".split()
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def signals_kept() -> Iterator[None]:
    """The command sets handlers for signals; here they are put back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module", autouse=True)
def inline() -> Iterator[None]:
    """Files are read in this process, networks run on one thread."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction, "Workers", InlineWorkers)
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with its parts: four clips of each class to train on, three to test on, of which one is silent."""
    folder = tmp_path_factory.mktemp("data")
    clips = make_clips(make_video, folder / "clips", count=7)
    for clip in clips.glob("*/*.avi"):
        part = "test" if clip.stem[-1] in "456" else "train"
        (folder / "parts" / part / clip.parent.name).mkdir(parents=True, exist_ok=True)
        clip.rename(folder / "parts" / part / clip.parent.name / clip.name)
    return folder / "parts"


@pytest.fixture(scope="module")
def model(data: Path, cache: Path, inline: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return tiny_trainer(examples_of(data / "train"), folder, quick(cache, epochs=10)).run().folder


def run(*arguments: object) -> int:
    return run_command(app, [str(each) for each in (*arguments, *QUICK)])


# Figures and files


def test_the_test_part_is_measured_with_every_set_of_streams(
    model: Path, data: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, figures = tmp_path / "out", tmp_path / "figures.json"
    assert run(model, data, "--ablation", "-o", out, "--json", figures, "--cache", cache) == 0
    shown = capsys.readouterr().out
    told = json.loads(figures.read_text())
    assert (told["model_id"], told["clips"]) == (find_model(model).model_id, 6)
    assert (told["classifier"], told["classes"]) == ("svm", ["green", "red"])
    assert told["measured_on"] == {
        **{"dataset": data.name, "layout": "folders", "split": None, "test_group": None},
        **{"seed": 0, "window_seconds": 36.0},
    }
    assert told["ablation"]["rows"][-1]["top1"] == told["top1"]
    # The table has what the JSON has.
    lines = [line.strip("│┃ ").split() for line in shown.splitlines()]
    low, high = told["top1_interval"]
    assert ["top-1", "│", f"{told['top1']:.3f}", "│", f"{low:.3f}", "to", f"{high:.3f}"] in lines
    assert "6 clips of 2 classes" in shown
    for row in told["ablation"]["rows"]:
        assert f"│ {' + '.join(row['streams'])} " in shown  # not folded
        interval = row["interval"]
        assert f"{row['top1']:.3f} │ {interval['low']:.3f} to {interval['high']:.3f}" in shown
    for stream in STREAMS:
        assert any(line[:2] == [stream, "│"] and line[2][0] in "+-" for line in lines if line)
    # And the files have it too.
    assert {path.name for path in out.iterdir()} == {
        *("confusion.png", "confusion.csv", "roc.png", "predictions.csv", "ablation.png")
    }
    assert all(path.read_bytes().startswith(PNG) for path in out.glob("*.png"))
    confusion = list(csv.reader((out / "confusion.csv").read_text().splitlines()))
    assert [[int(cell) for cell in row[1:]] for row in confusion[1:]] == told["confusion"]
    rows = list(csv.DictReader((out / "predictions.csv").read_text().splitlines()))
    assert [Path(row["path"]).name for row in rows] == sorted(path.name for path in data.glob("test/*/*.avi"))
    assert sum(row["label"] == row["predicted"] for row in rows) / 6 == pytest.approx(told["top1"])
    for row in rows:
        assert float(row["green"]) + float(row["red"]) == pytest.approx(1, abs=2e-4)


def test_json_on_standard_output_is_all_that_is_there(
    model: Path, data: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, data, "--json", "-", "--cache", cache) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert (told["ablation"], told["left_out"]) == (None, {})
    assert "balanced accuracy" in captured.err
    assert "every set of streams" not in captured.err


def test_a_broken_clip_is_told_and_left_out_with_exit_code_2(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    (broken := copy / "test" / "red" / "red5.avi").write_bytes(b"RIFF of nothing" * 40)
    assert run(model, copy, "--no-cache", "--json", tmp_path / "figures.json") == 2
    captured = capsys.readouterr()
    assert captured.err.count("left out: ") == captured.err.count("red5.avi") == 1
    assert "1 files could not be read and are not counted" in captured.out
    assert list(json.loads((tmp_path / "figures.json").read_text())["left_out"]) == [str(broken)]


def test_the_open_split_is_the_one_that_the_model_was_trained_with(
    data: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else clips would be tested that it has learnt from."""
    from tristream.training.datasets import read_dataset
    from tristream.training.splits import train_and_test

    open_split = Path(shutil.copytree(data / "train", tmp_path / "data"))
    train, test = train_and_test(read_dataset(open_split), seed=3)
    tiny_trainer(train, tmp_path / "model", quick(cache, seed=3, epochs=1), streams=["spatial"]).run()
    asked = (tmp_path / "model", open_split, "--cache", cache)
    tested = []
    for more in ([], ["--seed", "0"]):
        assert run(*asked, *more, "-o", tmp_path / f"out{len(tested)}") == 0
        rows = csv.DictReader((tmp_path / f"out{len(tested)}" / "predictions.csv").read_text().splitlines())
        tested.append([row["path"] for row in rows])
    assert tested[0] == [str(each.path) for each in test] != tested[1]
    assert capsys.readouterr().err.count("warning: the model was trained on ") == 1


def test_files_that_the_model_has_not_learnt_from_are_all_measured(
    model: Path, data: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder a class, or in a test part alone."""
    unseen = Path(shutil.copytree(data / "test", tmp_path / "unseen"))
    alone = tmp_path / "alone"
    shutil.copytree(unseen, alone / "test")
    for folder in (unseen, alone):
        assert run(model, folder, "--cache", cache, "--json", "-") == 0
        captured = capsys.readouterr()
        told = json.loads(captured.out)
        assert (told["clips"], told["seen_in_training"]) == (6, 0)
        assert "measured on 6 of the data set's 6 files\n" in captured.err


# The sweep


def test_the_sweep_stands_beside_the_papers_figures(
    model: Path,
    data: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = (("GRU", RecurrentConfig(hidden=12, layers=1), 77.83, 93.88),)
    monkeypatch.setattr(sweep, "TABLE_I", rows)
    figures = tmp_path / "figures.json"
    assert run(model, data, "--sweep", "recurrent", "--epochs", "2", "--cache", cache, "--json", figures) == 0
    captured = capsys.readouterr()
    (row,) = json.loads(figures.read_text())["sweep"]
    assert (row["name"], row["units"], row["paper_top1"], row["paper_top5"]) == ("GRU", 12, 77.83, 93.88)
    assert "Tkachenko 2018, Table I" in captured.out
    line = next(line for line in captured.out.splitlines() if "GRU" in line)
    told = [f"{100 * row['top1']:.2f}", f"{100 * row['top5']:.2f}", "77.83", "93.88", f"{row['parameters']:,}"]
    assert [cell.strip() for cell in line.strip("│ ").split("│")][:-1] == ["GRU", "12", *told]
    assert "GRU, 12 units\nspatial encoder: 2 epochs" in captured.err


# What is refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pocket", "DATA"], "model pocket has no classifier: train one with train-video"),
        (["tkachenko2018", "DATA"], "model tkachenko2018 has no classifier: train one with train-video"),
        (["nowhere", "DATA"], "no model 'nowhere': give a model folder"),
        (["MODEL", "nowhere"], "nowhere"),
        (["MODEL", "DATA", "--layout", "ucf101"], "trainlist01.txt"),
        (["MODEL", "other.csv"], "the model knows no class 'blue'; it knows green, red"),
        (["MODEL", "one.csv", "--ablation"], "--ablation fits anew on a training part, and one.csv has none"),
        (["MODEL", "one.csv", "--sweep", "recurrent"], "--sweep fits anew on a training part, and one.csv has none"),
        (["MODEL", "DATA", "--window", "0"], "window must be"),
        (["MODEL", "DATA", "--seed", "-1"], "--seed"),
        (["MODEL", "DATA", "--sweep", "audio"], "--sweep"),
        (["MODEL", "DATA", "--epochs", "3"], "--epochs is for the encoders of --sweep"),
        (["MODEL", "DATA", "-o", "old"], "confusion.csv is there already: --overwrite replaces it, or write elsewhere"),
        (["MODEL", "DATA", "-o", "one.csv"], "one.csv is a file: -o names a folder"),
        (["MODEL", "DATA", "-o", "one.csv/out"], "one.csv is a file: -o names a folder"),
        (["MODEL", "DATA", "--json", "one.csv"], "one.csv is there already: --overwrite replaces it"),
        (["MODEL", "DATA", "--json", "old", "--overwrite"], "old is a folder: --json names a file"),
        (["MODEL", "DATA", "--json", "no/figures.json"], "no folder no to write figures.json into"),
    ],
)
def test_wrong_arguments_get_one_line_before_any_work(
    arguments: list[str],
    said: str,
    model: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "confusion.csv").write_text("before")
    clip = data / "test" / "red" / "red4.avi"
    (tmp_path / "one.csv").write_text(f"path,label,split\n{clip},red,test\n{clip.with_name('red5.avi')},red,test\n")
    (tmp_path / "other.csv").write_text(
        f"path,label,split\n{clip},blue,test\n{clip.with_name('red5.avi')},red,train\n{clip.with_name('red6.avi')},red,train\n"
    )
    entries = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("tristream.training.evaluate.extract", None)  # whoever begins a file fails otherwise
    given = {"MODEL": str(model), "DATA": str(data)}
    assert run(*(given.get(each, each) for each in arguments), "--no-cache") == 1
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert said in line
    assert line.startswith("error: ")
    assert "fault of tristream" not in line
    assert captured.out == ""
    assert sorted(tmp_path.rglob("*")) == entries


def test_a_sweep_of_what_has_no_pictures_is_refused_at_once(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = [each for each in examples_of(data / "train") if each.path.stem[-1] != "0"]
    tiny_trainer(train, tmp_path / "model", quick(cache, epochs=1), streams=["audio"]).run()
    monkeypatch.setattr("tristream.training.evaluate.extract", None)
    assert run(tmp_path / "model", data, "--sweep", "recurrent") == 1
    assert "features of a spatial CNN, which model model has not" in capsys.readouterr().err
