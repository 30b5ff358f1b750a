"""Footage that is made: blobs that walk, and one that runs where it may not."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH, FPS = 96, 128, 10
MakeVideo = Callable[..., Path]


def footage(
    seconds: float, *, begin: float = 0.0, seed: int = 0, runner: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """Frames (T, H, W, 3) of walkers on a textured ground; `runner` (from, to) in seconds is four times as fast.

    What begins at `begin` seconds goes on from what ended there.
    """
    chance = np.random.default_rng(seed)
    ground = cv2.resize(np.random.default_rng(0).integers(60, 120, (24, 32, 3), np.uint8), (WIDTH, HEIGHT))
    cloth = np.random.default_rng(1).integers(130, 255, (14, 8, 3), np.uint8)
    walkers = [(chance.uniform(0, WIDTH), chance.uniform(20, HEIGHT - 20), chance.choice([-1, 1])) for _ in range(4)]
    frames = []
    for number in range(round(seconds * FPS)):
        frame = ground.copy()
        for x, y, way in walkers:
            _paint(frame, cloth, x + way * (begin * FPS + number), y)
        if runner and runner[0] <= number / FPS < runner[1]:
            _paint(frame, cloth, number * 4.0, HEIGHT - 16)
        frames.append(frame)
    return np.stack(frames)


def _paint(frame: NDArray[np.uint8], cloth: NDArray[np.uint8], x: float, y: float) -> None:
    """A blob with its left upper corner at (x, y), which comes back at the other side."""
    shifted = np.zeros_like(frame)
    left, top = int(x) % WIDTH, int(y) % HEIGHT
    height, width = min(14, HEIGHT - top), min(8, WIDTH - left)
    shifted[top : top + height, left : left + width] = cloth[:height, :width]
    moved = cv2.warpAffine(shifted, np.array([[1, 0, x % 1.0], [0, 1, 0]]), (WIDTH, HEIGHT))
    np.copyto(frame, moved, where=moved.any(axis=2, keepdims=True))
