"""Pictures of nothing, with the statistics of pictures of something: dead leaves with textures, (H, W, 3) uint8.

Source: Baradad et al. 2021, "Learning to see by looking at noise" (3.1 to 3.3): shapes that hide one another, of sizes
that follow a power law, filled with colours or textures whose spectrum falls as that of photographs does. A network
learns from them what to answer where its few real pictures say nothing.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
LEAST_RADIUS_SHARE, MOST_RADIUS_SHARE = 0.03, 0.5  # of the picture's side
MOST_LEAVES = 160


def made_picture(generator: np.random.Generator, side_pixels: int) -> Picture:
    """One picture (side, side, 3)."""
    picture = _texture(generator, side_pixels)
    textures = [_texture(generator, side_pixels) for _ in range(generator.integers(1, 4))]
    kind = generator.integers(4)  # circles, polygons, thin strips, or all of them
    for _ in range(int(generator.integers(8, MOST_LEAVES))):
        mask = np.zeros((side_pixels, side_pixels), np.uint8)
        _draw(mask, generator, int(generator.integers(3)) if kind == 3 else int(kind), side_pixels)
        if generator.random() < 0.5:
            picture[mask > 0] = generator.integers(0, 256, 3)
        else:
            texture = textures[generator.integers(len(textures))]
            shade = generator.uniform(0.4, 1.4)
            np.copyto(picture, np.clip(texture * shade, 0, 255).astype(np.uint8), where=(mask > 0)[..., None])
    if generator.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), generator.uniform(0.3, 2.0)), np.uint8)
    return picture


def _draw(mask: Picture, generator: np.random.Generator, kind: int, side: int) -> None:
    """One leaf into a mask."""
    x, y = (int(place) for place in generator.integers(0, side, 2))
    # A radius with the density r^-3 looks the same at every scale (Lee, Mumford & Huang 2001).
    low, high = (LEAST_RADIUS_SHARE * side) ** -2, (MOST_RADIUS_SHARE * side) ** -2
    radius = float(generator.uniform(high, low) ** -0.5)
    if kind == 0:
        axes = (max(1, int(radius)), max(1, int(radius * generator.uniform(0.3, 1))))
        cv2.ellipse(mask, (x, y), axes, float(generator.uniform(0, 180)), 0, 360, 255, -1)
    elif kind == 1:
        corners = int(generator.integers(3, 8))
        angles = np.sort(generator.uniform(0, 2 * np.pi, corners))
        reach = radius * generator.uniform(0.4, 1.0, corners)
        points = np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], axis=1)
        cv2.fillPoly(mask, [points.astype(np.int32)], 255)
    else:
        angle = generator.uniform(0, np.pi)
        dx, dy = int(2 * radius * np.cos(angle)), int(2 * radius * np.sin(angle))
        cv2.line(mask, (x - dx, y - dy), (x + dx, y + dy), 255, int(generator.integers(1, max(2, int(radius / 2)))))


def _texture(generator: np.random.Generator, side: int) -> Picture:
    """Noise whose amplitude falls with frequency, at some slope and in some direction, in related colours."""
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], generator.uniform(0.3, 3) * np.fft.rfftfreq(side)[None])
    frequencies[0, 0] = 1 / side
    slope = generator.uniform(0.6, 2.2)
    planes = np.fft.irfft2(np.fft.rfft2(generator.standard_normal((3, side, side))) / frequencies**slope, (side, side))
    planes = (planes - planes.mean(axis=(1, 2), keepdims=True)) / (planes.std(axis=(1, 2), keepdims=True) + 1e-9)
    mixed = np.einsum("cd,dhw->hwc", generator.normal(0, generator.uniform(10, 60), (3, 3)), planes)
    return np.asarray(np.clip(mixed + generator.uniform(30, 225, 3), 0, 255), np.uint8)
