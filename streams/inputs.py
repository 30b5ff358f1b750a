"""What a user names as inputs, as a list of files: files, folders, globs, lists and standard input."""

import csv
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from tristream.streams.errors import UsageError
from tristream.streams.numbered import PICTURE_SUFFIXES, is_frame_folder

# What a folder is searched for; a file that is named is taken whatever its suffix.
MEDIA_SUFFIXES = frozenset(
    ".3gp .aac .ac3 .aif .aiff .amr .asf .au .avi .dv .flac .flv .gif .h264 .hevc .ivf .m2ts .m4a .m4v .mjpeg .mkv "
    ".mov .mp3 .mp4 .mpeg .mpg .mts .mxf .oga .ogg .ogv .opus .rm .rmvb .ts .vob .wav .webm .wma .wmv .y4m".split()
)
LIST_SUFFIXES = frozenset({".txt", ".csv"})


@dataclass(frozen=True)
class Inputs:
    """The files found, absolute and each once, and how many other files the folders held."""

    paths: tuple[str, ...]
    passed_over: int


def find_inputs(names: Iterable[str], fps: float | None = None) -> Inputs:
    """The files that these names stand for; with `fps`, also the folders of numbered frames among them and in them.

    A name is a file, a folder (searched through for media files), a glob, a `.txt` list (a path a line) or
    `.csv` list (column `path`, or the first; where none is called `path`, a first row that names no file is passed
    over as a header if the second row names one), or `-` for a list on standard input. A file that a list names
    need not exist: it becomes a failed row, as one bad line should not stop a long run.

    Raises:
        UsageError: a name that stands for nothing.
    """
    counts = {"other": 0}
    paths = (path for name in names for path in _expand(name, counts, fps is not None))
    return Inputs(tuple(dict.fromkeys(str(path.parent.resolve() / path.name) for path in paths)), counts["other"])


def _expand(name: str, counts: dict[str, int], frames: bool) -> Iterator[Path]:
    path = Path(name)
    if name == "-":
        yield from _lines(sys.stdin, Path())
    elif path.is_dir():
        yield from _folder(path, counts, frames)
    elif path.exists():
        yield from _list(path) if path.suffix.lower() in LIST_SUFFIXES else [path]
    elif has_magic(name):
        matches = sorted(glob(name, recursive=True))  # noqa: PTH207 (absolute patterns, which Path.glob refuses)
        if not matches:
            raise UsageError(f"no file matches {name}")
        for match in matches:
            yield from _folder(Path(match), counts, frames) if Path(match).is_dir() else [Path(match)]
    else:
        raise UsageError(f"no such file or folder: {name}")


def _folder(folder: Path, counts: dict[str, int], frames: bool) -> Iterator[Path]:
    inside = [path for path in sorted(folder.rglob("*")) if not path.name.startswith(".")]
    videos = [path for path in (folder, *inside) if frames and is_frame_folder(path)]
    yield from videos
    for path in inside:
        if path.parent in videos and path.suffix.lower() in PICTURE_SUFFIXES:
            continue
        if not path.is_file():
            continue
        if path.suffix.lower() in MEDIA_SUFFIXES:
            yield path
        else:
            counts["other"] += 1


def _list(path: Path) -> Iterator[Path]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                yield from _rows(file, path.parent)
            else:
                yield from _lines(file, path.parent)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is not a text list of paths: {error}") from error


def _lines(lines: Iterable[str], folder: Path) -> Iterator[Path]:
    for line in lines:
        if (text := line.strip()) and not text.startswith("#"):
            yield _beside(folder, text)


def _rows(lines: Iterable[str], folder: Path) -> Iterator[Path]:
    rows = csv.reader(lines)
    header = next(rows, [])
    column = header.index("path") if "path" in header else 0
    paths = (_beside(folder, row[column].strip()) for row in rows if len(row) > column and row[column].strip())
    if "path" not in header and header and header[0].strip():
        first, second = _beside(folder, header[0].strip()), next(paths, None)
        if second is None or first.is_file() or not second.is_file():
            yield first
        if second is not None:
            yield second
    yield from paths


def _beside(folder: Path, text: str) -> Path:
    """A path of a list: relative to the list, or to where the command runs if only that exists."""
    beside = folder / text
    return beside if beside.exists() or not Path(text).exists() else Path(text)
