"""`watch-camera` as its user meets it: a camera in, alarms out, and nothing of its password anywhere."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer
from typing import Any
from urllib.request import urlopen

import pytest

from tristream.tools import fit_anomaly, score_anomaly, watch_camera
from tristream.tools.shell import run_command

sys.path.append(str(Path(__file__).parents[1] / "anomaly"))
from fake_camera import CANARY, PushingCamera, free_port
from fake_footage import FPS, footage

pytestmark = pytest.mark.usefixtures("signals_kept")
CODING = {"fps": FPS, "codec": "libx264", "video_options": {"g": "10", "bf": "0"}}


@pytest.fixture(scope="module")
def detector(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("normal")
    for part in range(3):
        make_video(folder / f"{part}.mp4", frames=footage(30, begin=30 * part), **CODING)
    options = "--grid 2x2 --jobs 1 --false-alarms-per-hour 180".split()
    assert run_command(fit_anomaly.app, [str(folder), "-o", str(folder / "detector"), *options]) == 0
    return folder / "detector"


@pytest.fixture(scope="module")
def strange(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runner at the bottom, from 4 to 7 s."""
    path = tmp_path_factory.mktemp("strange") / "strange.mp4"
    return make_video(path, frames=footage(10, begin=90, runner=(4, 7)), **CODING)


def command(*arguments: str | Path) -> list[str]:
    return [str(Path(sys.executable).with_name("watch-camera")), *map(str, arguments)]


def scores_of_file(detector: Path, path: Path, tmp_path: Path) -> list[float]:
    told = tmp_path / "file.csv"
    assert run_command(score_anomaly.app, [str(detector), str(path), "--scores", str(told), "--jobs", "1"]) == 0
    return [float(row["score"]) for row in csv.DictReader(told.read_text().splitlines())]


@pytest.mark.slow
def test_a_file_at_its_pace_has_the_alarms_and_scores_of_the_file(
    detector: Path, strange: Path, tmp_path: Path
) -> None:
    scores, events = tmp_path / "scores.jsonl", tmp_path / "events"
    options = ["--realtime", "--scores", scores, "--event-folder", events]
    done = subprocess.run(command(detector, strange, *options), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"alarm", "event"} == {each["kind"] for each in told}
    best = max(told, key=lambda each: each["score"])
    assert best["camera"] == "strange"
    assert best["box"][1] == pytest.approx(1 / 3, abs=1e-3)  # of the tiles below
    assert Path(best["snapshot"]).is_file()
    assert Path(best["clip"]).stat().st_size > 1000
    live = [json.loads(line)["score"] for line in scores.read_text().splitlines()]
    assert live == pytest.approx(scores_of_file(detector, strange, tmp_path), rel=1e-4)
    assert "strange: watching (10 frames a second)" in done.stderr
    assert "strange: ended" in done.stderr


@pytest.mark.slow
def test_over_rtsp_the_scores_are_those_of_the_file_and_sigterm_ends_it_in_order(
    detector: Path, strange: Path, tmp_path: Path
) -> None:
    scores, events, port = tmp_path / "scores.jsonl", tmp_path / "events", free_port()
    with PushingCamera(strange) as camera:
        (tmp_path / "cameras.toml").write_text(
            f"""
            detector = "{detector}"
            listen = true
            [[camera]]
            name = "yard"
            url = "{camera.url.replace(CANARY, "${YARD_PASSWORD}")}"
            """
        )
        arguments = ["--cameras", tmp_path / "cameras.toml", "--scores", scores, "--event-folder", events]
        process = subprocess.Popen(
            command(*arguments, "--metrics", port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"YARD_PASSWORD": CANARY},
        )
        timer = Timer(60, process.kill)
        timer.start()
        opened = process.stdout.readline() if process.stdout else ""  # an event opens
        timer.cancel()
        assert opened, process.communicate()
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            metrics = answer.read().decode()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    first = json.loads(opened)
    over = [json.loads(line) for line in out.splitlines()]
    assert first["id"] in [each["id"] for each in over if each["kind"] == "event"]
    assert re.search(r'tristream_up\{camera="yard"\} 1\.0', metrics)
    for name in "camera_fps process_fps dropped reconnects last_frame_age score latency".split():
        assert re.search(rf'^tristream_{name}(_\w+)?\{{camera="yard"\}}', metrics, re.MULTILINE), name
    live = [json.loads(line)["score"] for line in scores.read_text().splitlines()]
    expected = scores_of_file(detector, strange, tmp_path)
    assert len(live) >= 15
    for count in range(min(len(live) - 4, len(expected) - 4)):  # the last windows end elsewhere
        assert live[count] == pytest.approx(expected[count], rel=1e-3)
    written = "".join(path.name + path.read_bytes().decode("latin1") for path in events.iterdir())
    assert CANARY not in opened + out + err + metrics + scores.read_text() + written
    assert "rtsp://***@127.0.0.1" not in out  # the name is enough


@pytest.mark.slow
def test_a_camera_that_never_answers_is_told_and_given_up_where_that_is_asked_for(detector: Path) -> None:
    url = f"rtsp://admin:{CANARY}@127.0.0.1:{free_port()}/x"
    done = subprocess.run(command(detector, url, "--retry", "0"), capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "127.0.0.1: failed: rtsp://***@127.0.0.1" in done.stderr
    assert "Connection refused" in done.stderr
    assert CANARY not in done.stderr + done.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "name a DETECTOR and a SOURCE"),
        (["{detector}"], "name a DETECTOR and a SOURCE"),
        (["{strange}", "rtsp://h/x"], "no detector"),
        (["{detector}", "{strange}"], "--realtime plays it at its own pace"),
        (["{detector}", "nowhere"], "is no camera"),
        (["{detector}", "{missing}", "--realtime"], "no such file"),
        (["{detector}", "rtsp://u:${{NOT_SET}}@h"], "no such variable"),
        (["{detector}", "rtsp://h/x", "--model", "pocket"], "--model names the detector's"),
        (["{detector}", "rtsp://h/x", "--model", "nowhere"], "no model 'nowhere'"),
        (["{detector}", "rtsp://h/x", "--event-folder", "{strange}"], "events cannot be kept in"),
        (
            ["{detector}", "rtsp://h/x", "--event-folder", "{missing}", "--event-folder-size", "0"],
            "room for a megabyte",
        ),
        (["{detector}", "rtsp://h/x", "--scores", "{missing}/x.jsonl"], "cannot write"),
        (["{detector}", "rtsp://h/x", "--webhook", "ftp://h"], "a webhook is"),
        (["{detector}", "rtsp://h/x", "--mqtt", "http://h"], "an MQTT address"),
        (["{detector}", "rtsp://h/x", "--mask", "{missing}"], "no picture that can be read"),
        (["{detector}", "rtsp://h/x", "--false-alarms-per-hour", "0.01"], "held-out normal footage"),
        (["{detector}", "rtsp://h/x", "--threshold", "1", "--false-alarms-per-hour", "1"], "say the same"),
        (["{detector}", "rtsp://h/x", "--metrics", "99999"], "--metrics"),
        (["{detector}", "rtsp://h/x", "--fps", "-1"], "fps must be positive"),
        (["{detector}", "rtsp://h/x", "--cameras", "{missing}"], "cannot be read"),
    ],
)
def test_what_cannot_be_watched_is_one_line(
    arguments: list[str],
    words: str,
    detector: Path,
    strange: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"detector": detector, "strange": strange, "missing": tmp_path / "no"}
    assert run_command(watch_camera.app, [each.format(**places) for each in arguments]) == 1
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 1
