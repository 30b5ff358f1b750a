"""Optical flow by five engines behind one call: pictures (H, W) gray or (H, W, 3) RGB, twice -> flow (H, W, 2)."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from tristream.streams.config import DisPreset, FlowConfig
from tristream.streams.errors import FlowError, UsageError
from tristream.streams.motion_vectors import CodecFlow, MotionVectors

Flow = NDArray[np.float32]
PixelFormat = Literal["gray", "rgb24"]

# Up to this size waking other threads takes longer than they save: at 120x160, by `fast`, two threads take twice as
# long as one, and three times the CPU.
SMALL_PIXELS = 32_768
SHORTEST_SIDE = 16  # pixels; on sides of 8, OpenCV's DIS kills the process and the others are far off


@dataclass(frozen=True)
class FlowFrame:
    """One frame as a flow engine takes it.

    `picture` is (H, W) gray or (H, W, 3) RGB uint8, by the engine's pixel format, at the flow's size; an engine that
    needs motion vectors looks only at its size.
    """

    picture: NDArray[np.uint8]
    motion: MotionVectors | None = None


class FlowEngine(Protocol):
    """Computes the flow between consecutive frames of one video.

    An engine may hold state (`codec` holds its last field; the others hold nothing): make one for each video, and
    give it all of the video's pairs in the order they are shown.
    """

    pixel_format: PixelFormat
    needs_motion_vectors: bool

    def __call__(self, previous: FlowFrame, current: FlowFrame) -> Flow:
        """Flow (H, W, 2), x then y, in pixels, from each pixel of the previous frame to the current one.

        Raises:
            UsageError: the pictures differ in shape, or are not of the engine's pixel format.
            FlowError: the engine cannot work on this video.
        """
        ...


_DIS_PRESETS: dict[DisPreset, int] = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


class _OneThread:
    """OpenCV computes in one thread as long as somebody is in here.

    The number is the process's, not a thread's: whatever else OpenCV does meanwhile has one thread, too.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside, self._before = 0, 1

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                cv2.setNumThreads(self._before)


_one_thread = _OneThread()


class DisEngine:
    """Dense inverse search (Kroeger et al. 2016), by one of OpenCV's presets; each pair starts from nothing."""

    pixel_format: PixelFormat = "gray"
    needs_motion_vectors = False

    def __init__(self, preset: DisPreset = "medium") -> None:
        self._dis: Any = cv2.DISOpticalFlow.create(_DIS_PRESETS[preset])

    def __call__(self, previous: FlowFrame, current: FlowFrame) -> Flow:
        first, second = pictures_of(previous, current, self.pixel_format)
        with _one_thread if first.size <= SMALL_PIXELS else nullcontext():
            return np.asarray(self._dis.calc(first, second, None), np.float32)


class TvL1Engine:
    """Dual TV-L1 (Zach et al. 2007), the flow of Simonyan & Zisserman's successors, at OpenCV's defaults."""

    pixel_format: PixelFormat = "gray"
    needs_motion_vectors = False

    def __init__(self) -> None:
        self._tvl1: Any = cv2.optflow.DualTVL1OpticalFlow.create()

    def __call__(self, previous: FlowFrame, current: FlowFrame) -> Flow:
        first, second = pictures_of(previous, current, self.pixel_format)
        return np.asarray(self._tvl1.calc(first, second, None), np.float32)


class FarnebackEngine:
    """Polynomial expansion (Farnebäck 2003)."""

    pixel_format: PixelFormat = "gray"
    needs_motion_vectors = False

    def __call__(self, previous: FlowFrame, current: FlowFrame) -> Flow:
        first, second = pictures_of(previous, current, self.pixel_format)
        # pyr_scale, levels, winsize, iterations, poly_n, poly_sigma, flags: those of OpenCV's own tutorial
        flow = cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)  # type: ignore[call-overload]
        return np.asarray(flow, np.float32)


class CodecEngine:
    """The motion vectors of the bit stream, at decoding cost only; holds its last field."""

    pixel_format: PixelFormat = "gray"
    needs_motion_vectors = True

    def __init__(self) -> None:
        self._flow = CodecFlow()

    def __call__(self, previous: FlowFrame, current: FlowFrame) -> Flow:
        if previous.motion is None or current.motion is None:
            raise FlowError("this video's codec has no motion vectors that can be read: use --flow dis")
        height, width = current.picture.shape[:2]
        return self._flow(previous.motion, current.motion, height, width)


def _raft(config: FlowConfig, weights: Path | None, device: str) -> FlowEngine:
    from tristream.streams.raft import RaftEngine  # brings torch, which the other engines can do without

    return RaftEngine(weights, device)


ENGINES: dict[str, Callable[[FlowConfig, Path | None, str], FlowEngine]] = {
    "dis": lambda config, weights, device: DisEngine(config.preset),
    "tvl1": lambda config, weights, device: TvL1Engine(),
    "farneback": lambda config, weights, device: FarnebackEngine(),
    "raft": _raft,
    "codec": lambda config, weights, device: CodecEngine(),
}


def make_engine(config: FlowConfig, weights: Path | None = None, device: str = "cpu") -> FlowEngine:
    """The engine that `config` names, for one video.

    `weights` and the torch `device` are RAFT's; without a weights file torchvision downloads its own.

    Raises:
        UsageError: no engine of that name, or pictures too small for one.
        ModelError: RAFT's weights cannot be read or downloaded.
    """
    if config.engine not in ENGINES:
        raise UsageError(f"flow engine must be one of {', '.join(ENGINES)}, got {config.engine!r}")
    _check_size(config.height, config.width)
    return ENGINES[config.engine](config, weights, device)


def pictures_of(previous: FlowFrame, current: FlowFrame, pixel_format: PixelFormat) -> list[NDArray[np.uint8]]:
    """The two pictures, checked and contiguous: (H, W) for gray, (H, W, 3) for rgb24.

    Raises:
        UsageError: they differ in shape, are not of `pixel_format`, or are too small.
    """
    first, second = previous.picture.shape, current.picture.shape
    if first != second or len(second) != (2 if pixel_format == "gray" else 3):
        raise UsageError(f"flow needs two {pixel_format} pictures of one shape, got {first} and {second}")
    _check_size(*second[:2])
    return [np.ascontiguousarray(frame.picture) for frame in (previous, current)]


def _check_size(height: int, width: int) -> None:
    if min(height, width) < SHORTEST_SIDE:
        raise UsageError(f"flow needs sides of at least {SHORTEST_SIDE} pixels, got {height = }, {width = }")


def mean_length(flow: Flow) -> float:
    """Mean length in pixels of the vectors of a flow field (H, W, 2)."""
    return float(cv2.magnitude(flow[..., 0], flow[..., 1]).mean(dtype=np.float64))
