"""By what the small model's formulas were chosen, on the clips it was trained on alone, no test clip among them.

    python benchmarks/pocket.py WORK

WORK is the folder of `python -m tristream.training.pocket`, which has to be through. The training clips of UCF101 are
split by recording into three parts; in turn, clips of one part search those of the other two, from which formulas are
made. Their classes are looked at here, and nowhere in the training. In one row of motion and of sound the formula
is made without the class that asks. For ESC-10 fold 2 searches fold 1. The made and mixed steps that the formulas that
ship were found with besides are left out: they are of all parts.
"""

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
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
Labels = NDArray[np.str_]


def found(known: Floats, asking: Floats, known_labels: Labels, labels: Labels) -> list[tuple[bool, float]]:
    """For each vector that asks: whether the nearest is of its class, and its average precision."""
    one, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (asking, known))
    orders = np.argsort(-(one @ other.T), axis=1, kind="stable")
    relevant = known_labels[orders] == labels[:, None]
    return [(bool(row[0]), average_precision(row)) for row in relevant]


@dataclass(frozen=True)
class Split:
    """The clips of a part ask those of the others; of a class alone, if one is named, which is not learned from."""

    part: int
    unseen: str = ""


Embed = Callable[[Split], tuple[Floats, Floats]]  # -> vectors of the known, and of those that ask


class Clips:
    """The training clips of a stream, with their classes and parts."""

    def __init__(self, workshop: Workshop, stream: StreamName) -> None:
        self.stream = stream
        every, names = workshop.clips(stream)
        ucf = [index for index, name in enumerate(names) if name.startswith("v_")]
        self.names = [names[index] for index in ucf]
        self.clips = [every.clips[index] for index in ucf]
        self.labels = np.array([name.split("_")[1] for name in self.names])
        groups = np.array([int(re.search(r"_g(\d+)", name)[1]) for name in self.names])  # type: ignore[index]
        self.parts = groups % PARTS

    def some(self, rows: NDArray[np.intp]) -> StreamClips:
        """Some of them."""
        return StreamClips(tuple(self.clips[row] for row in rows), np.zeros((0, self.clips[0][0].shape[1]), np.float32))

    def asking(self, split: Split) -> NDArray[np.intp]:
        """Those that ask."""
        return np.flatnonzero((self.parts == split.part) & ((self.labels == split.unseen) | (not split.unseen)))

    def known(self, split: Split) -> NDArray[np.intp]:
        """Those that are searched."""
        return np.flatnonzero(self.parts != split.part)

    def learned(self, split: Split) -> NDArray[np.intp]:
        """Those that formulas are made from."""
        return np.flatnonzero((self.parts != split.part) & (self.labels != split.unseen))

    def tell(self, name: str, embed: Embed, *, unseen: bool = False) -> None:
        """Print a row of the table."""
        results = []
        unseen_labels = np.unique(self.labels) if unseen else [""]
        for split in (Split(part, label) for part in range(PARTS) for label in unseen_labels):
            known, asking = self.known(split), self.asking(split)
            if len(asking):
                results += found(*embed(split), self.labels[known], self.labels[asking])
        nearest, precision = np.mean(results, axis=0)
        print(f"| {self.stream} | {name} | {nearest:.3f} | {precision:.3f} | {len(results)} |", flush=True)

    def means(self, split: Split) -> tuple[Floats, Floats]:
        """The means of their step features, about those of the known ones."""
        known, asking = self.some(self.known(split)).means(), self.some(self.asking(split)).means()
        return known - known.mean(axis=0), asking - known.mean(axis=0)


def tell_formulas(clips: Clips, pictures: Clips) -> None:
    """The rows of a stream's formulas, of each amplitude of the shared half."""
    place = {name: index for index, name in enumerate(pictures.names)}
    size = clips.clips[0][0].shape[1]
    blocks = MOTION_BLOCKS if clips.stream == "temporal" else [Block(slice(0, size))]

    def embed(amplitude: float, split: Split) -> tuple[Floats, Floats]:
        picture = picture_formula(pictures.some(pictures.learned(split)), SEED)
        learned = clips.learned(split)
        shown = {number: pictures.clips[place[clips.names[row]]][0] for number, row in enumerate(learned)}
        formula = other_formula(clips.some(learned), shown, picture, blocks, amplitude, SEED)
        return formula(clips.some(clips.known(split)).means()), formula(clips.some(clips.asking(split)).means())

    for amplitude in AMPLITUDES:
        clips.tell(f"formula, {amplitude:g} of it what the picture shows", partial(embed, amplitude))
    amplitude = SHARED_AMPLITUDES[clips.stream]
    clips.tell(f"formula, {amplitude:g} of it, of a class it was not made from", partial(embed, amplitude), unseen=True)


def tell_sounds(workshop: Workshop, pictures: Clips) -> None:
    """The rows of ESC-10, fold 2 asking fold 1: the means of the steps, and the formula of all but fold 2."""
    every, names = workshop.clips("audio")
    label_of = {path.stem: path.parent.name for path in workshop.sources.sounds}
    rows = {fold: [i for i, name in enumerate(names) if name.startswith(f"{fold}-")] for fold in (1, 2)}
    labels = {fold: np.array([label_of[names[row]] for row in rows[fold]]) for fold in (1, 2)}
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
        nearest, precision = np.mean(found(vectors[rows[1]], vectors[rows[2]], labels[1], labels[2]), axis=0)
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
