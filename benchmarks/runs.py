"""What whole runs of `embed-video` do, on the real files beside the checkout: each part prints its figures.

    python benchmarks/runs.py jobs | damaged | kill | memory | startup

jobs     all clips, odd containers and cameras, with one worker and with two: equal embeddings, no NaN
damaged  a folder of a text, an empty, a truncated, a bit-flipped and a good file
kill     `kill -9` half way, resumed, against an uninterrupted run; then once more
memory   peak memory of all processes on 10 and 30 minutes of 1280x720
startup  seconds of `embed-video --help` and `import tristream`, and what they import
"""

import csv
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.dataset as ds
from clips import SHARED, make_clip
from embed import tree_bytes

COMMAND = str(Path(sys.executable).with_name("embed-video"))
DATA = SHARED / "data"
Key = tuple[str, str, float]


def embed(*words: str | Path) -> tuple[int, float]:
    """Run the command; its exit code and seconds. What it says goes to standard error."""
    began = time.perf_counter()
    code = subprocess.run([COMMAND, *map(str, words)], check=False).returncode
    return code, time.perf_counter() - began


def rows_of(folder: Path) -> dict[Key, dict[str, object]]:
    """The rows of a table by what names them; a name that comes twice ends the run."""
    rows = ds.dataset(folder).to_table().to_pylist()
    named = {(row["path"], row["level"], row["start_seconds"]): row for row in rows}
    if len(named) != len(rows):
        sys.exit(f"{len(rows) - len(named)} rows of {folder} are there twice")
    return named


def difference(one: dict[Key, dict[str, object]], other: dict[Key, dict[str, object]]) -> float:
    """The largest difference between the embeddings of two tables of the same rows."""
    if one.keys() != other.keys():
        sys.exit(f"the tables differ in {len(one.keys() ^ other.keys())} rows")
    pairs = [(one[key]["embedding"], other[key]["embedding"]) for key in one]
    return max(float(np.abs(np.array(a) - np.array(b)).max()) for a, b in pairs if a is not None and b is not None)


def jobs(folder: Path) -> None:
    """Every real clip, with one worker and with two."""
    inputs = [DATA / name for name in ("ucf101-6c", "odd-containers", "cameras")]
    for count in (2, 1):
        code, seconds = embed(*inputs, "-o", folder / str(count), "--jobs", str(count), "--dtype", "float32")
        print(f"--jobs {count}: exit {code} in {seconds:.0f} s")
    two, one = rows_of(folder / "2"), rows_of(folder / "1")
    videos = {path: row for (path, level, _), row in two.items() if level == "video"}
    clips = [row for (_, level, _), row in two.items() if level == "clip"]
    several = sum(row["duration_seconds"] > 36.96 for row in videos.values())
    print(f"{len(videos)} videos, {len(clips)} clips, {several} videos longer than a window")
    with (DATA / "ucf101-6c" / "labels.csv").open(newline="") as file:
        sound = {
            str(DATA / "ucf101-6c" / row["path"]): row["audio"] not in ("", "none") for row in csv.DictReader(file)
        }
    wrong = [path for path, has in sound.items() if videos[path]["has_audio"] != has]
    print(f"has_audio differs from labels.csv in {len(wrong)} of {len(sound)}")
    print(f"NaN in {sum(not np.isfinite(row['embedding']).all() for row in two.values())} of {len(two)} rows")
    print(f"largest difference between --jobs 1 and --jobs 2: {difference(one, two):.2g}")


def damaged(folder: Path) -> None:
    """Files of every kind of damage."""
    clips = folder / "clips"
    clips.mkdir()
    good = DATA / "odd-containers" / "bikes.mp4"
    data = good.read_bytes()
    (clips / "x.mp4").write_text("this is no video\n")
    (clips / "empty.avi").touch()
    avi = (DATA / "odd-containers" / "test.avi").read_bytes()
    (clips / "truncated.avi").write_bytes(avi[: len(avi) // 2])
    flipped = bytearray(data)
    for place in np.random.default_rng(0).integers(len(data) // 4, len(data) * 3 // 4, 200):
        flipped[place] ^= 1 << int(place % 8)
    (clips / "flipped.mp4").write_bytes(flipped)
    shutil.copyfile(good, clips / "good.mp4")
    code, _ = embed(clips, "-o", folder / "table", "--jobs", "2")
    print(f"exit {code}")
    for (path, level, _), row in sorted(rows_of(folder / "table").items()):
        if level == "video":
            print(f"{Path(path).name:14} {row['status']:6} {row['error'] or row['warning']}")


def kill(folder: Path) -> None:
    """Killed half way and resumed, the table is the one of an uninterrupted run."""
    inputs = DATA / "ucf101-6c" / "test"
    code, seconds = embed(inputs, "-o", folder / "whole", "--dtype", "float32")
    print(f"uninterrupted: exit {code} in {seconds:.0f} s")
    words = [COMMAND, str(inputs), "-o", str(folder / "killed"), "--dtype", "float32"]
    process = subprocess.Popen(words)
    time.sleep(seconds / 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(rows_of(folder / "killed"))
    code, seconds = embed(*words[1:])
    print(f"killed with {kept} rows written; resumed: exit {code} in {seconds:.0f} s")
    whole, killed = rows_of(folder / "whole"), rows_of(folder / "killed")
    print(f"{len(killed)} rows, largest difference to the uninterrupted run {difference(whole, killed):.2g}")
    code, seconds = embed(*words[1:])
    print(f"once more: exit {code} in {seconds:.2f} s")


def memory(folder: Path) -> None:
    """Long videos in little memory."""
    for minutes in (10, 30):
        clip = make_clip(folder / f"{minutes}.mkv", 60.0 * minutes)
        words = [COMMAND, str(clip), "-o", str(folder / f"table-{minutes}")]
        process, peak_bytes = psutil.Popen(words), 0
        began = time.perf_counter()
        while process.poll() is None:
            peak_bytes = max(peak_bytes, tree_bytes(process))
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        figures = f"exit {process.returncode}, peak {peak_bytes / 1e9:.2f} GB, {60 * minutes / seconds:.1f} x real time"
        print(f"{minutes} min of 1280x720: {figures}")
        clip.unlink()


def startup(_: Path) -> None:
    """How fast the command and the package answer."""
    for words in ([COMMAND, "--help"], [sys.executable, "-c", "import tristream"], [sys.executable, "-c", ""]):
        times = []
        for _ in range(7):
            began = time.perf_counter()
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - began)
        print(f"{min(times):.3f} s (median {sorted(times)[3]:.3f})  {' '.join([Path(words[0]).name, *words[1:]])}")
    check = "import sys, tristream.tools.embed_video; print('torch' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True).stdout
    print(f"torch imported for --help: {loaded.strip()}")


PARTS = {part.__name__: part for part in (jobs, damaged, kill, memory, startup)}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in PARTS:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as temporary:
        PARTS[sys.argv[1]](Path(temporary))
