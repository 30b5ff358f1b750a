"""Motion vectors of a bit stream in, dense flow out: vectors (N,) -> grid (h, w, 2) of 8-pixel cells -> (H, W, 2)."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tristream.streams.errors import FlowError

Flow = NDArray[np.float32]
Grid = NDArray[np.floating[Any]]

# FFmpeg's AVMotionVector (libavutil/motion_vector.h), as PyAV hands it over.
VECTOR_DTYPE = np.dtype(
    {
        "names": "source w h src_x src_y dst_x dst_y flags motion_x motion_y motion_scale".split(),
        "formats": "i4 u1 u1 i2 i2 i2 i2 u8 i4 i4 u2".split(),
    },
    align=True,
)
CELL_PIXELS = 8  # the smallest block that FFmpeg exports
OUTSIDE_PIXELS = 16  # codecs point about a macroblock past the edge; what points further is damaged
FILL_CELLS = 9  # cells without a vector take the mean of those within 4 cells
VECTORLESS_PAIRS = 30  # so many pairs without any vector: the stream has I pictures only


@dataclass(frozen=True)
class MotionVectors:
    """The motion vectors of one frame, in the pixels of the coded (not yet upright) picture.

    `vectors` (N,) has the fields of VECTOR_DTYPE: a block of w x h pixels centred on dst came from src, in the
    reference picture before (source < 0) or after (source > 0) this one; src - dst = motion / motion_scale.
    `quarter_turns` counter-clockwise bring the picture upright (np.rot90's k).
    """

    vectors: NDArray[np.void]
    height: int
    width: int
    picture_type: str  # "I", "P", "B"; others count as P
    quarter_turns: int = 0


class CodecFlow:
    """Follows the motion vectors of one video, frame by frame; holds its last field, so one instance a video.

    A bit stream says where blocks came from, not how things moved, so some of it must be made up for:

    * A vector spans the frames to its reference. A P picture's is the last I or P picture, in display order;
      H.264 may refer further back and FFmpeg does not tell, which makes a few vectors too long.
    * A B picture may refer to other B pictures, too: of the distances there are, the one is taken at which its
      vectors are nearest to the last field. Vectors from the past come first, from the future second.
    * FFmpeg exports the B pictures of MPEG-4 Part 2 with zeros for vectors. So a cell whose vectors from past and
      future are all zero is unknown, like an intra block, where the last field is not zero either way.
    * An I picture has no vectors: the last field holds, for a cut to zero would be a stop that never was.
    """

    def __init__(self) -> None:
        self._held: Grid | None = None  # (h, w, 2) coded pixels a frame, of the last I or P picture
        self._elapsed = 0  # frames since the last I or P picture
        self._interval = 1  # frames between the last two of them
        self._vectorless = 0

    def __call__(self, previous: MotionVectors, current: MotionVectors, height: int, width: int) -> Flow:
        """Flow (height, width, 2) from the previous frame to the current one, x then y, in pixels of that size.

        Raises:
            FlowError: there was no vector in the first 30 pairs.
        """
        self._elapsed = self._elapsed + 1 if previous.picture_type == "B" else 1
        shape = (*_grid_shape(current), 2)
        if self._held is not None and self._held.shape != shape:
            self._held = None  # the picture's size changed within the stream
        field = self._field(current)
        if field is None:
            field = self._hold(shape)
        return densify(field, current, height, width)

    def _hold(self, shape: tuple[int, ...]) -> Grid:
        """The last field again, or zero at the start of a video."""
        if self._held is not None:
            return self._held
        self._vectorless += 1
        if self._vectorless > VECTORLESS_PAIRS:
            raise FlowError(f"no motion vectors in {self._vectorless} frames: all are I pictures; use --flow dis")
        return np.zeros(shape, np.float32)

    def _field(self, current: MotionVectors) -> Grid | None:
        """The filled field (h, w, 2) in coded pixels a frame, or None where the frame has no usable vectors."""
        past, future = paint(current, past=True), paint(current, past=False)
        if current.picture_type == "B":
            return self._between(past, future)
        if current.picture_type == "I" or np.isnan(past).all():
            return None
        self._interval = self._elapsed
        self._held = _fill(past / self._elapsed, self._held)
        return self._held

    def _between(self, past: Grid, future: Grid) -> Grid | None:
        """The field of a B picture from its displacements (h, w, 2) to both sides."""
        empty = (np.nan_to_num(past) == 0).all(axis=2) & (np.nan_to_num(future) == 0).all(axis=2)
        past[empty] = future[empty] = np.nan
        if self._held is None:
            field = past / self._elapsed
        else:
            backward = _per_frame(past, self._held, self._elapsed)
            forward = _per_frame(future, self._held, max(self._interval - self._elapsed, 1))
            field = np.where(np.isnan(backward), forward, backward)
        return None if np.isnan(field).all() else _fill(field, self._held)


def paint(motion: MotionVectors, past: bool) -> Grid:
    """Displacements (h, w, 2) in coded pixels, x then y, forward in time, by cell; NaN where there is no vector.

    `past` chooses the vectors with a reference before the frame, else those with one after it. They span as many
    frames as their reference is away. Cells under several vectors get the mean.
    """
    rows, columns = _grid_shape(motion)
    source = motion.vectors["source"]
    vectors = motion.vectors[source < 0 if past else source > 0]
    moved = _displacements(vectors, motion.height, motion.width) * (1 if past else -1)  # (N, 2)
    sums = np.zeros((rows * columns, 3))  # x, y, vectors
    for w, h in {*zip(vectors["w"].tolist(), vectors["h"].tolist(), strict=True)}:  # at most a handful of sizes
        block = (vectors["w"] == w) & (vectors["h"] == h)
        cells, index = _cells(vectors[block], w, h, rows, columns)  # (K,), (K,)
        for k, weight in enumerate((*moved[block].T, np.ones(block.sum()))):
            sums[:, k] += np.bincount(cells, weight[index], minlength=rows * columns)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is wanted
        return (sums[:, :2] / sums[:, 2:]).reshape(rows, columns, 2).astype(np.float32)


def densify(field: Grid, motion: MotionVectors, height: int, width: int) -> Flow:
    """A grid (h, w, 2) in coded pixels as upright flow (height, width, 2) in pixels of that size."""
    turns = motion.quarter_turns % 4
    rows, columns = (height, width) if turns % 2 == 0 else (width, height)
    step_x, step_y = motion.width / columns, motion.height / rows  # coded pixels a target pixel
    scale_x, scale_y = step_x / CELL_PIXELS, step_y / CELL_PIXELS
    # Where a target pixel's centre lies among the centres of the cells, the last of which may be cut by the edge.
    to_cells = np.array([[scale_x, 0, scale_x / 2 - 0.5], [0, scale_y, scale_y / 2 - 0.5]])
    field = (field / (step_x, step_y)).astype(np.float32)  # pixels of the target
    for _ in range(turns):  # a quarter turn makes right (1, 0) up (0, -1), and down (0, 1) right (1, 0)
        field = np.stack([field[..., 1], -field[..., 0]], axis=2)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    dense = cv2.warpAffine(field, to_cells, (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(np.rot90(dense, turns), np.float32)  # (height, width, 2)


def _grid_shape(motion: MotionVectors) -> tuple[int, int]:
    return -(-motion.height // CELL_PIXELS), -(-motion.width // CELL_PIXELS)


def _displacements(vectors: NDArray[np.void], height: int, width: int) -> NDArray[np.float64]:
    """dst - src (N, 2) in pixels with their fractions; src is brought back to the picture's surroundings."""
    scale = np.maximum(vectors["motion_scale"], 1)
    moved = []
    for axis, size in (("x", width), ("y", height)):
        dst = vectors[f"dst_{axis}"].astype(np.float64)
        src = dst + vectors[f"motion_{axis}"] / scale
        moved.append(dst - np.clip(src, -OUTSIDE_PIXELS, size + OUTSIDE_PIXELS))
    clipped: NDArray[np.float64] = np.clip(np.stack(moved, axis=1), (-width, -height), (width, height))
    return clipped


def _cells(
    vectors: NDArray[np.void], w: int, h: int, rows: int, columns: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The flat cells (K,) under blocks of w x h pixels, and the block (K,) that each is under."""
    row = (vectors["dst_y"].astype(np.intp) - h // 2) // CELL_PIXELS  # (N,), of the block's top left
    column = (vectors["dst_x"].astype(np.intp) - w // 2) // CELL_PIXELS
    down, right = np.divmod(np.arange(max(h // CELL_PIXELS, 1) * max(w // CELL_PIXELS, 1)), max(w // CELL_PIXELS, 1))
    row, column = row[:, None] + down, column[:, None] + right  # (N, cells of a block)
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    return (row * columns + column)[inside], np.nonzero(inside)[0]


def _per_frame(moved: Grid, held: Grid, longest: int) -> Grid:
    """`moved` (h, w, 2) over the distance of 1 to `longest` frames that brings it nearest to `held`."""
    known = ~np.isnan(moved)
    if longest == 1 or not known.any():
        return moved
    errors = [np.abs(moved[known] / distance - held[known]).mean() for distance in range(1, longest + 1)]
    return moved / (1 + int(np.argmin(errors)))


def _fill(field: Grid, held: Grid | None) -> Grid:
    """A field (h, w, 2) without NaN: unknown cells from those around them, else the last field, else zero.

    Encoders choose vectors for their price in bits, so single ones go astray: a 3 x 3 median takes those out.
    """
    known = (~np.isnan(field[..., 0])).astype(np.float32)  # (h, w)
    window = (FILL_CELLS, FILL_CELLS)
    total = cv2.blur(np.nan_to_num(field).astype(np.float32), window)
    count = cv2.blur(known, window)[..., None]
    far = np.zeros_like(total) if held is None else held
    around = np.where(count > 1e-4, total / np.maximum(count, 1e-4), far)  # one cell in 81 is 0.012
    filled = np.where(known[..., None] > 0, field, around).astype(np.float32)
    return np.stack([cv2.medianBlur(np.ascontiguousarray(filled[..., k]), 3) for k in (0, 1)], axis=2)
