"""By what the small model's formulas were chosen, on the clips it was trained on alone, no test clip among them.

    python benchmarks/pocket.py WORK

WORK is the folder of `python -m tristream.training.pocket`, which has to be through. The training clips of UCF101 are
split by recording into three parts; in turn, clips of one part search those of the other two, from which formulas are
made. Their classes are looked at here, and nowhere in the training. For ESC-10 fold 2 searches fold 1. The made and
mixed steps that the formulas that ship were found with besides are left out: they are of all parts.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from clips import SHARED
from numpy.typing import NDArray
from retrieval import average_precision

from tristream.streams.config import StreamName
from tristream.training.pocket import MOTION_BLOCKS, SEED, SHARED_AMPLITUDES, Workshop
from tristream.training.pocket_encoders import Block, StreamClips, other_formula, picture_formula
from tristream.training.pocket_sources import Sources

PARTS = 3
AMPLITUDES = (0.0, 0.5, 0.7, 0.8, 0.9, 1.0)  # of the shared half
Floats = NDArray[np.float32]
Embed = Callable[[NDArray[np.intp], NDArray[np.intp]], tuple[Floats, Floats]]  # who is known, who asks -> vectors


def found(
    known: Floats, known_labels: Sequence[str], asking: Floats, labels: Sequence[str]
) -> list[tuple[bool, float]]:
    """For each vector that asks: whether the nearest is of its class, and its average precision."""
    one, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (asking, known))
    orders = np.argsort(-(one @ other.T), axis=1, kind="stable")
    relevant = np.array(known_labels)[orders] == np.array(labels)[:, None]
    return [(bool(row[0]), average_precision(row)) for row in relevant]


class Clips:
    """The training clips of a stream, with their classes and parts."""

    def __init__(self, workshop: Workshop, stream: StreamName) -> None:
        self.stream = stream
        every, names = workshop.clips(stream)
        ucf = [index for index, name in enumerate(names) if name.startswith("v_")]
        self.names = [names[index] for index in ucf]
        self.clips = [every.clips[index] for index in ucf]
        self.labels = [name.split("_")[1] for name in self.names]
        groups = np.array([int(re.search(r"_g(\d+)", name)[1]) for name in self.names])  # type: ignore[index]
        self.parts = groups % PARTS

    def some(self, rows: NDArray[np.intp]) -> StreamClips:
        """Some of them."""
        return StreamClips(tuple(self.clips[row] for row in rows), np.zeros((0, self.clips[0][0].shape[1]), np.float32))

    def tell(self, name: str, embed: Embed) -> None:
        """Print a row of the table."""
        results = []
        for part in range(PARTS):
            known, asking = (np.flatnonzero(mask) for mask in (self.parts != part, self.parts == part))
            vectors = embed(known, asking)
            of = [[self.labels[row] for row in rows] for rows in (known, asking)]
            results += found(vectors[0], of[0], vectors[1], of[1])
        nearest, precision = np.mean(results, axis=0)
        print(f"| {self.stream} | {name} | {nearest:.3f} | {precision:.3f} | {len(results)} |", flush=True)

    def means(self, known: NDArray[np.intp], asking: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """The means of their step features, about those of the known ones."""
        centre = self.some(known).means().mean(axis=0)
        return self.some(known).means() - centre, self.some(asking).means() - centre


def tell_formulas(clips: Clips, pictures: Clips) -> None:
    """The rows of a stream's formulas, of each amplitude of the shared half."""
    place = {name: index for index, name in enumerate(pictures.names)}
    size = clips.clips[0][0].shape[1]
    blocks = MOTION_BLOCKS if clips.stream == "temporal" else [Block(slice(0, size))]

    def embed(amplitude: float, known: NDArray[np.intp], asking: NDArray[np.intp]) -> tuple[Floats, Floats]:
        picture = picture_formula(pictures.some(np.flatnonzero(np.isin(pictures.parts, clips.parts[known]))), SEED)
        shown = {number: pictures.clips[place[clips.names[row]]][0] for number, row in enumerate(known)}
        formula = other_formula(clips.some(known), shown, picture, blocks, amplitude, SEED)
        return formula(clips.some(known).means()), formula(clips.some(asking).means())

    for amplitude in AMPLITUDES:
        clips.tell(f"formula, {amplitude:g} of it what the picture shows", partial(embed, amplitude))


def tell_sounds(workshop: Workshop, pictures: Clips) -> None:
    """The rows of ESC-10, fold 2 asking fold 1: the means of the steps, and the formula of all but fold 2."""
    every, names = workshop.clips("audio")
    label_of = {path.stem: path.parent.name for path in workshop.sources.sounds}
    rows = {fold: [i for i, name in enumerate(names) if name.startswith(f"{fold}-")] for fold in (1, 2)}
    labels = {fold: [label_of[names[row]] for row in rows[fold]] for fold in (1, 2)}
    known = [index for index, name in enumerate(names) if not name.startswith("2-")]
    clips = StreamClips(tuple(every.clips[index] for index in known), every.singles)
    place = {name: index for index, name in enumerate(pictures.names)}
    shown = {
        number: pictures.clips[place[names[index]]][0] for number, index in enumerate(known) if names[index] in place
    }
    picture = picture_formula(pictures.some(np.arange(len(pictures.names))), SEED)
    means = every.means()
    blocks = [Block(slice(0, means.shape[1]))]
    formula = other_formula(clips, shown, picture, blocks, SHARED_AMPLITUDES["audio"], SEED)
    for name, vectors in (("mean of steps", means - means[rows[1]].mean(axis=0)), ("formula", formula(means))):
        nearest, precision = np.mean(found(vectors[rows[1]], labels[1], vectors[rows[2]], labels[2]), axis=0)
        print(f"| audio | ESC-10: {name} | {nearest:.3f} | {precision:.3f} | {len(rows[2])} |")


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    arguments = parser.parse_args()
    if not (arguments.work / "audio-encoder.safetensors").is_file():  # the last that is made
        sys.exit(f"{arguments.work} is no folder of a training of the small model that is through")
    workshop = Workshop(Sources.below(SHARED / "data", SHARED / "weights"), arguments.work)
    print("| stream | vectors | 1-NN | mAP | clips that ask |\n| --- | --- | ---: | ---: | ---: |")
    pictures = Clips(workshop, "spatial")
    pictures.tell("mean of steps", pictures.means)
    for stream in ("temporal", "audio"):
        clips = Clips(workshop, stream)  # type: ignore[arg-type]
        clips.tell("mean of steps", clips.means)
        tell_formulas(clips, pictures)
    tell_sounds(workshop, pictures)


if __name__ == "__main__":
    main()
