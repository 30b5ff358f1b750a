"""Embeddings of videos that are not, with the structure of real ones, for tables of any size.

Videos are drawn with the spectrum of the differences between the videos of a real table, stream by stream, and the
windows of a video with that of the differences within one. (White noise has no neighbours to be found.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tristream.fusion.parts import TableKind, about_part, new_part, parts_of, read_part
from tristream.fusion.windows import Windows
from tristream.search.rows import vectors_of
from tristream.search.similarity import unit

MODEL_ID = "0123456789ab"
DIMS = {"spatial": 256, "temporal": 256, "audio": 256}  # pocket's
WINDOWS_A_VIDEO = 20
WINDOWS = Windows(5.0, 1.0)
PART_ROWS = 50_000  # clips, and the rows of their videos
VIDEO_IDS = 1 << 60  # above those of clips
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Spectrum:
    """How much unit vectors of a stream vary between videos and within one: deviations (D_s,), the largest first."""

    mean: float  # length of the mean vector
    between: Floats
    within: Floats


def spectrum_of(vectors: Floats, paths: Sequence[str], width: int) -> Spectrum:
    """What unit vectors (N, D) of videos vary by, in the `width` directions that matter most."""
    names, video = np.unique(paths, return_inverse=True)
    centres = np.stack([vectors[video == number].mean(axis=0) for number in range(len(names))])
    mean = centres.mean(axis=0)
    return Spectrum(
        float(np.linalg.norm(mean)), _deviations(centres - mean, width), _deviations(vectors - centres[video], width)
    )


def _deviations(differences: Floats, width: int) -> Floats:
    """The deviations (width,) along the principal axes; past what the rows can tell, by the power law of the last."""
    values = np.linalg.svd(differences, compute_uv=False) / np.sqrt(len(differences))
    known = min(len(values), width, max(8, len(differences) // 3))  # the last are too small, as rows are too few
    ranks = np.arange(1, width + 1)
    fitted = slice(known // 2, known)
    slope, offset = np.polyfit(np.log(ranks[:known][fitted]), np.log(values[:known][fitted]), 1)
    beyond = np.exp(offset + slope * np.log(ranks))
    beyond[:known] = values[:known]
    return beyond.astype(np.float32)


class Maker:
    """Makes embeddings of videos that are not."""

    def __init__(self, spectra: Mapping[str, Spectrum], dims: Mapping[str, int]) -> None:
        generator = np.random.default_rng(0)
        self._spectra = {stream: spectra[stream] for stream in dims}
        self._turns = {
            stream: np.linalg.qr(generator.normal(size=(size, size)))[0].astype(np.float32)
            for stream, size in dims.items()
        }

    def windows(self, videos: NDArray[np.int64], seed: int) -> Floats:
        """One window (N, D) of each of these videos; a video is the same whatever stands beside it."""
        of_windows = np.random.default_rng([1, seed])
        parts = []
        for number, (stream, spectrum) in enumerate(self._spectra.items()):
            width = len(spectrum.between)
            distinct, where = np.unique(videos, return_inverse=True)
            centres = np.stack(
                [np.random.default_rng([2, number, video]).standard_normal(width, np.float32) for video in distinct]
            )
            vectors = centres[where] * spectrum.between
            vectors += of_windows.standard_normal((len(videos), width), np.float32) * spectrum.within
            vectors[:, 0] += spectrum.mean
            parts.append(unit(vectors @ self._turns[stream]))
        return np.concatenate(parts, axis=1)


def write_table(folder: Path, maker: Maker, dims: Mapping[str, int], first: int, rows: int) -> None:
    """Add clips to a table, windows of videos from the one that clip `first` is of; and a row for each video."""
    schema = TableKind(MODEL_ID, "made", WINDOWS, dims, dict.fromkeys(dims, 1.0)).schema()
    folder.mkdir(exist_ok=True)
    for begin in range(first, first + rows, PART_ROWS):
        numbers = np.arange(begin, min(begin + PART_ROWS, first + rows))
        vectors = maker.windows(numbers // WINDOWS_A_VIDEO, begin)
        starts = WINDOWS.stride_seconds * (numbers % WINDOWS_A_VIDEO)
        videos, where = np.unique(numbers // WINDOWS_A_VIDEO, return_inverse=True)
        means = np.stack([vectors[where == place].mean(axis=0) for place in range(len(videos))])
        embeddings = np.concatenate([vectors, means])
        values: dict[str, Any] = {
            "id": [f"{number:032x}" for number in numbers] + [f"{VIDEO_IDS + video:032x}" for video in videos],
            "embedding": pa.FixedSizeListArray.from_arrays(embeddings.reshape(-1), embeddings.shape[1]),
            "level": ["clip"] * len(numbers) + ["video"] * len(videos),
            "path": [f"/videos/{video:08d}.avi" for video in (*videos[where], *videos)],
            "start_seconds": np.concatenate([starts, np.zeros(len(videos))]),
            "end_seconds": np.concatenate([starts, np.full(len(videos), starts.max())]) + WINDOWS.window_seconds,
            "model_id": [MODEL_ID] * len(embeddings),
            "status": ["ok"] * len(embeddings),
        }
        columns = [
            pa.array(values[name], kind) if name in values else pa.nulls(len(embeddings), kind)
            for name, kind in zip(schema.names, schema.types, strict=True)
        ]
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), new_part(folder), write_page_checksum=True)


def spectra_of(like: Path) -> dict[str, Spectrum]:
    """The spectra of a table's streams; of a stream that it has not, those of its first."""
    parts = [read_part(part) for part in parts_of(like)]
    rows = pa.concat_tables(parts).filter((pc.field("level") == "clip") & (pc.field("status") == "ok"))
    places = about_part(parts_of(like)[0])["streams"]
    vectors, paths = vectors_of(rows), rows["path"].to_pylist()
    spectra = {}
    for stream, place in places.items():
        own = vectors[:, place["offset"] : place["offset"] + place["length"]]
        having = own.any(axis=1)
        spectra[stream] = spectrum_of(unit(own[having]), np.array(paths)[having].tolist(), DIMS[stream])
    first = next(iter(spectra.values()))
    return {stream: spectra.get(stream, first) for stream in DIMS}
