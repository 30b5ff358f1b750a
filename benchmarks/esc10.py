"""The audio stream alone on ESC-10: YAMNet's weights, an encoder trained on folds 1 and 2, measured on fold 3.

    python benchmarks/esc10.py [--data DIR] [--seed N] [--cache DIR]

A file's fold is the first digit of its name, its class the folder it is in without the number in front.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path

from clips import SHARED
from trainings import WEIGHTS, Run, shown, train_and_evaluate

from tristream.fusion.batch import cores
from tristream.fusion.overrides import Overrides
from tristream.training.datasets import read_dataset
from tristream.training.settings import TrainSettings
from tristream.training.splits import train_and_test

TEST_FOLD = "3"
LEAST = 0.85  # of the test files that are to be classified rightly


def write_labels(data: Path, path: Path) -> None:
    """Write the CSV that labels ESC-10's files."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for sound in sorted(data.resolve().glob("*/*.ogg")):
            label = sound.parent.name.partition(" - ")[2] or sound.parent.name
            writer.writerow([sound, label, "test" if sound.name[0] == TEST_FOLD else "train"])


def measure(arguments: argparse.Namespace) -> Run:
    """Train on folds 1 and 2, and measure on fold 3."""
    with tempfile.TemporaryDirectory() as temporary:
        labels = Path(temporary) / "esc10.csv"
        write_labels(arguments.data, labels)
        train, test = train_and_test(read_dataset(labels))
        print(f"{len(train)} files to train on, {len(test)} to test on", file=sys.stderr)
        overrides = Overrides(streams=("audio",), audio_cnn="yamnet", audio_weights=arguments.audio_weights)
        cache = arguments.cache or Path(temporary) / "cache"
        settings = TrainSettings(seed=arguments.seed, jobs=cores(), cache=cache, cache_gigabytes=None)
        return train_and_evaluate(train, test, "tkachenko2018", overrides, settings, Path(temporary) / "model")


def main() -> None:
    """Print the accuracy; the exit code is 1 where it is too low."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "esc10")
    parser.add_argument("--audio-weights", type=Path, default=WEIGHTS / "yamnet.safetensors")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="keep the features there")
    run = measure(parser.parse_args())
    top1 = run.evaluation.top1
    for name, validated in run.trained.validated.items():
        print(f"validation, {name}: {shown(validated)}")
    print(
        f"top-1 {shown(top1)} of {top1.clips} files of {top1.groups} recordings, trained in {run.train_seconds:.0f} s"
    )
    sys.exit(f"less than {LEAST}" if top1.value < LEAST else 0)


if __name__ == "__main__":
    main()
