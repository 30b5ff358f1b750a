"""Flow engines: end-point error on FlyingChairs pairs (H, W, 3) -> (H, W, 2), and milliseconds a pair.

python benchmarks/flow.py [DATA] [--weights FILE] [--engines dis,raft] [--device cpu]
"""

import argparse
import sys
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

from tristream.streams.config import FlowConfig
from tristream.streams.errors import TristreamError
from tristream.streams.flow import FlowEngine, FlowFrame, make_engine

SHARED = Path(__file__).resolve().parents[2] / "shared"
FLO_MAGIC = b"PIEH"  # 202021.25 as float32, the check of Middlebury's format
ENGINES = ("dis", "tvl1", "farneback", "raft")  # codec has no pairs of pictures to be measured on
SIZES = ((240, 320), (120, 160))  # height, width


def read_flo(path: Path) -> NDArray[np.float32]:
    """The flow (H, W, 2) of a Middlebury .flo file.

    Raises:
        ValueError: not a .flo file, or cut short.
    """
    data = path.read_bytes()
    width, height = np.frombuffer(data, "<i4", 2, 4).tolist() if len(data) >= 12 else (0, 0)
    if data[:4] != FLO_MAGIC or len(data) != 12 + 8 * width * height:
        raise ValueError(f"{path} is not a .flo file, or is cut short: {len(data)} bytes for {width}x{height}")
    return np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)


def end_point_error(flow: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Mean distance in pixels between the vectors of two fields (H, W, 2)."""
    return float(np.linalg.norm(flow - truth, axis=2).mean())


def frame_for(engine: FlowEngine, rgb: NDArray[np.uint8]) -> FlowFrame:
    """A picture (H, W, 3) RGB as the engine takes it."""
    if engine.pixel_format == "rgb24":
        return FlowFrame(rgb)
    return FlowFrame(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8))


def read_pairs(folder: Path) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]]:
    """The pairs of a folder as FlyingChairs names them: both pictures (H, W, 3) RGB and the flow (H, W, 2)."""
    pairs = []
    for truth in sorted(folder.glob("*_flow.flo")):
        stem = truth.name.removesuffix("_flow.flo")
        first, second = (cv2.imread(str(folder / f"{stem}_img{k}.ppm"), cv2.IMREAD_COLOR_RGB) for k in (1, 2))
        pairs.append((np.asarray(first, np.uint8), np.asarray(second, np.uint8), read_flo(truth)))
    return pairs


def errors_of(engine: FlowEngine, folder: Path) -> list[float]:
    """The engine's end-point error on each pair of the folder."""
    return [
        end_point_error(engine(frame_for(engine, first), frame_for(engine, second)), truth)
        for first, second, truth in read_pairs(folder)
    ]


def milliseconds(engine: FlowEngine, folder: Path, height: int, width: int, seconds: float = 1.0) -> float:
    """The median time of a pair at height x width, over about `seconds`."""
    pictures = read_pairs(folder)[0][:2]
    pair = [
        frame_for(engine, np.asarray(cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA), np.uint8))
        for p in pictures
    ]
    engine(*pair)  # the first call allocates
    times: list[float] = []
    while sum(times) < seconds:
        began = perf_counter()
        engine(*pair)
        times.append(perf_counter() - began)
    return 1e3 * float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description="End-point error and speed of the flow engines.")
    parser.add_argument(
        "data", nargs="?", type=Path, default=SHARED / "data/flow", help="*_img1.ppm, *_img2.ppm, *_flow.flo"
    )
    parser.add_argument("--weights", type=Path, default=SHARED / "weights/raft_small.safetensors", help="RAFT's")
    parser.add_argument("--engines", default=",".join(ENGINES), help="names, with commas between")
    parser.add_argument("--device", default="cpu", help="RAFT's")
    arguments = parser.parse_args()
    names = [truth.name.removesuffix("_flow.flo") for truth in sorted(arguments.data.glob("*_flow.flo"))]
    if not names:
        sys.exit(f"no *_flow.flo in {arguments.data}")
    columns = [f"EPE {name}" for name in names] + [f"ms {width}x{height}" for height, width in SIZES]
    print("| engine | " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for name in arguments.engines.split(","):
        try:
            engine = make_engine(FlowConfig(name), arguments.weights if name == "raft" else None, arguments.device)
        except TristreamError as error:
            sys.exit(str(error))
        figures = [f"{error:.2f}" for error in errors_of(engine, arguments.data)]
        figures += [f"{milliseconds(engine, arguments.data, *size):.1f}" for size in SIZES]
        print(f"| {name} | " + " | ".join(figures) + " |", flush=True)


if __name__ == "__main__":
    main()
