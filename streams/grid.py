"""Tiles of a picture: (T, H, W, ...) -> (T, P, h, w, ...), P tiles that overlap their neighbours by half; no torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tristream.streams.errors import UsageError

MOST_TILES = 1024  # each is a clip of its own
Box = tuple[float, float, float, float]  # left, top, right, bottom, as shares of the picture's width and height


@dataclass(frozen=True)
class Grid:
    """ROWSxCOLUMNS tiles of one size, each half over its neighbours; 1x1 is the whole picture.

    Half over, so that whatever is no larger than half a tile is whole in one of them: cut in two by a border, a
    bicycle is half as fast in both halves as it is, on average over the tile.

    Raises:
        UsageError: no rows or columns, or more than 1024 tiles.
    """

    rows: int = 1
    columns: int = 1

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1 or self.tiles > MOST_TILES:
            raise UsageError(f"a grid has at least one row and column and at most {MOST_TILES} tiles, got {self}")

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"

    @property
    def tiles(self) -> int:
        """P."""
        return self.rows * self.columns

    @property
    def is_whole(self) -> bool:
        """Whether the picture is not divided."""
        return self.tiles == 1

    def picture_size(self, tile_height: int, tile_width: int) -> tuple[int, int]:
        """Height and width in pixels of the picture whose tiles have this size."""
        return _across(self.rows, tile_height), _across(self.columns, tile_width)

    def cut(self, pictures: NDArray[Any], axis: int) -> NDArray[Any]:
        """The tiles of pictures whose height is that `axis`, their width the next: a new axis 1 counts the tiles.

        Raises:
            UsageError: a tile would have no pixels.
        """
        height, width = pictures.shape[axis : axis + 2]
        tile_height, tile_width = 2 * height // (self.rows + 1), 2 * width // (self.columns + 1)
        if min(tile_height, tile_width) < 1:
            raise UsageError(f"a picture of {height}x{width} pixels is too small for a grid of {self}")
        before = (slice(None),) * axis
        tiles = [
            pictures[(*before, slice(top, top + tile_height), slice(left, left + tile_width))]
            for top in _starts(height, tile_height, self.rows)
            for left in _starts(width, tile_width, self.columns)
        ]
        return np.stack(tiles, axis=1)

    def boxes(self) -> list[Box]:
        """Where each tile is, row by row."""
        height, width = 2 / (self.rows + 1), 2 / (self.columns + 1)
        return [
            (column * width / 2, row * height / 2, column * width / 2 + width, row * height / 2 + height)
            for row in range(self.rows)
            for column in range(self.columns)
        ]


def parse_grid(text: str) -> Grid:
    """`ROWSxCOLUMNS`, as in 4x6.

    Raises:
        UsageError: anything else.
    """
    rows, _, columns = text.lower().partition("x")
    if not (rows.strip().isdecimal() and columns.strip().isdecimal()):
        raise UsageError(f"a grid is ROWSxCOLUMNS, as in 4x6, got {text!r}")
    return Grid(int(rows), int(columns))


def _across(tiles: int, size: int) -> int:
    return (tiles + 1) * size // 2


def _starts(length: int, size: int, tiles: int) -> list[int]:
    """Where each of the tiles begins on one side, from border to border."""
    if tiles == 1:
        return [0]
    return [round(place * (length - size) / (tiles - 1)) for place in range(tiles)]
