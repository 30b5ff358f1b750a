"""`classify-video` as its user meets it: lines and tables, what it refuses and how it ends."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tristream.fusion.classifier import write_classifier
from tristream.fusion.classify import Verdict
from tristream.fusion.config import POCKET
from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.source import ModelSource, parts_of
from tristream.fusion.svm import FusionSVM
from tristream.fusion.timeline import Span
from tristream.streams.config import RecurrentConfig, SamplingConfig, SpatialConfig, StreamName
from tristream.streams.errors import TableError
from tristream.tools.classification_output import open_output, print_table
from tristream.tools.classify_video import app
from tristream.tools.shell import run_command

COMMAND = [sys.executable, "-m", "tristream.tools.classify_video"]
CLASSES = ("calm", "wild")
DIMS: dict[StreamName, int] = {"spatial": 64, "audio": 1024}
STREAMS = tuple(DIMS)
TINY = {"height": 48, "width": 64}
MEAN = RecurrentConfig("mean")
CONFIG = replace(
    POCKET,
    spatial=SpatialConfig(backbone="lrcn2024", recurrent=MEAN),
    temporal=None,
    audio=replace(POCKET.audio, recurrent=MEAN),
    sampling=SamplingConfig("uniform", max_steps=8),
)


@dataclass(frozen=True)
class Ran:
    """A run of the command that has ended."""

    code: int
    out: str
    err: str
    lines: list[dict[str, Any]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model whose classifier was fitted on made vectors."""
    from tristream.fusion.save import Training, save_model
    from tristream.fusion.source import Weights

    source = ModelSource("tiny", CONFIG, {part: Weights(untrained=True) for part in parts_of(CONFIG)})
    generator = np.random.default_rng(0)
    y = np.array(CLASSES)[np.arange(20) % 2]
    X = generator.normal(size=(20, sum(DIMS.values()))) + (y == "wild")[:, None]
    kind, data = write_classifier(FusionSVM(dims=DIMS, calibration_folds=0).fit(X, y))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(source, folder, name="tiny", card="", training=Training(CLASSES, kind, data))
    return folder


@pytest.fixture(scope="module")
def videos(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos, what is none, and a list that names them and one more than there is."""
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "sound.avi", seconds=5, sound_hz=16000, **TINY)
    make_video(folder / "silent.avi", seconds=1, **TINY)
    (folder / "x.mp4").write_text("this is no video\n" * 20)
    (folder / "list.txt").write_text("sound.avi\nmissing.mp4\nx.mp4\nsilent.avi\n")
    return folder


@pytest.fixture(scope="module")
def timeline(model: Path, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The list classified clip by clip, into a file in a folder that is not there yet."""
    output = tmp_path_factory.mktemp("timeline") / "new" / "classes.jsonl"
    arguments = [model, videos / "list.txt", "--clips", "--window", "2", "--jobs", "1", "-o", output]
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert [path.name for path in output.parent.iterdir()] == ["classes.jsonl"], done.stderr
    return Ran(done.returncode, done.stdout, done.stderr, list(map(json.loads, output.read_text().splitlines())))


def _of(ran: Ran, name: str) -> list[dict[str, Any]]:
    return [line for line in ran.lines if Path(line["path"]).name == name]


# A list of good and bad files


def test_files_come_in_their_order_and_some_failed_is_exit_code_2(timeline: Ran) -> None:
    assert timeline.code == 2, timeline.err
    assert timeline.out == ""
    names = [Path(line["path"]).name for line in timeline.lines if line["level"] == "video"]
    assert names == ["sound.avi", "missing.mp4", "x.mp4", "silent.avi"]
    assert "4 videos: 2 classified, 2 failed -> " in timeline.err
    assert "warning: model tiny has untrained weights" in timeline.err
    assert "Traceback" not in timeline.err


def test_clips_are_a_timeline_that_covers_the_video(timeline: Ran) -> None:
    whole, *clips = _of(timeline, "sound.avi")
    assert [line["level"] for line in clips] == ["clip"] * 3
    assert [line["start_seconds"] for line in clips] == [0, 2, 4]
    assert [line["end_seconds"] for line in clips] == [2, 4, whole["end_seconds"]]
    assert whole["end_seconds"] == pytest.approx(5, abs=0.1)
    assert [line["level"] for line in _of(timeline, "silent.avi")] == ["video", "clip"]


def test_probabilities_add_up_to_1_and_shares_to_the_score(timeline: Ran) -> None:
    good = [line for line in timeline.lines if line["error"] is None]
    assert len(good) == 6
    for line in good:
        assert {each["class"] for each in line["classes"]} == set(CLASSES)
        probabilities = [each["probability"] for each in line["classes"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1)
        for each in line["classes"]:
            assert list(each["streams"]) == list(STREAMS)
            assert sum(each["streams"].values()) == pytest.approx(each["score"])
            assert (each["streams"]["audio"] != 0) == ("audio" in line["present"])
    assert _of(timeline, "sound.avi")[0]["present"] == ["spatial", "audio"]
    assert _of(timeline, "silent.avi")[0]["present"] == ["spatial"]


def test_a_file_that_failed_is_one_line_that_says_why(timeline: Ran) -> None:
    for name, said in (("missing.mp4", "missing.mp4"), ("x.mp4", "cannot be opened as a video or sound file")):
        (line,) = _of(timeline, name)
        assert said in line["error"]
        assert (line["classes"], line["present"]) == ([], [])
        assert f"failed: {line['error']}" in timeline.err
    assert len({line["model_id"] for line in timeline.lines}) == 1


# Standard output, with embeddings at no cost


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are embedded at once, into vectors made from nothing; one in `.mp4` fails."""
    vector = np.random.default_rng(1).normal(size=sum(DIMS.values())).astype(np.float32)
    present = dict.fromkeys(STREAMS, True)

    def in_order(_: object, items: Iterable[tuple[None, str]]) -> Iterator[tuple[None, VideoEmbedding]]:
        for _, path in items:
            error = f"{path} is empty" if path.endswith(".mp4") else None
            result = VideoEmbedding(path, "m", vector, present, DIMS, error=error, duration_seconds=1.0)
            yield None, replace(result, warnings=("untrained weights", "truncated"))

    monkeypatch.setattr("tristream.fusion.batch.in_order", in_order)


@pytest.mark.usefixtures("signals_kept", "embedded")
def test_standard_output_is_json_lines_where_it_is_no_terminal(
    model: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(app, [str(model), str(videos), "--top", "1"]) == 2
    captured = capsys.readouterr()
    lines = list(map(json.loads, captured.out.splitlines()))
    assert [Path(line["path"]).name for line in lines] == ["silent.avi", "sound.avi", "x.mp4"]
    assert [len(line["classes"]) for line in lines] == [1, 1, 0]
    assert "3 videos: 2 classified, 1 failed\n2 of them with a warning" in captured.err
    assert "1 files in the folders have no suffix of a video" in captured.err


@pytest.mark.usefixtures("signals_kept", "embedded")
def test_all_failed_is_exit_code_3_and_a_table_has_the_errors(
    model: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(app, [str(model), str(videos / "x.mp4"), "--format", "table"]) == 3
    captured = capsys.readouterr()
    assert "x.mp4 is empty failed" in " ".join(captured.out.split())
    assert "failed:" not in captured.err
    assert "1 video: 1 failed\n" in captured.err


# Tables


def _span(level: str, begin: float, end: float, wild: float, *, audio: bool = True) -> Span:
    probabilities = np.array([1 - wild, wild])
    shares = {"spatial": np.array([-1.25, 1.25]), "audio": audio * np.array([0.5, -0.5])}
    verdict = Verdict(CLASSES, probabilities, sum(shares.values()), shares)  # type: ignore[arg-type]
    return Span(level, begin, end, {"spatial": True, "audio": audio}, verdict)  # type: ignore[arg-type]


def _table(said: list[tuple[VideoEmbedding, list[Span]]], width: int, top: int = 2) -> list[str]:
    """The lines of a table, without what pads them."""
    console = Console(width=width, no_color=True, force_terminal=False)
    with console.capture() as capture:
        print_table([*said], STREAMS, top, console)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    assert max(map(len, lines)) <= width
    return lines


def test_a_table_has_a_line_a_class_with_the_shares_of_its_score() -> None:
    said = [
        (VideoEmbedding("/data/a/one.avi", "m"), [_span("video", 0, 5, 0.7)]),
        (VideoEmbedding("/data/b/two.avi", "m"), [_span("video", 0, 5, 0.2, audio=False)]),
        (VideoEmbedding("/data/b/x.mp4", "m", error="/data/b/x.mp4 is empty"), []),
    ]
    lines = [line.split() for line in _table(said, 100) if line]
    assert lines[0] == ["/data"]
    assert lines[1] == ["file", "class", "spatial", "audio"]
    assert lines[3:] == [
        ["a/one.avi", "wild", "70.0", "%", "+1.25", "-0.50"],
        ["calm", "30.0", "%", "-1.25", "+0.50"],
        ["b/two.avi", "calm", "80.0", "%", "-1.25", "none"],
        ["wild", "20.0", "%", "+1.25", "none"],
        ["b/x.mp4", "is", "empty", "failed"],
        "signed: what a stream adds to the score of the class; none: it is not there".split(),
    ]


def test_a_table_joins_neighbours_of_one_class_in_its_timeline() -> None:
    clips = [_span("clip", 36.0 * i, 36.0 * i + 36, wild) for i, wild in enumerate([0.9, 0.7, 0.1])]
    said = [(VideoEmbedding("/data/one.avi", "m"), [_span("video", 0, 3725.3, 0.6), *clips])]
    lines = [line for line in _table(said, 80, top=1) if line]
    assert lines[1].startswith(" file, time")
    assert lines[3].startswith(" one.avi")
    assert [line.split()[:5] for line in lines[4:-1]] == [
        ["0:00.0", "-", "1:02:05.3"],
        ["0:00.0", "-", "1:12.0", "wild", "80.0"],
        ["1:12.0", "-", "1:48.0", "calm", "90.0"],
    ]


@pytest.mark.parametrize("width", [80, 100])
def test_long_names_are_folded_and_no_number_is_cut(width: int) -> None:
    path = "/data/" + "a-recording-of-a-long-afternoon-" * 6 + ".avi"
    verdict = replace(_span("video", 0, 5, 0.7).verdict, classes=("calm", "wild " * 20))
    clips = [_span("clip", 3600, 3636, 0.7), _span("clip", 3636, 3672, 0.2)]
    said = [
        (VideoEmbedding(path, "m"), [replace(_span("video", 0, 5, 0.7), verdict=verdict), *clips]),
        (VideoEmbedding("/data/\x1b[31m\n.avi", "m"), [_span("video", 0, 5, 0.7)]),
    ]
    text = "\n".join(_table(said, width))
    assert text.count("+1.25") == len(said[0][1]) + 1
    assert re.search(r"   1:00:00\.0 - 1:00:36\.0 +wild  ", text)
    assert "\x1b" not in text
    folded = "".join(line.split("  ")[0].strip() for line in text.splitlines()[3:])
    assert Path(path).name in folded


# Files


LINE = VideoEmbedding("/data/x.mp4", "m", error="/data/x.mp4 is empty")


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    output = tmp_path / "classes.jsonl"
    with pytest.raises(KeyboardInterrupt), open_output(str(output), "jsonl", STREAMS, 3, overwrite=False) as put:
        put(LINE, [])
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["classes.jsonl.partial"]
    with open_output(str(output), "jsonl", STREAMS, 3, overwrite=False) as put:
        put(LINE, [])
        assert not output.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["classes.jsonl"]
    assert json.loads(output.read_text())["error"] == "/data/x.mp4 is empty"


def test_an_existing_file_is_replaced_only_with_overwrite_and_only_by_a_whole_one(tmp_path: Path) -> None:
    output = tmp_path / "classes.jsonl"
    output.write_text("before")
    with (
        pytest.raises(TableError, match="exists: use another -o, or --overwrite"),
        open_output(str(output), "jsonl", STREAMS, 3, overwrite=False),
    ):
        pass
    with pytest.raises(ZeroDivisionError), open_output(str(output), "jsonl", STREAMS, 3, overwrite=True):
        raise ZeroDivisionError
    assert ([path.name for path in tmp_path.iterdir()], output.read_text()) == (["classes.jsonl"], "before")
    with open_output(str(output), "jsonl", STREAMS, 3, overwrite=True) as put:
        put(LINE, [])
    assert "is empty" in output.read_text()


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "classes.jsonl.partial").symlink_to("/dev/full")
    with (
        pytest.raises(TableError, match=r"cannot write .*classes\.jsonl: No space left on device"),
        open_output(str(tmp_path / "classes.jsonl"), "jsonl", STREAMS, 3, overwrite=False) as put,
    ):
        put(LINE, [])


@pytest.mark.usefixtures("signals_kept")
def test_an_interruption_keeps_what_was_said_and_says_where(
    model: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object, items: Any) -> Iterator[tuple[None, VideoEmbedding]]:
        yield None, replace(LINE, path=next(iter(items))[1])
        raise KeyboardInterrupt

    monkeypatch.setattr("tristream.fusion.batch.in_order", interrupted)
    output = tmp_path / "classes.jsonl"
    with pytest.raises(SystemExit) as ended:
        run_command(app, [str(model), str(videos), "-o", str(output)])
    assert ended.value.code == 130
    err = capsys.readouterr().err
    assert f"3 videos: 1 failed, 2 not looked at -> {output}.partial" in err
    assert "interrupted: the same command begins anew" in err
    assert [path.name for path in tmp_path.iterdir()] == ["classes.jsonl.partial"]


# Wrong inputs


@pytest.mark.usefixtures("signals_kept")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pocket", "sound.avi"], "model pocket has no classifier: train one with train-video"),
        (["tkachenko2018", "sound.avi"], "model tkachenko2018 has no classifier: train one with train-video"),
        (["sound.avi", "silent.avi"], "no model 'sound.avi': give a model folder"),
        ([".", "sound.avi"], ". is not a model folder: it has no model.json"),
        (["MODEL"], "Missing argument 'INPUT"),
        (["MODEL", "nothing.avi"], "no such file or folder: nothing.avi"),
        (["MODEL", "empty"], "no video or sound file in the inputs: name files"),
        (["MODEL", "sound.avi", "--top", "0"], "--top"),
        (["MODEL", "sound.avi", "--window", "2", "--stride", "3"], "stride must be more than 0 and at most the window"),
        (["MODEL", "sound.avi", "--timeout", "0"], "timeout must be more than 0 seconds"),
        (["MODEL", "sound.avi", "-o", "classes.csv"], "a file holds JSON Lines; use FILE.jsonl"),
        (["MODEL", "sound.avi", "-o", "a.jsonl", "--format", "table"], "a file holds JSON Lines; use FILE.jsonl"),
        (["MODEL", "sound.avi", "-o", "old.jsonl"], "old.jsonl exists: use another -o, or --overwrite"),
        (["MODEL", "sound.avi", "-o", "dir.jsonl", "--overwrite"], "dir.jsonl exists: use another -o"),
    ],
)
def test_wrong_arguments_get_one_line_before_any_work(
    arguments: list[str],
    said: str,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "dir.jsonl"):
        (tmp_path / name).mkdir()
    for name in ("sound.avi", "silent.avi", "old.jsonl"):
        (tmp_path / name).write_text("before")
    entries = sorted(tmp_path.iterdir())
    monkeypatch.setattr("tristream.fusion.batch.Workers.start", None)  # whoever begins a file fails otherwise
    assert run_command(app, [str(model) if each == "MODEL" else each for each in arguments]) == 1
    captured = capsys.readouterr()
    (line,) = (line for line in captured.err.splitlines() if not line.startswith("warning:"))
    assert said in line
    assert line.startswith("error: ")
    assert captured.out == ""
    assert sorted(tmp_path.iterdir()) == entries


@pytest.mark.usefixtures("signals_kept")
def test_a_changed_classifier_is_refused(model: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = model / "classifier.safetensors"
    before = changed.read_bytes()
    changed.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        assert run_command(app, [str(model), str(videos)]) == 1
    finally:
        changed.write_bytes(before)
    assert "classifier.safetensors is not the file that model.json describes" in capsys.readouterr().err


# How fast it answers


def test_nothing_that_classifies_in_the_command_imports_torch() -> None:
    code = (
        "import sys\n"
        "import tristream.fusion.batch, tristream.fusion.timeline, tristream.tools.classification_output\n"
        "import tristream.tools.report, tristream.streams.inputs\n"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "timm", "cv2", "av"}.isdisjoint(done.stdout.split())
