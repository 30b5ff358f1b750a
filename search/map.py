"""A map of a collection: its videos as points, near each other where they are alike, on one HTML page.

unit vectors (N, D) -> PCA, or UMAP -> (N, 2), with a thumbnail and a colour each
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jinja2 import Environment, PackageLoader
from numpy.typing import NDArray

from tristream.fusion.embedding import slices_of
from tristream.fusion.folder import write_atomically
from tristream.fusion.thumbnails import data_url, thumbnails
from tristream.search.index import VideoIndex
from tristream.search.segment import Segment
from tristream.streams.errors import SearchError, UsageError

Projection = Literal["auto", "pca", "umap"]
Floats = NDArray[np.float64]
FOLDER = "folder"  # the name of a video's folder: no column, but where classes and cameras often are
MOST_POINTS = 2000  # a page of more thumbnails is slow to make and to open
# Tol's muted, safe for the colour-blind, and grey for what is left.
COLOURS = ("#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499")
OTHER_COLOUR = "#bbbbbb"
GRADIENT = ((0x44, 0x01, 0x54), (0x21, 0x91, 0x8C), (0xFD, 0xE7, 0x25))  # viridis


@dataclass(frozen=True)
class Written:
    """What a map shows."""

    points: int
    videos: int  # in the index
    projection: str


def write_map(
    index: VideoIndex,
    path: Path,
    *,
    colour: str = FOLDER,
    projection: Projection = "auto",
    most: int = MOST_POINTS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Written:
    """Write the map of an index's videos.

    Args:
        colour: the column that colours the points, or `folder`.
        projection: `auto` is UMAP where it is installed.
        most: points; of more videos, so many are drawn at random.
        progress: is told of the thumbnails.

    Raises:
        SearchError: the index holds no videos.
        UsageError: no such column, UMAP is not installed, or the page cannot be written.
    """
    segments = [segment for segment in index.segments if segment.record.level == "video"]
    places = [(segment, row) for segment in segments for row in segment.live_rows()]
    if not places:
        raise SearchError(f"the index {index.folder} holds no videos to make a map of")
    if colour != FOLDER and colour not in segments[0].rows.column_names:
        raise UsageError(f"no column {colour!r}; there are {FOLDER}, {', '.join(segments[0].rows.column_names)}")
    chosen = np.sort(np.random.default_rng(0).permutation(len(places))[:most])
    shown = [places[number] for number in chosen]
    name, points = project(_vectors(shown, index.dims), projection)
    rows = [segment.row(row) for segment, row in shown]
    middles = [(row["path"], (row["start_seconds"] + row["end_seconds"]) / 2) for row in rows]
    pictures = thumbnails(middles, progress)
    values = [Path(row["path"]).parent.name if colour == FOLDER else row[colour] for row in rows]
    colours, legend = colours_of(values)
    data = [
        {
            "x": float(x),
            "y": float(y),
            "colour": point_colour,
            "name": Path(row["path"]).name,
            "path": row["path"],
            "value": str(value),
            "picture": data_url(picture) if picture else "",
        }
        for (x, y), point_colour, row, value, picture in zip(points, colours, rows, values, pictures, strict=True)
    ]
    environment = Environment(loader=PackageLoader("tristream.search"), autoescape=True)
    page = environment.get_template("map.html").render(points=data, legend=legend, colour=colour, projection=name)
    try:
        write_atomically(path, page.encode())
    except OSError as error:
        raise UsageError(f"cannot write the map {path}: {error.strerror or error}") from error
    return Written(len(data), len(places), name)


def project(vectors: Floats, projection: Projection) -> tuple[str, Floats]:
    """What was used, and the points (N, 2) in [0, 1] of vectors (N, D).

    Raises:
        UsageError: UMAP is asked for and not installed.
    """
    has_umap = find_spec("umap") is not None
    if projection == "umap" and not has_umap:
        raise UsageError("UMAP is not installed: pip install 'tristream[map]', or --projection pca")
    if len(vectors) < 3:
        points = np.column_stack([np.arange(len(vectors)), np.zeros(len(vectors))])
        name = "PCA"
    elif has_umap and projection != "pca" and len(vectors) > 15:  # UMAP's neighbours
        from umap import UMAP

        points, name = UMAP(metric="cosine", random_state=0, n_jobs=1).fit_transform(vectors), "UMAP"
    else:
        from sklearn.decomposition import PCA

        points, name = PCA(2, svd_solver="randomized", random_state=0).fit_transform(vectors), "PCA"
    low, high = points.min(axis=0), points.max(axis=0)
    scaled: Floats = (points - low) / np.where(high > low, high - low, 1)
    return name, scaled


def colours_of(values: Sequence[Any]) -> tuple[list[str], list[tuple[str, str]]]:
    """The colour of each value, and what a legend says: of numbers a gradient, of others the commonest apart."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) > len(COLOURS) and len(set(numbers)) > len(COLOURS):
        low, high = min(numbers), max(numbers)
        colours = [
            _between((value - low) / (high - low)) if isinstance(value, int | float) else OTHER_COLOUR
            for value in values
        ]
        return colours, [
            (f"{low:g}", _between(0)),
            (f"{(low + high) / 2:g}", _between(0.5)),
            (f"{high:g}", _between(1)),
        ]
    counts = Counter(str(value) for value in values)
    commonest = sorted(counts, key=lambda value: (-counts[value], value))[: len(COLOURS)]
    of_value = dict(zip(sorted(commonest), COLOURS, strict=False))
    legend = list(of_value.items()) + ([("other", OTHER_COLOUR)] if len(counts) > len(commonest) else [])
    return [of_value.get(str(value), OTHER_COLOUR) for value in values], legend


def _between(share: float) -> str:
    """A colour of the gradient."""
    part, rest = divmod(min(max(share, 0.0), 1.0) * (len(GRADIENT) - 1), 1)
    low, high = GRADIENT[int(part)], GRADIENT[min(int(part) + 1, len(GRADIENT) - 1)]
    return "#" + "".join(f"{round(a + rest * (b - a)):02x}" for a, b in zip(low, high, strict=True))


def _vectors(places: Sequence[tuple[Segment, int]], dims: dict[str, int]) -> Floats:
    """The vectors (N, D), an absent stream as its mean: absence itself is no likeness."""
    blocks = slices_of(dims)
    vectors = np.full((len(places), sum(dims.values())), np.nan)
    for number, (segment, row) in enumerate(places):
        for stream, own in segment.blocks.items():
            vectors[number, blocks[stream]] = segment.vectors[row, own]
    for block in blocks.values():
        absent = np.isnan(vectors[:, block.start])
        vectors[absent, block] = 0.0 if absent.all() else vectors[~absent, block].mean(axis=0)
    return vectors
