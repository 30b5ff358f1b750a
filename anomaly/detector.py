"""A detector as it is kept: what was fitted, how it was calibrated, and of which model's embeddings.

The folder holds `detector.json` and `detector.safetensors`; a sha256 of both stands in the first.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tristream.anomaly.autoencoder import AutoencoderDetector
from tristream.anomaly.baselines import AUTOENCODER, BaselineDetector
from tristream.anomaly.calibration import BLOCK_SECONDS, Calibration
from tristream.anomaly.events import Levels
from tristream.fusion.blocks import Floats
from tristream.fusion.folder import MAX_JSON_BYTES, write_atomically
from tristream.fusion.source import ModelSource, find_again, find_model
from tristream.fusion.windows import Windows
from tristream.streams.config import from_json, to_json
from tristream.streams.errors import DetectorError, ModelError, TristreamError, UsageError
from tristream.streams.grid import Grid

FORMAT_VERSION = 1
ABOUT_FILE, ARRAYS_FILE = "detector.json", "detector.safetensors"
PEAKS = "calibration.peaks"
CALM_SHARE = 5.0  # an event goes on while scores are as high as this many times the allowed alarms an hour have
OTHER_PACE = 1.2  # frames that come so many times as fast as those learnt from are told of
CALM_BLOCKS = 0.75  # but higher than in so many of the blocks held out: else an event would never end

Estimator = AutoencoderDetector | BaselineDetector


@dataclass(frozen=True)
class About:
    """All of a detector that is not an array; kept as JSON."""

    model_id: str
    model: str
    dims: dict[str, int]  # stream -> D_s, in the order they are joined
    window_seconds: float
    stride_seconds: float
    grid_rows: int = 1
    grid_columns: int = 1
    asked: dict[str, Any] = field(default_factory=dict)  # with which `find_again` finds the model
    detector: str = AUTOENCODER
    parameters: dict[str, Any] = field(default_factory=dict)  # of the estimator
    smooth_seconds: float = 1.0
    false_alarms_per_hour: float | None = None  # None: no footage was held out, so there is no threshold
    block_seconds: float = BLOCK_SECONDS
    fps: float | None = None  # of the footage, at its median
    fitted_seconds: float = 0.0  # of footage
    held_out_seconds: float = 0.0
    format_version: int = FORMAT_VERSION
    sha256: str = ""  # of the arrays and of all of this

    @property
    def windows(self) -> Windows:
        """How videos are cut for this detector."""
        return Windows(self.window_seconds, self.stride_seconds, Grid(self.grid_rows, self.grid_columns))


@dataclass(frozen=True, eq=False)
class Detector:
    """What tells how strange the clips of a model are, and from which score on to raise an alarm."""

    about: About
    estimator: Estimator
    calibration: Calibration

    @cached_property
    def places(self) -> Floats:
        """Where the middle of each tile lies, (P, 2): down and right, from -1 to 1; (1, 0) of the whole picture."""
        return places_of(self.about.windows.grid)

    def score(self, vectors: NDArray[np.floating[Any]]) -> Floats:
        """How strange each tile (N, P) of embeddings (N, P, D) is."""
        scores = self.estimator.decision_function(rows_of(vectors, self.places))
        return scores.reshape(vectors.shape[:2])

    def explain(self, vectors: NDArray[np.floating[Any]], tiles: NDArray[np.intp]) -> list[dict[str, float]]:
        """Each stream's share of the scores of N tiles (N,) with embeddings (N, D)."""
        shares = self.estimator.explain(np.hstack([np.asarray(vectors, np.float64), self.places[tiles]]))
        return [dict(zip(self.about.dims, map(float, row), strict=False)) for row in shares]

    def levels(self, per_hour: float | None = None) -> Levels | None:
        """From which scores on an event opens and goes on; None of a detector without a threshold.

        Args:
            per_hour: false alarms an hour; None for the detector's own.

        Raises:
            UsageError: too little footage was held out for so low a rate.
        """
        rate = self.about.false_alarms_per_hour if per_hour is None else per_hour
        if rate is None:
            return None
        alarm = self.calibration.threshold(rate)
        calm = max(
            self.calibration.threshold(CALM_SHARE * rate), float(np.quantile(self.calibration.peaks, CALM_BLOCKS))
        )
        return Levels(alarm, min(calm, alarm), self.calibration.block_seconds)

    def other_pace(self, fps: float | None) -> str:
        """What to say of footage with so many frames a second; empty where that is about as in what was learnt from."""
        learnt = self.about.fps
        if not learnt or not fps or 1 / OTHER_PACE < fps / learnt < OTHER_PACE:
            return ""
        return (
            f"it has {fps:.3g} frames a second, and the footage learnt from {learnt:.3g}: things move another distance "
            "from frame to frame, so that its scores mean little"
        )

    def find_model(self, name_or_path: str | None = None) -> ModelSource:
        """The model that the detector is of: where it was, or where it is now.

        Raises:
            ModelError: it is not there.
            DetectorError: there is another.
        """
        about = self.about
        try:
            source = find_again(about.asked) if name_or_path is None else find_model(name_or_path)
        except (ModelError, UsageError) as error:
            if name_or_path is not None:
                raise
            raise ModelError(
                f"the model {about.model} ({about.model_id}) of the detector is needed: {error}; --model tells where "
                "it is"
            ) from error
        if source.model_id != about.model_id:
            raise DetectorError(
                f"the detector is of model {about.model_id} ({about.model}), and {source.name} is {source.model_id}: "
                "--model names the detector's"
            )
        return source

    def save(self, folder: str | Path) -> None:
        """Write the folder, whole or not at all.

        Raises:
            DetectorError: it cannot be written.
        """
        folder = Path(folder)
        arrays = {name: np.array(array, order="C") for name, array in self.estimator.to_arrays().items()}
        data = save(arrays | {PEAKS: self.calibration.peaks})
        about = to_json(self.about) | {"sha256": _digest(data, self.about)}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Arrays first: until the JSON names them, what was there before is refused, not half read.
            write_atomically(folder / ARRAYS_FILE, data)
            write_atomically(folder / ABOUT_FILE, (json.dumps(about, indent=2) + "\n").encode())
        except OSError as error:
            raise DetectorError(f"cannot write the detector {folder}: {error.strerror or error}") from error


def load_detector(folder: str | Path) -> Detector:
    """Read a detector's folder; nothing in it is run.

    Raises:
        DetectorError: no such folder, a file that is missing, damaged or changed, or of another version.
    """
    folder = Path(folder)
    path = folder / ABOUT_FILE
    try:
        if not path.is_file() or path.stat().st_size > MAX_JSON_BYTES:
            raise DetectorError(f"{folder} is no detector: it has no {ABOUT_FILE} as fit-anomaly writes it")
        about = _read_about(path)
        data = (folder / ARRAYS_FILE).read_bytes()
    except OSError as error:
        raise DetectorError(f"the detector {folder} cannot be read: {error.strerror or error}") from error
    if _digest(data, about) != about.sha256:
        raise DetectorError(f"a file of {folder} is not as it was written (sha256 differs): copy the folder again")
    try:
        arrays = load(data)
        peaks = arrays.pop(PEAKS)
        if peaks.ndim != 1 or peaks.dtype != np.float64 or not np.isfinite(peaks).all():
            raise DetectorError(f"the calibration of {folder} is damaged: fit it again")
        parameters = {"dims": about.dims, **about.parameters}
        kind = AutoencoderDetector if about.detector == AUTOENCODER else BaselineDetector
        estimator = kind(**parameters).from_arrays(arrays, about.dims)
        return Detector(about, estimator, Calibration(np.sort(peaks), about.block_seconds))
    except (SafetensorError, KeyError, TypeError, ValueError, TristreamError) as error:
        raise DetectorError(f"the detector {folder} is damaged: {error}") from error


def _digest(arrays: bytes, about: About) -> str:
    """What shows any change of a detector's files."""
    described = json.dumps(to_json(replace(about, sha256="")), sort_keys=True)
    return sha256(arrays + described.encode()).hexdigest()


def _read_about(path: Path) -> About:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data.get("format_version") if isinstance(data, dict) else None
        if version != FORMAT_VERSION:
            raise DetectorError(f"{path} has format {version}; this version reads {FORMAT_VERSION}: fit it again")
        about = from_json(About, data, ABOUT_FILE)
        _ = about.windows
        return about
    except (ValueError, TypeError, RecursionError) as error:
        raise DetectorError(f"{path} is damaged: {error}") from error


def places_of(grid: Grid) -> Floats:
    """Where the middle of each tile lies, (P, 2), from -1 to 1; (1, 0) where there is one only."""
    if grid.is_whole:
        return np.zeros((1, 0))
    return np.array([(top + bottom - 1, left + right - 1) for left, top, right, bottom in grid.boxes()])


def rows_of(vectors: NDArray[np.floating[Any]], places: Floats) -> Floats:
    """Rows (N·P, D + C) of embeddings (N, P, D) of tiles at `places` (P, C)."""
    count, tiles, _ = vectors.shape
    context = np.broadcast_to(places, (count, tiles, places.shape[1]))
    rows: Floats = np.concatenate([np.asarray(vectors, np.float64), context], axis=2)
    return rows.reshape(count * tiles, -1)


def make_estimator(name: str, dims: Mapping[str, int], grid: Grid, parameters: Mapping[str, Any]) -> Estimator:
    """The estimator of that name, not fitted yet."""
    context = places_of(grid).shape[1]
    if name == AUTOENCODER:
        return AutoencoderDetector(dims=dict(dims), context=context, **parameters)
    return BaselineDetector(name, dims=dict(dims), context=context)
