"""Test clips query train clips: nearest neighbour and mean average precision, for every set of streams.

    python benchmarks/retrieval.py [DATASET] [--tables DIR] [--model MODEL]
    python benchmarks/retrieval.py --esc10 [--model MODEL]

Whole videos are searched, as `search-video --level video` does. A query's nearest neighbour is right where it is of the
query's class; its average precision is the mean, over the train clips of its class, of the share of that class among
those ranked as high. Streams count as the model weighs them. A set of streams is asked of the test clips that have one
of them at least. The interval is the 95 % of drawing whole groups of test clips.

By default MobileNetV1 with ImageNet's weights and YAMNet with AudioSet's, each the mean over its steps, without the
temporal stream, which no published weights are at hand for. Beside them stands what ../shared/data/README.md tells of
all 731 clips of the six classes, 529 to search and 202 that query: of the same kind, not of the same clips.
With --esc10 the sounds of fold 3 query those of folds 1 and 2.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from clips import SHARED
from esc10 import write_labels
from numpy.typing import NDArray
from trainings import WEIGHTS

from tristream.fusion.batch import Job, cores
from tristream.fusion.folder import write_atomically
from tristream.fusion.overrides import Overrides
from tristream.fusion.parts import read_rows
from tristream.fusion.rows import text_of
from tristream.fusion.run import run
from tristream.fusion.source import ModelSource, find_model
from tristream.fusion.table import EmbeddingTable
from tristream.fusion.windows import Windows
from tristream.search.index import VideoIndex
from tristream.search.query import Query
from tristream.search.update import update_index
from tristream.training.bootstrap import accuracy_interval
from tristream.training.datasets import Example, read_dataset
from tristream.training.splits import train_and_test

WHOLE_WINDOWS = Windows()  # as embed-video has by default
# 1-NN and mAP of simple descriptors, from ../shared/data/README.md.
KNOWN = {
    "colour histogram": (0.653, 0.469),
    "histogram of optical flow": (0.634, 0.403),
    "log-mel mean and deviation": (0.460, 0.422),
    "random SqueezeNet": (0.658, 0.457),
    "ImageNet SqueezeNet": (0.876, 0.748),
    "that + flow + log-mel": (0.921, 0.802),
    "ImageNet MobileNetV1, mean of 16 frames": (0.941, 0.797),
}


def embed(paths: Sequence[Path], source: ModelSource, folder: Path, windows: Windows = WHOLE_WINDOWS) -> None:
    """Embed files into a table; those that are in it already are not embedded again."""
    paths = [str(path.resolve()) for path in paths]
    job = Job(source, windows, 16)
    with EmbeddingTable(folder, source.model_id, windows) as table:
        summary = run(paths, table, job, jobs=cores(), timeout_seconds=600)
    for path, error in summary.errors:
        print(f"left out: {path}: {error}", file=sys.stderr)


def queries_of(folder: Path, dims: dict[str, int], labels: dict[str, Example]) -> Iterator[tuple[Example, Query]]:
    """The whole videos of a table as queries."""
    for row in read_rows(folder):
        if row["level"] == "video" and row["status"] == "ok":
            yield labels[row["path"]], Query.of_vector(row["embedding"], dims, row["model_id"], path=row["path"])


def average_precision(relevant: NDArray[np.bool_]) -> float:
    """Of a ranking (N,): whether each is of the class."""
    places = np.flatnonzero(relevant) + 1
    return float(np.mean(np.arange(1, len(places) + 1) / places)) if len(places) else 0.0


def measure(
    index: VideoIndex,
    queries: Sequence[tuple[Example, Query]],
    labels: dict[str, Example],
    streams: tuple[str, ...],
) -> dict[str, float]:
    """1-NN and mAP of a set of streams."""
    weights = {stream: index.weights[stream] for stream in streams}
    hits, precisions, groups = [], [], []
    for example, query in queries:
        if not query.vectors.keys() & weights.keys():
            continue
        moments = index.search(query, len(labels), level="video", weights=weights)
        relevant = np.array([labels[moment.path].label == example.label for moment in moments])
        hits.append(bool(relevant[0]))
        precisions.append(average_precision(relevant))
        groups.append(example.group)
    interval = accuracy_interval(hits, groups)
    figures = {"1nn": interval.value, "low": interval.low, "high": interval.high}
    return figures | {"map": float(np.mean(precisions)), "clips": len(hits)}


def published_networks() -> ModelSource:
    """MobileNetV1 of ImageNet and YAMNet of AudioSet, each the mean over its steps."""
    overrides = Overrides(
        streams=("spatial", "audio"),
        backbone="mobilenetv1_100",
        same_padding=True,
        recurrent="mean",
        audio_cnn="yamnet",
        spatial_weights=WEIGHTS / "mobilenetv1_100.safetensors",
        audio_weights=WEIGHTS / "yamnet.safetensors",
    )
    return find_model("tkachenko2018", overrides)


def esc10() -> tuple[Sequence[Example], Sequence[Example]]:
    """The sounds of ESC-10: folds 1 and 2, and fold 3."""
    with tempfile.TemporaryDirectory() as temporary:
        labels = Path(temporary) / "esc10.csv"
        write_labels(SHARED / "data" / "esc10", labels)
        return train_and_test(read_dataset(labels))


def sets_of(streams: Sequence[str]) -> list[tuple[str, ...]]:
    """Each stream alone, every pair, all."""
    return [chosen for count in range(1, len(streams) + 1) for chosen in combinations(streams, count)]


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?", default=SHARED / "data" / "ucf101-6c")
    parser.add_argument("--esc10", action="store_true", help="sounds in place of DATASET")
    parser.add_argument("--model", help="a model folder or name, in place of the two networks above")
    parser.add_argument("--untrained", action="store_true", help="allow a model without trained weights")
    parser.add_argument("--tables", type=Path, help="keep the embeddings there, and go on from what is there")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    if arguments.model is None:
        source = published_networks()
    else:
        source = find_model(arguments.model, untrained=arguments.untrained)
    train, test = esc10() if arguments.esc10 else train_and_test(read_dataset(arguments.dataset))
    labels = {text_of(str(one.path.resolve())): one for one in (*train, *test)}
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.tables or Path(temporary)
        embed([one.path for one in train], source, folder / "train")
        embed([one.path for one in test], source, folder / "test")
        update_index(folder / "train", folder / "index")
        index = VideoIndex(folder / "index")
        queries = list(queries_of(folder / "test", index.dims, labels))
        for streams in sets_of(["audio"] if arguments.esc10 else source.config.streams):
            figures["+".join(streams)] = measure(index, queries, labels, streams)
    print(f"model {source.name} ({source.model_id}): {len(queries)} query {len(train)}\n")
    print("| streams | 1-NN (95 % interval) | mAP | clips that query |\n| --- | ---: | ---: | ---: |")
    for name, found in figures.items():
        interval = f"{found['1nn']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
        print(f"| {name} | {interval} | {found['map']:.3f} | {found['clips']:.0f} |")
    for name, (nearest, precision) in () if arguments.esc10 else KNOWN.items():
        print(f"| *{name}* | {nearest:.3f} | {precision:.3f} | 202 of 731 |")
    if arguments.json is not None:
        write_atomically(arguments.json, (json.dumps(figures, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
