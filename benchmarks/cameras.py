"""Cameras watched at once: how many, how late their scores are, and whether memory stays as it is.

    python benchmarks/cameras.py [--cameras 4] [--minutes 10] [--model pocket] [--window 1] [--stride 0.5] [--grid 1x1]
    python benchmarks/cameras.py --most

Each camera is an FFmpeg of its own (from imageio-ffmpeg) that pushes 640x360 pictures, 25 a second, H.264, over RTSP,
and takes its share of the same cores. With `--most`, cameras are added until frames are dropped or scores are late.

`late` is from when the last frame of a window came (of the frames that came soonest after they were sent) to its score.
`oldest` is how old the newest score of any camera ever was, looked at ten times a second; memory is that of this
process and the cameras' readers without the pages of programs and libraries, its slope that of a line through what was
measured each second after the first minute.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep, time
from typing import Any

import imageio_ffmpeg
import numpy as np
import psutil
from clips import SHARED

from tristream.anomaly.cameras import Camera
from tristream.anomaly.notes import Note, Pulse, Scored, State
from tristream.anomaly.watcher import Watcher
from tristream.tools import fit_anomaly
from tristream.tools.shell import run_command

SOURCE = SHARED / "data" / "cameras" / "one-by-one-person-detection.mp4"
WARM_UP_SECONDS = 10.0
FIRST_MINUTE_SECONDS = 60.0
TRIAL_SECONDS = 40.0
FIRST_PORT = 18554
LEAST_SHARE = 0.98  # of the frames that must be worked on
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


class Pusher:
    """Pushes a clip to a port whenever somebody listens there."""

    def __init__(self, clip: Path, port: int) -> None:
        self._clip, self._port, self._stop = clip, port, Event()
        self.peer: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        wanted = f":{self._port:04X} "
        while not self._stop.wait(0.1):
            lines = Path("/proc/net/tcp").read_text().splitlines()
            if (self.peer is None or self.peer.poll() is not None) and any(
                wanted in line and " 0A " in line for line in lines
            ):
                command = [FFMPEG, "-loglevel", "quiet", "-re", "-stream_loop", "-1", "-i", str(self._clip)]
                command += ["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", f"rtsp://127.0.0.1:{self._port}/cam"]
                self.peer = subprocess.Popen(command)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        if self.peer is not None:
            self.peer.kill()
            self.peer.wait()


class Meter:
    """What a watcher says, as figures."""

    def __init__(self, names: list[str]) -> None:
        self.late: list[float] = []
        self.newest: dict[str, float] = {}
        self.pulses: dict[str, Pulse] = {}
        self.worked: defaultdict[str, int] = defaultdict(int)
        self.scores: defaultdict[str, int] = defaultdict(int)
        self.lost = 0
        self.names = names

    def __call__(self, note: Note) -> None:
        if isinstance(note, Scored):
            self.late.append(note.latency_seconds)
            self.newest[note.camera] = note.time
            self.scores[note.camera] += 1
        elif isinstance(note, Pulse):
            self.pulses[note.camera] = note
            self.worked[note.camera] += note.worked
        elif isinstance(note, State) and note.state in ("lost", "failed"):
            self.lost += 1

    def begin(self) -> None:
        """Forget what was before."""
        self.late, self.scores = [], defaultdict(int)
        self.worked = defaultdict(int)
        self.came = {name: pulse.came for name, pulse in self.pulses.items()}
        self.dropped = {name: pulse.dropped for name, pulse in self.pulses.items()}

    def age_seconds(self) -> float:
        """Of the newest score of the camera that is worst off."""
        return time() - min(self.newest.values())


def memory_bytes() -> tuple[int, int]:
    """Of this process, and of the readers, without the pages of programs and libraries, which others share."""
    own, readers = 0, 0
    here = psutil.Process()
    for process in [here, *here.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, OSError, IndexError):  # it has just ended
            if "ffmpeg" not in process.name():
                status = Path(f"/proc/{process.pid}/status").read_text()
                size_bytes = 1024 * int(status.split("RssAnon:")[1].split()[0])
                own, readers = (size_bytes, readers) if process == here else (own, readers + size_bytes)
    return own, readers


def cpu_seconds(processes: list[Any]) -> float:
    """That processes have used so far."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
            total += times.user + times.system
        except psutil.NoSuchProcess:
            pass
    return total


def watch(cameras: int, seconds: float, detector: Path, clip: Path, stride_seconds: float) -> dict[str, float]:
    """Watch so many cameras for so long."""
    names = [f"camera-{number}" for number in range(cameras)]
    meter, stop = Meter(names), Event()
    with ExitStack() as stack:
        pushers = [Pusher(clip, FIRST_PORT + number) for number in range(cameras)]
        for pusher in pushers:
            stack.callback(pusher.stop)
        watched = [
            Camera(name, f"rtsp://127.0.0.1:{FIRST_PORT + number}/cam", str(detector), listen=True)
            for number, name in enumerate(names)
        ]
        thread = Thread(target=Watcher(watched).run, args=(meter, stop))
        stack.callback(thread.join)
        stack.callback(stop.set)
        thread.start()
        began = monotonic()
        while len(meter.newest) < cameras:
            if monotonic() - began > 60:
                sys.exit(f"only {len(meter.newest)} of {cameras} cameras were scored within a minute")
            sleep(0.1)
        sleep(WARM_UP_SECONDS)
        meter.begin()
        here = psutil.Process()
        feeding = [psutil.Process(pusher.peer.pid) for pusher in pushers if pusher.peer is not None]
        own = [here, *(child for child in here.children(recursive=True) if child not in feeding)]
        before = cpu_seconds(own), cpu_seconds(feeding)
        began, oldest, memory = monotonic(), 0.0, []
        while (now := monotonic() - began) < seconds:
            oldest = max(oldest, meter.age_seconds())
            if len(memory) <= now:
                memory.append((now, *memory_bytes()))
            sleep(0.1)
        spent = cpu_seconds(own) - before[0], cpu_seconds(feeding) - before[1]
        elapsed = monotonic() - began
        came = sum(pulse.came - meter.came[name] for name, pulse in meter.pulses.items())
        dropped = sum(pulse.dropped - meter.dropped[name] for name, pulse in meter.pulses.items())
        late = np.array(meter.late)
        settled = np.array([each for each in memory if each[0] >= min(FIRST_MINUTE_SECONDS, seconds / 2)])
        slopes = np.polyfit(settled[:, 0], settled[:, 1:], 1)[0] * 60 / 1e6  # MB a minute
        return {
            "cameras": cameras,
            "camera_fps": came / elapsed / cameras,
            "worked_share": sum(meter.worked.values()) / max(1, came),
            "dropped": dropped,
            "lost": meter.lost,
            "scores_per_second": sum(meter.scores.values()) / elapsed / cameras,
            "late_median_seconds": float(np.median(late)),
            "late_p99_seconds": float(np.quantile(late, 0.99)),
            "oldest_seconds": oldest,
            "allowed_seconds": 2 * stride_seconds + 1,
            "memory_mb": settled[-1, 1:].sum() / 1e6,
            "own_slope": float(slopes[0]),
            "readers_slope": float(slopes[1]),
            "cores_busy": spent[0] / elapsed,
            "cores_pushing": spent[1] / elapsed,
        }


def tell(found: dict[str, float]) -> None:
    """One row."""
    print(
        f"| {found['cameras']} | {found['camera_fps']:.1f} | {found['worked_share']:.1%} | {found['dropped']} | "
        f"{found['scores_per_second']:.2f} | {found['late_median_seconds']:.2f} | {found['late_p99_seconds']:.2f} | "
        f"{found['oldest_seconds']:.2f} of {found['allowed_seconds']:g} | {found['memory_mb']:.0f} | "
        f"{found['own_slope']:+.2f} {found['readers_slope']:+.2f} | "
        f"{found['cores_busy']:.2f} + {found['cores_pushing']:.2f} |",
        flush=True,
    )


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--most", action="store_true", help="how many cameras can be watched, and no more")
    parser.add_argument("--from", dest="first", type=int, default=1, help="with --most: begin with so many")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--window", type=float, default=1.0)
    parser.add_argument("--stride", type=float, default=0.5)
    parser.add_argument("--grid", default="1x1")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clip, detector = folder / "clip.mp4", folder / "detector"
        command = [FFMPEG, "-loglevel", "error", "-i", str(SOURCE), "-t", "60", "-an", "-vf", "scale=640:360,fps=25"]
        subprocess.run([*command, "-c:v", "libx264", "-b:v", "1M", "-g", "50", "-bf", "0", str(clip)], check=True)
        cut = ["--window", str(arguments.window), "--stride", str(arguments.stride), "--grid", arguments.grid]
        if run_command(
            fit_anomaly.app, [str(clip), "-o", str(detector), "--model", arguments.model, "--hold-out", "0", *cut]
        ):
            sys.exit("no detector")
        columns = "cameras; frames/s each; worked on; dropped; scores/s each; late, median s; 99 %; oldest s; memory MB"
        columns += "; slope MB/min, own and readers'; cores busy + pushing"
        print(f"| {columns.replace('; ', ' | ')} |")
        print("|" + " ---: |" * (columns.count(";") + 1))
        if not arguments.most:
            tell(watch(arguments.cameras, 60 * arguments.minutes, detector, clip, arguments.stride))
            return
        for cameras in range(arguments.first, 100):
            found = watch(cameras, TRIAL_SECONDS, detector, clip, arguments.stride)
            tell(found)
            if found["worked_share"] < LEAST_SHARE or found["oldest_seconds"] > found["allowed_seconds"]:
                return


if __name__ == "__main__":
    main()
