"""`train-video` as its user meets it: a model from a folder of clips, what it says, refuses and how it ends."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tristream.fusion.folder import read_manifest
from tristream.fusion.source import find_model
from tristream.tools.shell import run_command
from tristream.tools.train_video import app
from tristream.training import extraction
from tristream.training.record import trained_window_seconds

sys.path.append(str(Path(__file__).parents[1] / "training"))
from fake_extraction import InlineWorkers
from made_clips import make_clips

COMMAND = [sys.executable, "-m", "tristream.tools.train_video"]
# Networks that are small, with no weights to be had, on one core.
QUICK = "--epochs 2 --validation 0.25 --device cpu --dtype float32 --jobs 1".split()
LRCN = ["--recipe", "lrcn2024", *QUICK]
SOUND = ["--streams", "audio", "--audio-cnn", "small", "--cnn-epochs", "1", *QUICK]
PICTURES = ["--streams", "spatial", "--backbone", "test_resnet", "--untrained", *QUICK]


@pytest.fixture(scope="module")
def clips(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clips(make_video, tmp_path_factory.mktemp("data") / "clips", count=6)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def signals_kept() -> Iterator[None]:
    """The command sets handlers for signals; here they are put back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in this process, networks run on one thread."""
    torch.set_num_threads(1)
    monkeypatch.setattr(extraction, "Workers", InlineWorkers)


def run(*arguments: object) -> int:
    return run_command(app, [str(each) for each in arguments])


# What it makes and says


@pytest.mark.usefixtures("inline")
def test_a_folder_of_clips_becomes_a_model(
    clips: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(clips, "-o", tmp_path / "model", *LRCN, "--cache", cache) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    # Of 12 clips 3 are the test part, and 2 of the rest for validation.
    assert "7 files of 2 classes to learn from, 2 more to validate on\n" in captured.err
    assert "spatial network: 2 epochs in " in captured.err
    assert f"{tmp_path / 'model'}: a model of 2 classes; evaluate-video measures it\n" in captured.err
    assert find_model(tmp_path / "model").classes == ("green", "red")


@pytest.mark.usefixtures("inline")
def test_sound_alone_is_enough_and_a_trained_cnn_is_taken_from_the_cache(
    clips: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of silent clips nothing can be learnt: they are told of."""
    assert run(clips, "-o", tmp_path / "one", *SOUND, "--cache", cache) == 2
    first = capsys.readouterr().err
    assert "no weights for the audio CNN: it is trained from scratch" in first
    assert "audio CNN: 1 epoch in " in first
    silent = first.count("left out: ")
    assert silent == sum(f"left out: {path}" in first for path in clips.glob("*/*[04].avi")) > 0
    assert run(clips, "-o", tmp_path / "two", *SOUND, "--cache", cache, "--seed", "0", "--classifier", "late") == 2
    assert "audio CNN: trained before on the same files, taken from the cache" in capsys.readouterr().err
    assert read_manifest(tmp_path / "two").classifier == "late"


@pytest.mark.usefixtures("inline")
def test_the_last_blocks_of_a_backbone_are_trained_too(clips: Path, cache: Path, tmp_path: Path) -> None:
    options = [*PICTURES, "--cnn-epochs", "1", "--fine-tune", "1", "--recurrent", "mean", "--cache", cache]
    assert run(clips, "-o", tmp_path / "model", *options) == 0
    manifest = read_manifest(tmp_path / "model")
    assert manifest.untrained == []
    assert "fusion" in manifest.metrics["validation"]


@pytest.mark.usefixtures("inline")
def test_a_trained_model_of_other_classes(
    clips: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its networks are kept, and its window is taken, in one command."""
    assert run(clips, "-o", tmp_path / "one", *LRCN, "--cache", cache, "--window", "5") == 0
    for old, new in (("green", "leaf"), ("red", "rose")):
        shutil.copytree(clips / old, tmp_path / "others" / new)
    capsys.readouterr()
    options = ["--model", tmp_path / "one", "--cache", cache, *QUICK]
    assert run(tmp_path / "others", "-o", tmp_path / "two", *options) == 0
    said = capsys.readouterr().err
    assert "the networks of model one are kept; trained are: none\n" in said
    assert "epoch" not in said
    source = find_model(tmp_path / "two")
    assert (source.classes, source.classifier) == (("leaf", "rose"), "svm")
    assert trained_window_seconds(source) == 5


@pytest.mark.usefixtures("inline")
def test_tensorboard_reads_the_logs(clips: Path, cache: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert run(clips, "-o", tmp_path / "model", *LRCN, "--cache", cache, "--log", tmp_path / "logs") == 0
    events = accumulator.EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    figures = {"loss/train", "accuracy/train", "learning_rate"}
    held_out = {"loss/validation", "accuracy/validation"}
    expected = {f"spatial network/{figure}" for figure in figures | held_out}
    expected |= {f"spatial network, all clips/{figure}" for figure in figures}
    tags = set(events.Tags()["scalars"])
    assert {tag.replace("_", " ") for tag in tags} == {tag.replace("_", " ") for tag in expected}
    (losses,) = (events.Scalars(tag) for tag in tags if tag.endswith("network/loss/validation"))
    assert [event.step for event in losses] == [1, 2]


@pytest.mark.usefixtures("inline")
def test_no_log_is_begun_by_a_training_that_is_refused(
    clips: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    logs = tmp_path / "logs"
    assert run(clips, "-o", tmp_path / "m", *LRCN, "--streams", "audio", "--cache", cache, "--log", logs) == 1
    assert not logs.exists()
    logs.write_text("a file")
    assert run(clips, "-o", tmp_path / "m", *LRCN, "--cache", cache, "--log", logs) == 1
    assert f"--log {logs} cannot be written" in capsys.readouterr().err


# Files that are broken or not there


@pytest.mark.usefixtures("inline")
def test_a_broken_clip_is_told_and_left_out_with_exit_code_2(
    clips: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(clips, tmp_path / "clips"))
    (copy / "red" / "red1.avi").write_bytes(b"RIFF of nothing" * 40)
    lines = ["path,label,split", "red/gone.avi,red,train"]
    for clip in copy.glob("*/*.avi"):
        part = "test" if clip.stem[-1] in "45" else "train"
        lines.append(f"{clip.parent.name}/{clip.name},{clip.parent.name},{part}")
    (copy / "blue.avi").write_bytes((copy / "red" / "red2.avi").read_bytes() + b"another file")
    lines.append("blue.avi,blue,test")
    (copy / "list.csv").write_text("\n".join(lines))
    assert run(copy / "list.csv", "-o", tmp_path / "model", *LRCN, "--cache", cache) == 2
    captured = capsys.readouterr().err
    assert captured.startswith("not there: red/gone.avi\n")  # before any work
    assert "warning: class 'blue' is only in the test part" in captured
    assert captured.count("red1.avi") == captured.count("left out: ") == 1
    assert read_manifest(tmp_path / "model").trained_on == "7 files of 2 classes"


# What is refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere"),
        (["one"], "all 3 clips to train on are of one class, 'red': a classifier needs two or more"),
        (["alone.csv"], "besides those to test on; only one is there of 'green'"),
        (["gone.csv"], "none of the 2 files that gone.csv labels is there"),
        (["two", "--model", "konakalla"], "--model keeps the networks of a trained model; --recipe konakalla trains"),
        (["two", "--model", "mine", *LRCN], "give a recipe or a model whose networks are kept, not both: lrcn2024"),
        (["two", "--model", "nothing"], "no model 'nothing'"),
        (["two", "--layout", "ucf101"], "trainlist01.txt"),
        (["two", "--layout", "hmdb51"], "_test_split1.txt"),
        (["two", "--recipe", "tkachenko"], "no recipe 'tkachenko'; there are tkachenko2018, corehar2020"),
        (["two", "--streams", "spatial,smell"], "no stream 'smell' in this model; it has spatial, temporal, audio"),
        (["two", "--streams", "spatial", "--backbone", "resnet0", "--untrained"], "no backbone 'resnet0' in timm"),
        (["two", *PICTURES, "--spatial-weights", "old.safetensors"], "old.safetensors"),
        (["two", "--streams", "spatial", "--untrained", "--audio-weights", "old.safetensors"], "audio.cnn"),
        (["two", "--streams", "audio", "--audio-weights", "no.safetensors"], "no weights file at no.safetensors"),
        (["two", *PICTURES, "--fine-tune", "99"], "--fine-tune takes 1 to"),
        (["two", *PICTURES, "--fine-tune", "1", "--backbone", "lrcn2024"], "--fine-tune needs a timm backbone"),
        (["two", "--recipe", "konakalla", "--untrained", "--classifier", "svm"], "a head of its own"),
        (["two", *LRCN, "--validation", "1"], "the share to hold out must be from 0.05 to 0.95, got 1.0"),
        (["two", *LRCN, "--epochs", "0"], "--epochs"),
        (["two", *LRCN, "--learning-rate", "-1"], "--learning-rate must be a positive number, got -1.0"),
        (["two", *LRCN, "--window", "0"], "window must be"),
        (["two", *LRCN, "--seed", "-1"], "--seed"),
        (["two", *LRCN, "-o", "model"], "model is there already: --overwrite replaces it, or choose another folder"),
        (["two", *LRCN, "-o", "model", "--overwrite"], "model is no model folder, so --overwrite leaves it alone"),
        (["two", *LRCN, "-o", ".", "--overwrite"], "is no model folder, so --overwrite leaves it alone"),
        (["two", *LRCN, "-o", "other"], "other.partial is in the way, and no training's"),
        (["two", *LRCN, "-o", "old.safetensors/new"], "old.safetensors is a file: no model can be put into it"),
    ],
)
def test_wrong_arguments_get_one_line_before_any_work(
    arguments: list[str],
    said: str,
    clips: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for label, numbers in {"one/red": range(4), "two/red": range(4), "two/green": range(4)}.items():
        (tmp_path / label).mkdir(parents=True)
        colour = Path(label).name
        for number in numbers:
            (tmp_path / label / f"{number}.avi").symlink_to(clips / colour / f"{colour}{number}.avi")
    (tmp_path / "alone.csv").write_text(
        "path,label,split\ntwo/red/1.avi,red,train\ntwo/red/2.avi,red,train\ntwo/green/1.avi,green,train\n"
    )
    (tmp_path / "gone.csv").write_text("path,label\none.avi,red\ntwo.avi,green\n")
    for name in ("model", "other.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years of work")
    (tmp_path / "old.safetensors").write_bytes(b"")
    entries = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("tristream.fusion.batch.Workers.start", None)  # whoever begins a file fails otherwise
    output = [] if "-o" in arguments else ["-o", "new"]
    assert run(*arguments, *output, "--no-cache") == 1
    captured = capsys.readouterr()
    (line,) = (line for line in captured.err.splitlines() if not line.startswith("no weights for the audio CNN"))
    assert said in line
    assert line.startswith("error: ")
    assert "fault of tristream" not in line
    assert captured.out == ""
    assert sorted(tmp_path.rglob("*")) == entries


# How it ends and goes on


@pytest.mark.usefixtures("inline")
def test_a_scheduler_that_stops_it_gets_130_and_the_same_command_goes_on(clips: Path, tmp_path: Path) -> None:
    """First in processes of its own, with workers."""
    arguments = [str(clips), "-o", str(tmp_path / "model"), *LRCN, "--no-cache"]
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    # Until a worker has read a file: one that is stopped while it starts says what multiprocessing makes of that.
    while not list((tmp_path / "model.partial").glob("features/*/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted: what was done is kept; run the same command again to go on" in said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["model.partial"]
    assert run(*arguments) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
