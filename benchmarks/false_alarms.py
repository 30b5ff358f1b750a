"""Real normal footage: whether false alarms come as often as a detector promises.

    python benchmarks/false_alarms.py [--rate 240]

Each of the fixed cameras in ../shared is cut in time: a detector is fitted and calibrated on the first 70 %, and blocks
of 5 s above its threshold are counted in the rest. UCSD Ped2's six normal clips are taken two at a time, fitted on the
other four. There are minutes of such footage, not days, so the rate is high and the bounds are wide; that the promise
holds over thousands of hours is tested with simulated scores (tests/anomaly/test_calibration.py).
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from clips import SHARED

from tristream.anomaly.calibration import block_peaks
from tristream.anomaly.fitting import FitSettings, fit_detector
from tristream.anomaly.scoring import scores_of
from tristream.fusion.batch import Job, cores
from tristream.fusion.model import load_model
from tristream.fusion.run import run
from tristream.fusion.source import find_model
from tristream.fusion.table import EmbeddingTable
from tristream.fusion.windows import Windows
from tristream.streams.errors import UsageError
from tristream.streams.grid import Grid
from tristream.streams.media import probe

WINDOWS = Windows(1.0, 0.2, Grid(4, 6))
PED2_FPS = 10.0
LEARNT_SHARE, HOLD_OUT = 0.7, 0.4
SETTING = "camera"


def halves(path: Path, folder: Path) -> tuple[list[Path], list[Path]]:
    """A video cut in time: what is learnt from, and the rest."""
    seconds = probe(path).duration_seconds or 0.0
    cut, parts = str(seconds * LEARNT_SHARE), [folder / f"{path.stem}-{part}.mp4" for part in ("first", "rest")]
    for part, option in zip(parts, ("-t", "-ss"), strict=True):
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path), option, cut]
        subprocess.run([*command, "-an", "-c:v", "libx264", "-crf", "16", str(part)], check=True)
    return parts[:1], parts[1:]


def count(
    learn: list[Path], rest: list[Path], rate: float, folder: Path, fps: float | None
) -> tuple[int, int, int, float]:
    """Blocks above the threshold in other footage, the bounds promised for them, and hours of it."""
    source = find_model(SETTING)
    table = folder / f"{learn[0].stem}-{rest[0].stem}"
    with EmbeddingTable(table, source.model_id, WINDOWS) as opened:
        summary = run(
            list(map(str, learn)), opened, Job(source, WINDOWS, 64, fps=fps), jobs=cores(), timeout_seconds=3600
        )
    if summary.errors:
        sys.exit(str(summary.errors))
    detector = fit_detector(table, FitSettings(hold_out=HOLD_OUT, false_alarms_per_hour=rate))
    model, runs = load_model(SETTING, device="cpu"), []
    for path in rest:
        with model.open(path, WINDOWS, fps=fps) as video:
            scores = list(scores_of(detector, video.clips()))
            runs.append((np.array([each.end_seconds for each in scores]), np.array([each.score for each in scores])))
    peaks = block_peaks(runs, detector.calibration.block_seconds)
    hours = len(peaks) * detector.calibration.block_seconds / 3600
    return int((peaks > detector.calibration.threshold(rate)).sum()), *detector.calibration.bounds(rate, hours), hours


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=240.0, help="false alarms an hour")
    rate = parser.parse_args().rate
    print(f"| footage | blocks of 5 s above, at {rate:g} an hour | 95 % bounds | seconds |")
    print("| --- | ---: | ---: | ---: |")
    inside = total = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        trials = [
            (path.stem, *halves(path, folder), None) for path in sorted((SHARED / "data" / "cameras").glob("*.mp4"))
        ]
        clips = sorted((SHARED / "data" / "ped2" / "training" / "frames").iterdir())
        for first in range(0, len(clips), 2):
            rest = clips[first : first + 2]
            trials.append((f"Ped2 {rest[0].name}, {rest[1].name}", [c for c in clips if c not in rest], rest, PED2_FPS))
        for name, learn, rest, fps in trials:
            try:
                found, low, high, hours = count(learn, rest, rate, folder, fps)
            except UsageError:
                print(f"| {name} | too short for a threshold | | |", flush=True)
                continue
            inside, total = inside + (low <= found <= high), total + 1
            print(f"| {name} | {found} | {low} to {high} | {hours * 3600:.0f} |", flush=True)
    print(f"\n{inside} of {total} within their bounds")


if __name__ == "__main__":
    main()
