"""Tiles: of one size, half over each other, from border to border."""

import numpy as np
import pytest

from tristream.streams.errors import UsageError
from tristream.streams.grid import Grid, parse_grid


@pytest.mark.parametrize("rows, columns", [(1, 1), (2, 3), (4, 6), (5, 1)])
def test_tiles_cover_the_picture_and_overlap_by_half(rows: int, columns: int) -> None:
    grid = Grid(rows, columns)
    height, width = grid.picture_size(20, 24)
    rows_of, columns_of = np.mgrid[:height, :width]
    picture = np.stack([rows_of, columns_of], axis=2)[None]  # (1, H, W, 2)
    tiles = grid.cut(picture, axis=1)
    assert tiles.shape == (1, rows * columns, 20, 24, 2)
    seen = np.zeros((height, width), int)
    for tile, box in zip(tiles[0], grid.boxes(), strict=True):
        np.add.at(seen, (tile[..., 0], tile[..., 1]), 1)
        left, top, right, bottom = box
        assert tile[0, 0].tolist() == [round(top * height), round(left * width)]
        assert (tile[-1, -1] + 1).tolist() == [round(bottom * height), round(right * width)]
    assert seen.min() == 1
    assert seen.max() == min(rows, 2) * min(columns, 2)


def test_flow_stacks_are_cut_by_their_last_axes() -> None:
    stacks = np.arange(2 * 4 * 24 * 32).reshape(2, 4, 24, 32)
    tiles = Grid(2, 3).cut(stacks, axis=2)
    assert tiles.shape == (2, 6, 4, 16, 16)
    np.testing.assert_array_equal(tiles[:, 4], stacks[:, :, 8:24, 8:24])  # second row, second column


def test_one_tile_is_the_whole_picture() -> None:
    picture = np.arange(35).reshape(1, 5, 7)
    np.testing.assert_array_equal(Grid().cut(picture, axis=1), picture[:, None])
    assert Grid().boxes() == [(0.0, 0.0, 1.0, 1.0)]
    assert Grid().is_whole


@pytest.mark.parametrize("text", ["", "4", "4x", "x6", "4x6x8", "-1x2", "4*6", "a x b", "1.5x2"])
def test_what_is_no_grid_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="ROWSxCOLUMNS"):
        parse_grid(text)


def test_grids_that_cannot_be() -> None:
    assert parse_grid("4X6") == Grid(4, 6)
    with pytest.raises(UsageError, match="at least one row"):
        parse_grid("0x3")
    with pytest.raises(UsageError, match="at most 1024"):
        Grid(100, 100)
    with pytest.raises(UsageError, match="too small for a grid of 9x9"):
        Grid(9, 9).cut(np.zeros((1, 3, 3)), axis=1)
