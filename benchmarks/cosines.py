"""What cosines mean: how alike clips are that have nothing to do with each other, and parts of one scene.

    python benchmarks/cosines.py [DATASET] [--model pocket] [--json FILE]

unrelated   test clips of different classes of DATASET
one class   test clips of one class, of different recordings
same scene  the first and the second half of a test clip of two seconds or more
agreement   of the pictures of a test clip and its own sound or motion, and of those of clips of other classes: the
            cosine of the first halves of their vectors, which the model keeps in one space, and how often its own
            is the larger (0.5 by chance)

Percentiles of the cosine of each stream's vectors as they are embedded, with nothing taken away afterwards.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from clips import SHARED
from numpy.typing import NDArray

from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.folder import write_atomically
from tristream.fusion.model import Model, load_model
from tristream.training.datasets import Example, read_dataset
from tristream.training.splits import train_and_test

PERCENTILES = (1, 5, 50, 95, 99)
LEAST_SECONDS = 2.0
Vector = NDArray[np.float32]


def cosine(one: Vector, other: Vector) -> float:
    """The cosine of two vectors."""
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def halves(model: Model, path: Path, whole: VideoEmbedding) -> tuple[VideoEmbedding, VideoEmbedding] | None:
    """The embeddings of both halves of a clip; None of one that is too short."""
    seconds = whole.duration_seconds or 0.0
    if seconds < LEAST_SECONDS:
        return None
    return model.embed(path, moment=(0.0, seconds / 2)), model.embed(path, moment=(seconds / 2, seconds))


def of_streams(one: VideoEmbedding, other: VideoEmbedding) -> dict[str, float]:
    """The cosine of each stream that both have, and of all of these side by side."""
    shared = [name for name in one.dims if one.present[name] and other.present[name]]
    found = {str(name): cosine(one.stream(name), other.stream(name)) for name in shared}
    if shared:
        joined = [np.concatenate([each.stream(name) for name in shared]) for each in (one, other)]
        found["all that both have"] = cosine(*joined)
    return found


def agreement(embedded: Sequence[tuple[Example, VideoEmbedding]], stream: str) -> dict[str, float]:
    """How the pictures of a clip agree with its own other stream, and with those of clips of other classes."""
    having = [(one, video) for one, video in embedded if video.present["spatial"] and video.present[stream]]  # type: ignore[index]
    own, other, larger = [], [], []
    for one, video in having:
        half = video.dims["spatial"] // 2
        picture = video.stream("spatial")[:half]
        mine = cosine(picture, video.stream(stream)[:half])
        theirs = [cosine(picture, each.stream(stream)[:half]) for two, each in having if two.label != one.label]
        own.append(mine)
        other += theirs
        larger.append(float(np.mean(mine > np.array(theirs))))
    return {"own": float(np.mean(own)), "other": float(np.mean(other)), "own is larger": float(np.mean(larger))}


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?", default=SHARED / "data" / "ucf101-6c")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    _, test = train_and_test(read_dataset(arguments.dataset))
    embedded = [(one, model.embed(one.path)) for one in test]
    cosines: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (one, first), (two, second) in combinations(embedded, 2):
        if one.label != two.label or one.group != two.group:
            kind = "one class" if one.label == two.label else "unrelated"
            for name, value in of_streams(first, second).items():
                cosines[kind][name].append(value)
    for one, whole in embedded:
        if (parts := halves(model, one.path, whole)) is not None:
            for name, value in of_streams(*parts).items():
                cosines["same scene"][name].append(value)
    print(f"| pairs | stream | {' | '.join(f'{p} %' for p in PERCENTILES)} | pairs |\n| --- | --- |{' ---: |' * 6}")
    figures: dict[str, object] = {}
    for kind in ("unrelated", "one class", "same scene"):
        for name, values in cosines[kind].items():
            found = np.percentile(values, PERCENTILES)
            figures[f"{kind}, {name}"] = found.round(4).tolist()
            print(f"| {kind} | {name} | {' | '.join(f'{value:.2f}' for value in found)} | {len(values)} |")
    print("\n| pictures and | own | of other classes | own is larger |\n| --- | ---: | ---: | ---: |")
    for stream in ("temporal", "audio"):
        told = agreement(embedded, stream)
        figures[f"agreement, {stream}"] = told
        print(f"| {stream} | {' | '.join(f'{value:.2f}' for value in told.values())} |")
    if arguments.json is not None:
        write_atomically(arguments.json, (json.dumps(figures, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
