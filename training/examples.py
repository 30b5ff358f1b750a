"""One labelled file of a data set, with its group and its part; and the media files that a folder holds."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tristream.streams.inputs import MEDIA_SUFFIXES

Part = Literal["train", "validation", "test"]

# The names of parts, as folders and in a CSV.
PART_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}

# How published data sets name clips of one recording, by the name without its suffix.
UCF_CLIP = re.compile(r".*_g(\d+)_c\d+")  # v_Archery_g08_c01: UCF101, UCF50
UCF11_CLIP = re.compile(r"(v_.+_(\d+))_\d+")  # v_shooting_01_02, in the folder v_shooting_01
KTH_CLIP = re.compile(r"person(\d+)_([a-z]+)_d\d+(?:_uncomp)?")  # person01_boxing_d1_uncomp
# Title_of_film_brush_hair_f_nm_np1_ba_goo_0: body, camera motion, number of people, view, quality, number
HMDB_CLIP = re.compile(r"(.+)_[fhlu]_[cn]m_np\d+_(?:ba|fr|le|ri)_(?:bad|med|goo)_\d+")
ESC_CLIP = re.compile(r"\d-(\d+)-[A-Z](?:-\d+)?")  # 2-18766-B: fold, recording, take (, class)


@dataclass(frozen=True)
class Example:
    """A file of a data set.

    `group` names the recording that the clip was cut from, so that clips of one group never stand on both sides
    of a split; it is the clip's own path where there are no groups. `part` is None where the data set leaves
    the split open.
    """

    path: Path
    label: str
    group: str
    part: Part | None = None


@dataclass(frozen=True)
class Listing:
    """What the reader of a layout found; `missing` and `notes` are those of `Dataset`."""

    examples: tuple[Example, ...]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def example(path: Path, label: str, part: Part | None, root: Path) -> Example:
    """The example of a file below `root`, its group read from its name."""
    own = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    return Example(path, label, group_of(path, label) or own, part)


def group_of(path: Path, label: str) -> str | None:
    """The group that a published data set's file name tells, or None.

    UCF101, UCF50, UCF-11: `label/g08`, as the groups are counted anew in each class. KTH: `person01`, across all
    classes. HMDB-51: the title of the film, across all classes. ESC-10, ESC-50: the recording's number.
    """
    number = ucf_group(path)
    if number is not None:
        return f"{label}/g{number:02}"
    if match := KTH_CLIP.fullmatch(path.stem):
        return f"person{match[1]}"
    if match := HMDB_CLIP.fullmatch(path.stem):
        return match[1].removesuffix(f"_{label}")
    if match := ESC_CLIP.fullmatch(path.stem):
        return f"recording {match[1]}"
    return None


def ucf_group(path: Path) -> int | None:
    """The group's number, 1 to 25, in the name of a clip of UCF101, UCF50 or UCF-11; None in another name."""
    if match := UCF_CLIP.fullmatch(path.stem):
        return int(match[1])
    match = UCF11_CLIP.fullmatch(path.stem)
    return int(match[2]) if match and path.parent.name == match[1] else None


def is_media(path: Path) -> bool:
    """Whether a path is a video or sound file, by its suffix, and not hidden."""
    return path.suffix.lower() in MEDIA_SUFFIXES and not path.name.startswith(".") and path.is_file()


def media_files(folder: Path) -> list[Path]:
    """The video and sound files in a folder and its folders, sorted; hidden ones are passed over.

    Links to folders are followed, as subsets are made of them; a folder that two ways lead to is read once.
    """
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [path for path in (Path(place, name) for name in names) if is_media(path)]
    return sorted(found)


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted; hidden ones are passed over."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
