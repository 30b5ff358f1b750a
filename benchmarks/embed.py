"""How fast and how large embedding a clip is, and how much faster than the plain script most people write.

    python benchmarks/embed.py [CLIP] [--model pocket] [--backbone NAME] [--memory] [--json FILE]

Seconds of decoding, flow, CNNs and recurrent encoders (they overlap), times real time, the share of the bare
CNN's rate that is left end to end; and, where the model has a spatial stream that takes every frame, the ratio to
OpenCV VideoCapture, PIL transforms and timm in float32, batches of 8, one after another, with the cosine between both
features. `--sound` takes a real clip that has sound.
All speeds are of one process, measured in turn, as medians. `--make SECONDS` makes a 1280x720 clip first.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from threading import Lock
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in embed-video's workers

import cv2
import numpy as np
import psutil
import timm
import torch
from clips import make_clip, real_clip
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from tristream.fusion.model import Model, load_model
from tristream.streams.placement import select_dtype

PLAIN_BATCH = 8
LONGEST_IN_MEMORY_SECONDS = 60  # longer clips are not compared frame by frame


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    warnings.simplefilter("ignore", UserWarning)  # untrained weights cost the same time
    with tempfile.TemporaryDirectory() as folder:
        clip = _clip(arguments, Path(folder))
        figures: dict[str, Any] = measure(clip, arguments) if arguments.repeats else {"clip": clip.name}
        if arguments.memory:
            figures |= memory(clip, arguments, Path(folder))
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:{width}}  {value:.4g}" if isinstance(value, float) else f"{name:{width}}  {value}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=2) + "\n")


def measure(clip: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Speeds of embedding `clip`, in this process."""
    model = load_model(arguments.model, untrained=True, **_changes(arguments))
    clock = Clock()
    for stream in model.streams.values():
        stream.features = clock.timed("cnn", stream.features)  # type: ignore[method-assign]
        stream.vectors = clock.timed("recurrent", stream.vectors)  # type: ignore[method-assign]
    result = model.embed(clip)  # the first run warms up
    runs: dict[str, list[float]] = defaultdict(list)
    # The plain script takes every frame: of a model that takes a few a second, it would tell nothing.
    every = model.config.sampling.strategy not in ("per-second", "every-nth")
    short = every and (result.duration_seconds or 0) < LONGEST_IN_MEMORY_SECONDS
    frames = _pictures(clip, model) if model.picture is not None and short else None
    plain = _plain(model) if frames is not None and not arguments.no_plain else None
    for _ in range(arguments.repeats):
        clock.seconds.clear()
        began, began_cpu = time.perf_counter(), time.process_time()
        result = model.embed(clip)
        runs["wall"].append(time.perf_counter() - began)
        runs["cpu"].append(time.process_time() - began_cpu)
        runs["decode"].append(result.decode_seconds)
        runs["flow"].append(result.flow_seconds)
        for name, seconds in clock.seconds.items():
            runs[name].append(seconds)
        if frames is not None:
            runs["bare"].append(_bare(model, frames))
        if plain is not None:
            began = time.perf_counter()
            features = plain(clip)
            runs["plain"].append(time.perf_counter() - began)
    seconds = {name: median(values) for name, values in runs.items() if values}
    cores = len(psutil.Process().cpu_affinity())
    figures = {"clip": clip.name, "clip_seconds": result.duration_seconds, "cores": cores}
    figures["dtype"] = str(select_dtype(model.device, model.dtype)).removeprefix("torch.")
    figures |= {f"{name}_seconds": value for name, value in seconds.items()}
    figures["times_real_time"] = (result.duration_seconds or 0) / seconds["wall"]
    # With all cores busy all the time it would take this share of the time.
    figures["share_of_cores_busy"] = seconds["cpu"] / cores / seconds["wall"]
    if frames is not None:
        figures["frames"] = len(frames)
        figures["frames_a_second"] = len(frames) / seconds["wall"]
        figures["share_of_bare_forward"] = median(b / w for b, w in zip(runs["bare"], runs["wall"], strict=True))
    if plain is not None:
        figures["times_plain_script"] = median(p / w for p, w in zip(runs["plain"], runs["wall"], strict=True))
        figures["lowest_cosine_to_plain"] = _lowest_cosine(_features(model, frames), features)
    return figures


class Clock:
    """Seconds spent in functions, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = Lock()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added up under `name`."""

        def call(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                with self._lock:  # CNNs run in two threads
                    self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

        return call


def _plain(model: Model) -> Callable[[Path], np.ndarray]:
    """The script most people write: each step after the other, float32."""
    config = model.config.spatial
    options = {"pad_type": "same"} if config.same_padding else {}
    network = timm.create_model(config.backbone, pretrained=False, num_classes=0, **options).eval()
    network.load_state_dict(_weights_of(model), strict=False)
    transform = create_transform(**resolve_model_data_config(network), is_training=False)

    @torch.inference_mode()
    def run(clip: Path) -> np.ndarray:
        capture, batch, features = cv2.VideoCapture(str(clip)), [], []
        while True:
            found, picture = capture.read()
            if found:
                batch.append(transform(Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))))
            if batch and (len(batch) == PLAIN_BATCH or not found):
                features.append(network(torch.stack(batch)))
                batch = []
            if not found:
                return torch.cat(features).numpy()

    return run


def _weights_of(model: Model) -> dict[str, torch.Tensor]:
    """The backbone's weights as timm names them, before they were folded and rounded."""
    from tristream.fusion.assemble import build_parts

    cnn, _ = build_parts(model.source)["spatial"]
    return dict(cnn.backbone.state_dict())


def _pictures(clip: Path, model: Model) -> np.ndarray:
    """Every frame of the clip as the spatial stream takes it, (T, H, W, 3)."""
    from tristream.streams.media import Frame, MediaReader

    with MediaReader(clip, audio=False) as reader:
        return np.stack([item.picture(model.picture) for item in reader if isinstance(item, Frame)])


def _features(model: Model, frames: np.ndarray) -> np.ndarray:
    stream, size = model.streams["spatial"], 16
    return np.concatenate([stream.features(frames[i : i + size]).numpy() for i in range(0, len(frames), size)])


def _bare(model: Model, frames: np.ndarray) -> float:
    """Seconds of the spatial CNN alone on pictures that are there already."""
    began = time.perf_counter()
    _features(model, frames)
    return time.perf_counter() - began


def _lowest_cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    count = min(len(ours), len(theirs))
    ours, theirs = ours[:count], theirs[:count]
    dots = (ours * theirs).sum(1)
    return float((dots / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))).min())


def memory(clip: Path, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Peak memory of `embed-video` and all its processes, sampled 20 times a second."""
    command = [str(Path(sys.executable).with_name("embed-video")), str(clip), "-o", str(folder / "table")]
    command += ["--model", arguments.model, "--untrained"]
    for name, value in _changes(arguments).items():
        command.append(f"--{name.replace('_', '-')}")
        if value is not True:
            command.append(",".join(value) if isinstance(value, tuple) else str(value))
    began = time.perf_counter()
    process = psutil.Popen(command, stderr=subprocess.DEVNULL)
    peak_bytes = 0
    while process.poll() is None:
        peak_bytes = max(peak_bytes, tree_bytes(process))
        time.sleep(0.05)
    seconds = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return {"command_seconds": seconds, "peak_memory_mib": peak_bytes / 2**20}


def tree_bytes(process: psutil.Process) -> int:
    """Resident bytes of a process and its children, pages they share counted for each."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _changes(arguments: argparse.Namespace) -> dict[str, Any]:
    """The changes to the model that were asked for."""
    changes = {
        name: getattr(arguments, name)
        for name in ("backbone", "same_padding", "spatial_weights", "recurrent", "flow", "dtype")
    }
    changes["streams"] = tuple(arguments.streams.split(",")) if arguments.streams else None
    return {name: value for name, value in changes.items() if value is not None}


def _clip(arguments: argparse.Namespace, folder: Path) -> Path:
    if arguments.make:
        return make_clip(folder / "made.mkv", arguments.make)
    if arguments.clip:
        return Path(arguments.clip)
    return real_clip(sound=arguments.sound) or make_clip(folder / "made.mkv", 7.0, 240, 320)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", nargs="?", help="default: a real clip of 175 frames, or a made one")
    parser.add_argument("--make", type=float, metavar="SECONDS", help="make a 1280x720 clip of this length")
    parser.add_argument("--sound", action="store_true", help="the clip has to have sound")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--streams")
    parser.add_argument("--backbone")
    parser.add_argument("--spatial-weights")
    parser.add_argument("--same-padding", action="store_true", default=None)
    parser.add_argument("--recurrent")
    parser.add_argument("--flow")
    parser.add_argument("--dtype")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each; 0 leaves the speeds out")
    parser.add_argument("--no-plain", action="store_true", help="leave the plain script out")
    parser.add_argument("--memory", action="store_true", help="also run embed-video and watch its memory")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
