"""Does a clip that was changed find itself among all clips?

    python benchmarks/changes.py [DATASET] [--model pocket] [--work DIR] [--json FILE]

The test clips of DATASET, each encoded anew (H.264 and AAC at a low rate), scaled to 3/5 of each side, made brighter by
a third, cut by a tenth of each side, or begun one second later. Each searches all clips of DATASET, train and test, as
they are: how often the nearest is the clip itself, by every set of streams. What is begun later is asked of the clips
that are two seconds long at least.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from clips import SHARED
from copies import Span, has_sound, waveform, write_clip
from numpy.typing import NDArray
from retrieval import embed, sets_of

from tristream.fusion.folder import write_atomically
from tristream.fusion.parts import read_rows
from tristream.fusion.source import ModelSource, find_model
from tristream.search.index import VideoIndex
from tristream.search.query import Query
from tristream.search.update import update_index
from tristream.training.datasets import read_dataset
from tristream.training.splits import train_and_test

SHIFT_SECONDS, LEAST_SECONDS = 1.0, 2.0
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Change:
    """What is done to a clip."""

    picture: Callable[[Picture], Picture] = lambda picture: picture
    size_share: float = 1.0
    crf: int = 20
    sound_rate: int = 96_000
    begin_seconds: float = 0.0


def brighter(picture: Picture) -> Picture:
    """A third more light."""
    return np.minimum(picture.astype(np.uint16) * 4 // 3, 255).astype(np.uint8)


def cut(picture: Picture) -> Picture:
    """Nine tenths of each side, off the middle."""
    height, width = picture.shape[:2]
    top, left = height // 30, width // 15
    return np.ascontiguousarray(picture[top : top + height * 9 // 10, left : left + width * 9 // 10])


CHANGES = {
    "encoded anew": Change(crf=32, sound_rate=32_000),
    "scaled to 3/5": Change(size_share=0.6),
    "brighter by 1/3": Change(brighter),
    "cut by 1/10": Change(cut),
    "begun 1 s later": Change(begin_seconds=SHIFT_SECONDS),
}


def write_changed(path: Path, target: Path, change: Change) -> None:
    """Write a changed clip, at its own frame rate."""
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        rate, shown = Fraction(stream.average_rate), 0

        def frames() -> Iterator[av.VideoFrame]:
            nonlocal shown
            for frame in islice(source.decode(stream), round(change.begin_seconds * rate), None):
                picture = change.picture(frame.to_ndarray(format="rgb24"))
                width, height = (round(side * change.size_share) // 2 * 2 for side in picture.shape[1::-1])
                yield av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(width, height, "yuv420p")
                shown += 1

        def sound() -> NDArray[np.float32]:
            return waveform(Span(path, change.begin_seconds), float(shown / rate))

        write_clip(target, frames(), rate, change.crf, sound if has_sound(path) else None, change.sound_rate)


def seconds_of(path: Path) -> float:
    """How long a clip's picture is."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return float(stream.frames / stream.average_rate)


def measure(
    source: ModelSource, every: Sequence[Path], queries: Sequence[Path], work: Path
) -> dict[str, dict[str, list[int]]]:
    """For each change and set of streams: how many found themselves, of how many."""
    embed(every, source, work / "table")
    update_index(work / "table", work / "index")
    index = VideoIndex(work / "index")
    figures: dict[str, dict[str, list[int]]] = {}
    for number, (name, change) in enumerate(CHANGES.items()):
        folder = work / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        asked = {path: folder / f"{path.stem}.mp4" for path in queries}
        if change.begin_seconds:
            asked = {path: target for path, target in asked.items() if seconds_of(path) >= LEAST_SECONDS}
        for path, target in asked.items():
            if not target.exists():
                write_changed(path, target.with_suffix(".part.mp4"), change)
                target.with_suffix(".part.mp4").rename(target)
        embed(list(asked.values()), source, work / f"table-{number}")
        rows = {Path(row["path"]).stem: row for row in read_rows(work / f"table-{number}") if row["level"] == "video"}
        found: dict[str, list[int]] = {}
        for path in asked:
            query = Query.of_vector(rows[path.stem]["embedding"], index.dims, index.model_id)
            for streams in sets_of(source.config.streams):
                weights = {stream: index.weights[stream] for stream in streams}
                if query.vectors.keys() & weights.keys():
                    best = index.search(query, 1, level="video", weights=weights)[0]
                    hits = found.setdefault("+".join(streams), [0, 0])
                    hits[0] += best.path == str(path)
                    hits[1] += 1
        figures[name] = found
    whole = {name: np.sum([found[name] for found in figures.values()], axis=0) for name in figures["cut by 1/10"]}
    figures["all of these"] = {name: pair.tolist() for name, pair in whole.items()}
    return figures


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?", default=SHARED / "data" / "ucf101-6c")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--work", type=Path, help="keep what is made there, and go on from what is there")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    train, test = train_and_test(read_dataset(arguments.dataset))
    every, queries = ([one.path.resolve() for one in part] for part in ((*train, *test), test))
    with tempfile.TemporaryDirectory() as temporary:
        figures = measure(find_model(arguments.model), every, queries, arguments.work or Path(temporary))
    names = list(next(iter(figures.values())))
    print(f"the share of clips that find themselves first, among {len(every)}, and how many were asked\n")
    print(f"| change | {' | '.join(names)} |\n| --- |{' ---: |' * len(names)}")
    for change, found in figures.items():
        shares = (f"{found[name][0] / found[name][1]:.3f} ({found[name][1]})" for name in names)
        print(f"| {change} | {' | '.join(shares)} |")
    if arguments.json is not None:
        write_atomically(arguments.json, (json.dumps(figures, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
