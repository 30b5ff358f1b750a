"""UCSD Ped2: how well anomalous frames are told from normal ones, by what we ship, by others, and by parts of it.

    python benchmarks/ped2.py FOLDER [--json FILE] [--plot FILE] [--tables DIR] [--no-parts] [--spatial-weights FILE]

FOLDER has training/frames/CLIP/, testing/frames/CLIP/ and frame_labels.csv. Detectors are fitted on the training clips
alone, all of them; nothing is held out for a threshold, which AUROC needs not. `auroc_micro` is over the frames of all
test clips together, scores as they are; `auroc_macro` is the mean over the clips that hold both kinds of frames.

Ours is what `fit-anomaly` makes with its defaults: histograms of flow in 4x6 tiles, windows of 1 s, an autoencoder;
with other seeds the autoencoder starts from other weights. The two baselines need no detector: the largest blurred
difference between frames, and a map of speeds (DIS flow, means over 32-pixel boxes, the last 5 frames, the maximum).
"""

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from clips import SHARED
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from sklearn.metrics import roc_auc_score

from tristream.anomaly.detector import Detector
from tristream.anomaly.evaluation import Evaluation, Labelled, Labels, evaluate, labels_of, read_labels
from tristream.anomaly.fitting import FitSettings, fit_detector
from tristream.anomaly.footage import clips_of, vectors_of, videos_of
from tristream.anomaly.plot import Strip, write_plot
from tristream.anomaly.scoring import scores_of
from tristream.fusion.batch import Job, cores
from tristream.fusion.folder import write_atomically
from tristream.fusion.overrides import Overrides
from tristream.fusion.run import run
from tristream.fusion.source import ModelSource, find_model
from tristream.fusion.table import EmbeddingTable
from tristream.fusion.windows import Windows
from tristream.streams.flow import DisEngine, FlowFrame
from tristream.streams.frame_folder import FrameFolder
from tristream.streams.grid import Grid
from tristream.streams.picture import PictureFormat

FPS = 10.0
OURS = Windows(1.0, 0.2, Grid(4, 6))
OTHERS = ("pca", "knn", "isolation-forest", "mahalanobis")
SEEDS = 5
PLOTTED = 4  # test clips
# Of the whole set of 12 test clips, from ../shared/data/README.md.
KNOWN = {"largest blurred frame difference": 0.896, "map of speeds": 0.976}
WEIGHTS = SHARED / "weights" / "mobilenetv1_100.safetensors"
BOX_PIXELS, LAST_FRAMES, SMOOTH_FRAMES = 32, 5, 2


class Ped2:
    """The clips, embedded in as many ways as are asked for."""

    def __init__(self, folder: Path, tables: Path) -> None:
        self.train = sorted(path for path in (folder / "training" / "frames").iterdir() if path.is_dir())
        self.test = sorted(path for path in (folder / "testing" / "frames").iterdir() if path.is_dir())
        self.labels = read_labels(folder / "frame_labels.csv")
        self._tables = tables

    def evaluate(self, source: ModelSource, windows: Windows, settings: FitSettings) -> Evaluation:
        """A detector fitted on the training clips, on the test clips."""
        train, test = (self._table(source, windows, part) for part in ("train", "test"))
        return self.of(fit_detector(train, settings), test)

    def of(self, detector: Detector, table: Path) -> Evaluation:
        """How well a detector does on the test clips of a table."""
        return evaluate(list(self.scored(detector, table)), with_events=False)

    def scored(self, detector: Detector, table: Path) -> Iterator[Labelled]:
        """The test clips of a table with their scores."""
        windows = detector.about.windows
        for video, vectors, spans in vectors_of(videos_of(table, windows), windows):
            scores = list(scores_of(detector, clips_of(vectors, spans, detector.about.dims)))
            yield Labelled(video.path, self.truth(video.path), FPS, scores, ())

    def plot(self, source: ModelSource, path: Path) -> None:
        """Draw the scores of the first test clips over time, and which frames are anomalous."""
        detector = fit_detector(self._table(source, OURS, "train"), FitSettings(hold_out=0))
        clips = itertools.islice(self.scored(detector, self._table(source, OURS, "test")), PLOTTED)
        write_plot(path, [Strip(f"test clip {Path(c.name).name}", c.scores, (), c.labels, FPS) for c in clips], None)

    def truth(self, path: str) -> Labels:
        """The labels of a test clip."""
        labels = labels_of(path, self.labels)
        if labels is None:
            sys.exit(f"frame_labels.csv has no labels of {path}")
        return labels

    def baseline(self, score: Callable[[list[NDArray[np.uint8]]], NDArray[np.float64]]) -> float:
        """AUROC over all frames of what a function of a clip's grey pictures says of each pair, smoothed over time."""
        truth, scores = [], []
        for path in self.test:
            form = PictureFormat(240, 360, "gray", None, "area")
            of_pairs = score([frame.picture(form) for frame in FrameFolder(path, FPS)])
            truth.append(self.truth(str(path)))
            scores.append(gaussian_filter1d(np.append(of_pairs[0], of_pairs), SMOOTH_FRAMES))
        return float(roc_auc_score(np.concatenate(truth), np.concatenate(scores)))

    def _table(self, source: ModelSource, windows: Windows, part: str) -> Path:
        name = f"{source.model_id}-{windows.window_seconds:g}-{windows.stride_seconds:g}-{windows.grid}-{part}"
        folder = self._tables / name
        job = Job(source, windows, 64, fps=FPS)
        with EmbeddingTable(folder, source.model_id, windows) as table:
            paths = [str(path.resolve()) for path in (self.train if part == "train" else self.test)]
            summary = run(paths, table, job, jobs=cores(), timeout_seconds=3600)
        for path, error in summary.errors:
            sys.exit(f"{path}: {error}")
        return folder


def differences(pictures: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """The largest difference between frames, blurred over boxes of 32 pixels."""
    pairs = itertools.pairwise(pictures)
    return np.array([cv2.blur(cv2.absdiff(a, b).astype(np.float32), (BOX_PIXELS, BOX_PIXELS)).max() for a, b in pairs])


def speeds(pictures: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """The largest mean speed of a box, over the last five pairs."""
    engine, maps = DisEngine(), []
    for first, second in itertools.pairwise(pictures):
        flow = engine(FlowFrame(first), FlowFrame(second))
        maps.append(cv2.blur(cv2.magnitude(flow[..., 0], flow[..., 1]), (BOX_PIXELS, BOX_PIXELS)))
    return np.array([np.mean(maps[max(0, n - LAST_FRAMES + 1) : n + 1], axis=0).max() for n in range(len(maps))])


def appearance(streams: tuple[str, ...], weights: Path) -> ModelSource:
    """MobileNetV1's ImageNet features of each tile, with or without its motion."""
    overrides = Overrides(
        streams=streams,
        recurrent="mean",
        backbone="mobilenetv1_100",
        same_padding=True,
        spatial_weights=weights,
        temporal_cnn="histogram" if "temporal" in streams else None,
    )
    return find_model("tkachenko2018", overrides)


def main() -> None:
    """Print a Markdown table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=SHARED / "data" / "ped2")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--plot", type=Path, help="draw our scores of the first test clips there")
    parser.add_argument("--tables", type=Path, help="keep the embeddings there, and go on from what is there")
    parser.add_argument("--no-parts", action="store_true", help="leave out other grids, windows and streams")
    parser.add_argument("--spatial-weights", type=Path, default=WEIGHTS, help="of mobilenetv1_100")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        measure(Ped2(arguments.folder, arguments.tables or Path(temporary)), arguments)


def measure(ped2: Ped2, arguments: argparse.Namespace) -> None:
    """All figures, the most telling first."""
    figures: dict[str, Any] = {"train_clips": len(ped2.train), "test_clips": len(ped2.test)}

    def tell(group: str, name: str, found: Evaluation | float) -> None:
        micro = found if isinstance(found, float) else found.auroc_micro
        macro = "" if isinstance(found, float) or found.auroc_macro is None else f"{found.auroc_macro:.3f}"
        known = f"{KNOWN[name]:.3f}" if name in KNOWN else ""
        print(f"| {group} | {name} | {micro:.3f} | {macro} | {known} |", flush=True)
        figures.setdefault(group, {})[name] = micro
        if arguments.json is not None:
            write_atomically(arguments.json, (json.dumps(figures, indent=1) + "\n").encode())

    print(f"{len(ped2.train)} training clips, {len(ped2.test)} test clips\n")
    print("| | | AUROC of all frames | mean of clips | of the whole set, as published |")
    print("| --- | --- | ---: | ---: | ---: |")
    camera = find_model("camera")
    ours = ped2.evaluate(camera, OURS, FitSettings(hold_out=0))
    figures |= {name: getattr(ours, name) for name in ("auroc_micro", "auroc_macro", "average_precision")}
    tell("ours", "fit-anomaly as it is", ours)
    if arguments.plot is not None:
        ped2.plot(camera, arguments.plot)
    for seed in range(1, SEEDS):
        settings = FitSettings(parameters={"random_state": seed}, hold_out=0)
        tell("other seeds", f"seed {seed}", ped2.evaluate(camera, OURS, settings))
    tell("baselines", "largest blurred frame difference", ped2.baseline(differences))
    tell("baselines", "map of speeds", ped2.baseline(speeds))
    for name in OTHERS:
        tell("other detectors", name, ped2.evaluate(camera, OURS, FitSettings(name, hold_out=0)))
    if arguments.no_parts:
        return
    tell("not smoothed", "0 s", ped2.evaluate(camera, OURS, FitSettings(hold_out=0, smooth_seconds=0.0)))
    for grid in (Grid(1, 1), Grid(2, 3), Grid(3, 4), Grid(6, 9)):
        windows = Windows(OURS.window_seconds, OURS.stride_seconds, grid)
        tell("another grid", str(grid), ped2.evaluate(camera, windows, FitSettings(hold_out=0)))
    for seconds in (0.4, 2.0):
        windows = Windows(seconds, OURS.stride_seconds, OURS.grid)
        tell("another window", f"{seconds:g} s", ped2.evaluate(camera, windows, FitSettings(hold_out=0)))
    if not arguments.spatial_weights.is_file():
        print(f"no weights at {arguments.spatial_weights}: nothing is said of appearance", file=sys.stderr)
        return
    both = appearance(("spatial", "temporal"), arguments.spatial_weights)
    alone = appearance(("spatial",), arguments.spatial_weights)
    tell("streams", "MobileNetV1 and histograms", ped2.evaluate(both, OURS, FitSettings(hold_out=0)))
    tell("streams", "MobileNetV1 alone", ped2.evaluate(alone, OURS, FitSettings(hold_out=0)))
    for streams in (("spatial", "temporal"), ("temporal",), ("spatial",)):
        source = find_model("pocket", Overrides(streams=streams))
        name = f"pocket: {' and '.join(streams)}{' alone' if len(streams) == 1 else ''}"
        tell("streams", name, ped2.evaluate(source, OURS, FitSettings(hold_out=0)))
    whole = Windows(OURS.window_seconds, OURS.stride_seconds)
    tell(
        "streams", "MobileNetV1 alone, whole picture, pca", ped2.evaluate(alone, whole, FitSettings("pca", hold_out=0))
    )


if __name__ == "__main__":
    main()
