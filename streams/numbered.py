"""Folders of numbered pictures, found and put in order: 000.jpg, 001.jpg, …; nothing is decoded."""

import hashlib
import re
from pathlib import Path

from tristream.streams.errors import MediaError

PICTURE_SUFFIXES = frozenset(".bmp .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".split())
_NUMBER = re.compile(r"(\d+)$")


def is_frame_folder(path: Path) -> bool:
    """Whether a folder holds numbered pictures."""
    return path.is_dir() and any(_number_of(entry) is not None for entry in path.iterdir())


def frames_of(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their numbers, which are what their names end with.

    Raises:
        MediaError: none, a number that is missing, or one that two pictures have.
    """
    numbered: dict[int, Path] = {}
    for entry in sorted(folder.iterdir()):
        if (number := _number_of(entry)) is None:
            continue
        if number in numbered:
            raise MediaError(f"{folder} has two frames {number}, {numbered[number].name} and {entry.name}: keep one")
        numbered[number] = entry
    if not numbered:
        raise MediaError(f"{folder} holds no numbered pictures, as 000.jpg, 001.jpg, …")
    missing = sorted(set(range(min(numbered), max(numbered))) - numbered.keys())
    if missing:
        raise MediaError(
            f"{folder} lacks {len(missing)} of the frames {min(numbered)} to {max(numbered)}, the first of them "
            f"{missing[0]}: a gap would look like a jump; copy the folder again, or number the frames anew"
        )
    return [numbered[number] for number in sorted(numbered)]


def content_of_folder(folder: Path, fps: float) -> str:
    """A sha256 of the pictures in their order and of how fast they follow each other, as hex digits.

    Raises:
        OSError: a picture cannot be read.
        MediaError: as frames_of.
    """
    digest = hashlib.sha256(f"{fps!r}".encode())
    for path in frames_of(folder):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _number_of(path: Path) -> int | None:
    """What a picture's name ends with; None of anything else."""
    if path.name.startswith(".") or path.suffix.lower() not in PICTURE_SUFFIXES:
        return None
    match = _NUMBER.search(path.stem)
    return int(match[1]) if match else None
