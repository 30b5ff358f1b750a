"""A script that a test runs apart: good files in, seeded damaged copies decoded, one JSON line of outcomes out.

Each seed is printed before its file is touched, so that the last one tells which file crashed or hung.
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tristream.streams.errors import MediaError
from tristream.streams.media import Frame, MediaReader
from tristream.streams.picture import PictureFormat

SMALL = PictureFormat(24, 32)


def mutate(data: bytes, others: list[bytes], generator: np.random.Generator) -> bytes:
    """A damaged copy: flipped bits, overwritten header bytes, cut, spliced with another file, or zeroed runs."""
    made = bytearray(data)
    kind = generator.integers(5)
    if kind == 0:
        for position in generator.integers(0, len(made), generator.integers(1, 65)):
            made[position] ^= 1 << int(generator.integers(8))
    elif kind == 1:
        for position in generator.integers(0, min(512, len(made)), generator.integers(1, 9)):
            made[position] = int(generator.choice([0, 1, 127, 128, 255, generator.integers(256)]))
    elif kind == 2:
        del made[int(generator.integers(1, len(made))) :]
    elif kind == 3:
        other = others[generator.integers(len(others))]
        made[int(generator.integers(len(made))) :] = other[int(generator.integers(len(other))) :]
    else:
        for begin in generator.integers(0, len(made), generator.integers(1, 5)):
            length = min(int(generator.integers(1, 1025)), len(made) - int(begin))
            made[begin : begin + length] = bytes(length)
    return bytes(made)


def decode(path: Path) -> str:
    """What came of a file: frames, sound or the error; anything but a MediaError that names the file is raised."""
    try:
        with MediaReader(path, motion_vectors=True, threads=1) as reader:
            last_seconds = -1.0
            for item in reader:
                if isinstance(item, Frame):
                    if not item.start_seconds > last_seconds:
                        raise AssertionError(f"time stands still at {last_seconds} s")
                    last_seconds = item.start_seconds
                    if reader.frames % 4 == 1:
                        item.picture(SMALL)
                        item.motion_vectors()
                elif not np.isfinite(item.samples).all():
                    raise AssertionError("sound that is not finite")
            return "warned" if reader.warnings else "decoded"
    except MediaError as error:
        if str(path) not in str(error):
            raise AssertionError(f"the file is not named: {error}") from error
        return "refused"


def main(folder: Path, first: int, count: int) -> None:
    files = sorted(folder.iterdir())
    contents = [file.read_bytes() for file in files]
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for file in files:
        decode(file)  # brings in what scaling a picture needs
    start_mebibytes = peak_memory_mebibytes()
    for seed in range(first, first + count):
        print(seed, flush=True)
        which = seed % len(files)
        path = folder.parent / f"damaged{files[which].suffix}"
        path.write_bytes(mutate(contents[which], contents, np.random.default_rng(seed)))
        began = time.monotonic()
        outcomes[decode(path)] += 1
        slowest = max(slowest, time.monotonic() - began)
    grown_mebibytes = peak_memory_mebibytes() - start_mebibytes
    print(json.dumps(dict(outcomes) | {"slowest_seconds": slowest, "grown_mebibytes": grown_mebibytes}))


def peak_memory_mebibytes() -> float:
    """The most memory this process has had; ru_maxrss would be its parent's, if that had more."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
