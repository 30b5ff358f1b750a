"""`embed-video` as its user meets it: what it prints, what it leaves, how it ends, how fast it answers."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.dataset
import pytest

from tristream.fusion.table import EmbeddingTable
from tristream.streams.errors import TableError
from tristream.tools.embed_video import app
from tristream.tools.shell import run_command

sys.path.append(str(Path(__file__).parent))
from start_up import imported_by

COMMAND = Path(sys.executable).with_name("embed-video")
# Small pieces for the small clips here, and the same results whatever the number of workers.
OPTIONS = ["--dtype", "float32"]
TINY = {"height": 48, "width": 64, "sound_hz": 16000}


@dataclass(frozen=True)
class Ran:
    """A run of the command that has ended."""

    code: int
    out: str
    err: str
    seconds: float


def _embed(*arguments: str | Path, **named: Any) -> Ran:
    began = time.monotonic()
    done = subprocess.run(
        [COMMAND, *map(str, arguments), *OPTIONS], capture_output=True, text=True, timeout=240, **named
    )
    return Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def _rows(table: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pyarrow.dataset.dataset(table).to_table().to_pylist()
    return rows


def _by_name(rows: list[dict[str, Any]], level: str) -> dict[str, dict[str, Any]]:
    named = {Path(row["path"]).name: row for row in rows if row["level"] == level}
    assert len(named) == sum(row["level"] == level for row in rows)
    return named


@pytest.fixture(scope="module")
def videos(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good and bad files, and a list that names one more than there is."""
    folder = tmp_path_factory.mktemp("videos")
    for seed, name in enumerate(["a.avi", "b.avi", "cut.avi", "flipped.avi"]):
        make_video(folder / name, seconds=1, seed=seed, **TINY)
    shutil.copy(folder / "a.avi", folder / "copy-of-a.avi")
    make_video(folder / "silent.avi", seconds=1, height=48, width=64)
    whole = (folder / "cut.avi").read_bytes()
    (folder / "cut.avi").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray((folder / "flipped.avi").read_bytes())
    for at in range(len(flipped) // 3, len(flipped) - 1000, 1500):
        flipped[at] ^= 0x10
    (folder / "flipped.avi").write_bytes(flipped)
    (folder / "x.mp4").write_text("this is no video\n" * 20)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "notes.md").write_text("not named like a video")
    names = sorted(path.name for path in folder.iterdir() if path.suffix != ".md")
    (folder / "list.txt").write_text("\n".join(["# videos", *names, "missing.mp4"]))
    return folder


@pytest.fixture(scope="module")
def mixed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    """The list embedded into a table by two workers."""
    table = tmp_path_factory.mktemp("mixed") / "table"
    return _embed(videos / "list.txt", "-o", table, "--jobs", "2"), table


# A folder of good and bad files


def test_some_failed_is_exit_code_2_and_the_summary_adds_up(mixed: tuple[Ran, Path]) -> None:
    ran, table = mixed
    assert ran.code == 2, ran.err
    assert ran.out == ""
    assert f"9 videos: 5 embedded, 1 copied (same content), 3 failed -> {table}" in ran.err
    assert "5 clips in " in ran.err
    assert "Traceback" not in ran.err
    assert "untrained" not in ran.err


def test_every_file_has_its_video_row_and_clip_rows_where_it_could_be_read(mixed: tuple[Ran, Path]) -> None:
    rows = _rows(mixed[1])
    videos, clips = _by_name(rows, "video"), _by_name(rows, "clip")
    assert set(videos) == {
        *(
            "a.avi",
            "b.avi",
            "copy-of-a.avi",
            "cut.avi",
            "flipped.avi",
            "silent.avi",
            "x.mp4",
            "empty.mp4",
            "missing.mp4",
        )
    }
    assert set(clips) == {name for name in videos if name.endswith(".avi")}
    for name, row in videos.items():
        good = name.endswith(".avi")
        assert row["status"] == ("ok" if good else "error")
        assert (row["embedding"] is not None) == good
        assert (row["error"] is None) == good
        if good:
            assert np.isfinite(row["embedding"]).all()
            assert np.any(row["embedding"])
    assert videos["a.avi"]["has_audio"]
    assert not videos["silent.avi"]["has_audio"]
    assert (videos["a.avi"]["width"], videos["a.avi"]["height"], videos["a.avi"]["fps"]) == (64, 48, 25)


def test_errors_and_warnings_say_what_is_wrong(mixed: tuple[Ran, Path]) -> None:
    ran, table = mixed
    videos = _by_name(_rows(table), "video")
    assert "empty.mp4 is empty" in videos["empty.mp4"]["error"]
    assert "x.mp4 cannot be opened as a video or sound file" in videos["x.mp4"]["error"]
    assert "missing.mp4" in videos["missing.mp4"]["error"]
    assert videos["cut.avi"]["duration_seconds"] < 0.9
    assert videos["cut.avi"]["warning"].startswith("truncated")
    for name in ("empty.mp4", "x.mp4", "missing.mp4"):
        assert ran.err.count(f"failed: {videos[name]['error']}") == 1
    assert "embedded with a warning in the rows" in ran.err


def test_copies_are_embedded_once_with_a_row_for_each(mixed: tuple[Ran, Path]) -> None:
    videos = _by_name(_rows(mixed[1]), "video")
    original, copy = videos["a.avi"], videos["copy-of-a.avi"]
    assert original["path"] != copy["path"]
    assert {name: value for name, value in original.items() if name != "path"} == {
        name: value for name, value in copy.items() if name != "path"
    }


def test_the_schema_says_where_each_stream_is(mixed: tuple[Ran, Path]) -> None:
    schema = pyarrow.dataset.dataset(mixed[1]).schema
    streams = json.loads(schema.metadata[b"tristream"])["streams"]
    assert list(streams) == ["spatial", "temporal", "audio"]
    silent = _by_name(_rows(mixed[1]), "video")["silent.avi"]["embedding"]
    begin, size = streams["audio"]["offset"], streams["audio"]["length"]
    assert begin + size == len(silent) == schema.field("embedding").type.list_size
    assert not np.any(silent[begin:])
    assert np.any(silent[:begin])


def test_one_worker_gives_the_same_embeddings_as_two(mixed: tuple[Ran, Path], videos: Path, tmp_path: Path) -> None:
    ran = _embed(videos / "list.txt", "-o", tmp_path / "one.npz", "--jobs", "1")
    assert ran.code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "one.npz.partial"]  # some have failed
    with np.load(tmp_path / "one.npz") as file:
        one = {(file["path"][i], file["level"][i]): file["embedding"][i] for i in range(len(file["id"]))}
    two = {(row["path"], row["level"]): row["embedding"] for row in _rows(mixed[1])}
    assert set(one) == set(two)
    for key, vector in two.items():
        if vector is None:
            assert np.isnan(one[key]).all()
        else:
            np.testing.assert_allclose(one[key], vector, rtol=0, atol=1e-5)


def test_nothing_to_do_is_said_at_once_without_loading_a_library(mixed: tuple[Ran, Path], videos: Path) -> None:
    before = sorted((entry.name, entry.stat().st_mtime_ns) for entry in mixed[1].iterdir())
    ran = _embed(videos / "a.avi", videos / "b.avi", "-o", mixed[1])
    assert ran.code == 0, ran.err
    assert "2 videos: 2 done already" in ran.err
    assert "nothing to do" in ran.err
    assert ran.seconds < 3
    assert sorted((entry.name, entry.stat().st_mtime_ns) for entry in mixed[1].iterdir()) == before
    arguments = [str(videos / "a.avi"), "-o", str(mixed[1])]
    assert imported_by("embed_video", arguments).isdisjoint({"torch", "timm", "cv2", "av", "pandas", "scipy"})
    again = _embed(videos / "list.txt", "-o", mixed[1])
    assert (again.code, again.seconds < 3) == (2, True)
    assert "3 failed before (--retry-failed tries again)" in again.err


def test_a_dry_run_says_what_would_be_done_and_touches_nothing(mixed: tuple[Ran, Path], videos: Path) -> None:
    before = sorted((entry.name, entry.stat().st_mtime_ns) for entry in mixed[1].iterdir())
    ran = _embed(videos, "-o", mixed[1], "--dry-run", "--jobs", "1")
    assert ran.code == 2
    lines = {Path(line.split("\t")[1]).name: line.split("\t") for line in ran.out.splitlines()}
    assert len(lines) == 8
    assert lines["a.avi"][0] == "done already"
    assert lines["a.avi"][2:] == ["1.00 s", "64x48 25 fps", "sound"]
    assert lines["silent.avi"][4] == "no sound"
    assert lines["x.mp4"][0] == "error"
    assert "8 files, 2 of which cannot be opened; nothing was done" in ran.err
    assert "2 files in the folders have no suffix of a video" in ran.err
    assert sorted((entry.name, entry.stat().st_mtime_ns) for entry in mixed[1].iterdir()) == before


def test_standard_output_is_json_lines_and_limit_leaves_the_rest(videos: Path) -> None:
    ran = _embed(videos / "a.avi", videos / "b.avi", "-o", "-", "--limit", "1", "--jobs", "1")
    assert ran.code == 0, ran.err
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [row["level"] for row in rows] == ["video", "clip"]
    assert len(rows[0]["embedding"]) > 100
    assert "2 videos: 1 embedded, 1 left for later (--limit) -> standard output" in ran.err


def test_all_failed_is_exit_code_3(videos: Path, tmp_path: Path) -> None:
    ran = _embed(videos / "x.mp4", videos / "empty.mp4", "-o", tmp_path / "table", "--jobs", "1")
    assert ran.code == 3
    assert "2 videos: 2 failed ->" in ran.err
    assert [row["status"] for row in _rows(tmp_path / "table")] == ["error"] * 2


# Interrupted and killed


class _Terminal:
    """The command under a terminal of its own, as its user has it."""

    def __init__(self, *arguments: str | Path) -> None:
        self.seen = ""
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.environ["COLUMNS"] = "120"
            signal.signal(
                signal.SIGINT, signal.SIG_DFL
            )  # tests run in a script's background inherit that it is ignored
            os.execv(COMMAND, [str(COMMAND), *map(str, arguments), *OPTIONS])  # noqa: S606

    def read_until(self, *texts: str) -> None:
        """Wait for one of these to show."""
        while not any(text in self.seen for text in texts):
            if not self._read():
                raise AssertionError(self.seen)

    def type(self, key: bytes) -> None:
        os.write(self._master, key)

    def end(self) -> int:
        """Read to the end; the exit code, or minus the signal."""
        while self._read():
            pass
        os.close(self._master)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 4096)
        except OSError:  # the other side has gone
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)


@pytest.fixture(scope="module")
def longer(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("longer")
    for seed in range(6):
        make_video(folder / f"{seed}.avi", seconds=4, seed=seed, **TINY)
    return folder


@pytest.fixture
def no_worker_left() -> Iterator[None]:
    """Every process that a test begins ends within 3 s of it."""
    yield
    began = time.monotonic()
    while any(_is_worker(process) for process in psutil.process_iter()):
        assert time.monotonic() - began < 3
        time.sleep(0.05)


def _is_worker(process: psutil.Process) -> bool:
    """Whether a process was begun by a command that has ended: then init is its parent."""
    try:
        return process.ppid() == 1 and "multiprocessing.spawn" in " ".join(process.cmdline())
    except psutil.Error:
        return False


@pytest.mark.slow
def test_ctrl_c_and_kill_9_lose_nothing_that_was_done(longer: Path, tmp_path: Path, no_worker_left: None) -> None:
    whole, table = tmp_path / "whole", tmp_path / "table"
    terminal = _Terminal(longer, "-o", table, "--jobs", "2")
    terminal.read_until("1/6", "2/6")
    terminal.type(b"\x03")
    assert terminal.end() == 130, terminal.seen
    assert "interrupted: what was done is kept" in terminal.seen
    assert "Traceback" not in terminal.seen
    assert "KeyboardInterrupt" not in terminal.seen
    kept = {row["path"] for row in _rows(table)}
    assert 1 <= len(kept) < 6

    terminal = _Terminal(longer, "-o", table, "--jobs", "2")
    terminal.read_until(f"{len(kept) + 1}/6", f"{len(kept) + 2}/6")
    children = psutil.Process(terminal.pid).children(recursive=True)
    assert len(children) >= 2
    os.kill(terminal.pid, signal.SIGKILL)
    assert terminal.end() == -signal.SIGKILL
    assert psutil.wait_procs(children, timeout=3)[1] == []
    assert kept <= {row["path"] for row in _rows(table)}

    resumed, fresh = _embed(longer, "-o", table), _embed(longer, "-o", whole)
    assert (resumed.code, fresh.code) == (0, 0)
    assert "done already" in resumed.err
    rows, expected = _rows(table), {row["id"]: row for row in _rows(whole)}
    assert sorted(row["id"] for row in rows) == sorted(expected)
    for row in rows:
        assert (row["path"], row["status"]) == (expected[row["id"]]["path"], "ok")
        np.testing.assert_allclose(row["embedding"], expected[row["id"]]["embedding"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_politely_ends_like_ctrl_c(
    longer: Path, tmp_path: Path, number: signal.Signals, no_worker_left: None
) -> None:
    command = subprocess.Popen(
        [COMMAND, longer, "-o", tmp_path / "table", "--jobs", "1"], stderr=subprocess.PIPE, text=True
    )
    began = time.monotonic()
    while not psutil.Process(command.pid).children() and time.monotonic() - began < 30:
        time.sleep(0.05)
    time.sleep(1)  # a worker ended while multiprocessing still unpacks it may print a traceback of its own
    command.send_signal(number)
    _, err = command.communicate(timeout=20)
    assert command.returncode == 130, err
    assert "interrupted: what was done is kept" in err
    assert "Traceback" not in err


# Wrong inputs


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line that a command refused with."""
    assert run_command(app, [str(argument) for argument in arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    lines = [line for line in captured.err.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.usefixtures("signals_kept")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["Missing argument", "see --help"]),
        (["--treams", "audio"], ["No such option: --treams", "--streams", "see --help"]),
        (["--flow", "farnbäck"], ["--flow", "'farnbäck' is not one of 'dis', 'tvl1', 'farneback'"]),
        (["--jobs", "0"], ["--jobs", "greater than or equal to 1"]),
        (["--window", "long"], ["--window", "see --help"]),
        (["--model", "pocked"], ["no model 'pocked'", "pocket, tkachenko2018"]),
        (["--streams", "smell"], ["no stream 'smell' in this model; it has spatial, temporal, audio"]),
        (["--window", "2", "--stride", "3"], ["stride must be more than 0 and at most the window of 2"]),
        (["--timeout", "0"], ["timeout must be more than 0 seconds"]),
        (["--spatial-weights", "none.safetensors"], ["no weights file at none.safetensors"]),
        (["--model", "tkachenko2018"], ["tkachenko2018 has no trained weights for", "or pass --untrained"]),
        (["-o", "rows.csv"], [".csv is not written; use a folder, FILE.npz, FILE.jsonl or -"]),
    ],
)
def test_wrong_arguments_get_one_line_that_says_what_to_do(
    arguments: list[str],
    said: list[str],
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    line = _refused(capsys, *([videos / "a.avi"] if arguments else []), *arguments)
    assert [words for words in said if words not in line] == [], line
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("signals_kept")
def test_inputs_that_are_not_there_get_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no such file or folder: nothing.avi" in _refused(capsys, "nothing.avi")
    assert "no file matches *.avi" in _refused(capsys, "*.avi")
    (tmp_path / "empty").mkdir()
    assert "no video or sound file in the inputs: name files" in _refused(capsys, "empty")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.usefixtures("signals_kept")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backbone", "nonesuch", "--recurrent", "mean"], "no backbone 'nonesuch'"),
        (["--spatial-weights", "backbone.pth", "--recurrent", "mean"], "backbone.pth is neither .safetensors nor .npz"),
        (
            ["--model", "tkachenko2018", "--streams", "spatial", "--recurrent", "mean"],
            "--spatial-weights FILE or --untrained",
        ),
    ],
)
def test_a_model_that_cannot_be_loaded_gets_one_line_and_leaves_no_table(
    arguments: list[str],
    said: str,
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    (tmp_path / "backbone.pth").write_bytes(b"\x80\x02pickle")
    assert said in _refused(capsys, videos / "a.avi", "--jobs", "1", *arguments)
    assert not (tmp_path / "embeddings").exists()


@pytest.mark.usefixtures("signals_kept")
@pytest.mark.parametrize("arguments", [["--backbone", "nonesuch"], ["--timeout", "-1"], ["--device", "cuda"], []])
def test_overwrite_with_a_mistake_keeps_the_old_table(
    arguments: list[str],
    mixed: tuple[Ran, Path],
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    table, empty = tmp_path / "table", tmp_path / "empty"
    shutil.copytree(mixed[1], table)
    empty.mkdir()
    before = sorted((entry.name, entry.read_bytes()) for entry in table.iterdir())
    _refused(capsys, videos / "a.avi" if arguments else empty, "-o", table, "--overwrite", "--jobs", "1", *arguments)
    assert sorted((entry.name, entry.read_bytes()) for entry in table.iterdir()) == before


@pytest.mark.usefixtures("signals_kept")
def test_debug_shows_where_an_error_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(app, ["x.avi", "--model", "pocked", "--debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: no model 'pocked'")


@pytest.mark.usefixtures("signals_kept")
def test_a_full_disk_ends_with_exit_code_1_and_one_line(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: EmbeddingTable) -> None:
        raise TableError("cannot write to the table: No space left on device")

    monkeypatch.setattr(EmbeddingTable, "flush", full)
    assert "No space left on device" in _refused(capsys, videos / "a.avi", "-o", tmp_path / "table", "--jobs", "1")


@pytest.mark.usefixtures("signals_kept")
def test_a_fault_of_our_own_is_one_line_too(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("tristream.streams.inputs.find_inputs", fail)
    line = _refused(capsys, videos / "a.avi", "-o", tmp_path / "table")
    assert line == "error: ZeroDivisionError: division by zero; this is a fault of tristream, --debug shows where"


def test_help_names_every_option_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(app, ["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Exit codes: 0 all done, 1 usage or set-up, 2 some inputs failed, 3 all failed, 130 interrupted." in shown
    for option in (
        *("--output", "--model", "--streams", "--device", "--batch-size", "--window", "--stride", "--flow"),
        *("--sampling", "--jobs", "--timeout", "--retry-failed", "--limit", "--dry-run", "--overwrite", "--untrained"),
        *("--spatial-weights", "--audio-weights", "--debug"),
    ):
        assert option in shown
    assert "[default: (one a core)" in shown
