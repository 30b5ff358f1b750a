"""Data sets whose folders and file names say it all: KTH, UCF-11, UCF50, and a folder a class."""

from collections.abc import Collection
from pathlib import Path

from tristream.streams.errors import UsageError
from tristream.training.examples import (
    KTH_CLIP,
    PART_NAMES,
    UCF11_CLIP,
    UCF_CLIP,
    Example,
    Listing,
    Part,
    example,
    folders_in,
    is_media,
    media_files,
    ucf_group,
)

# Schuldt et al. 2004 (00sequences.txt): of the other 16 persons, 8 train and 8 choose parameters. Reports train on
# all 16, and so the validation split is left to `splits.part_off`.
KTH_TEST_PERSONS = frozenset({2, 3, 5, 6, 7, 8, 9, 10, 22})
UCF_GROUPS = 25
# UCF-11 and UCF50 are published with leave-one-group-out. One split of them: the groups that UCF101's split 1 tests.
UCF_TEST_GROUPS = frozenset(range(1, 8))
UCF50_CLASSES = 50


def read_kth(root: Path, split: int, test_group: int | None) -> Listing:
    """KTH: `boxing/person01_boxing_d1_uncomp.avi`, the class from the file's name; 16 persons train, 9 test."""
    found = []
    for path in (files := media_files(root)):
        if match := KTH_CLIP.fullmatch(path.stem):
            part: Part = "test" if int(match[1]) in KTH_TEST_PERSONS else "train"
            found.append(example(path, match[2], part, root))
    return Listing(tuple(found), notes=_left_out(len(files) - len(found), "not named as person01_boxing_d1_uncomp.avi"))


def is_kth(root: Path, files: Collection[Path]) -> bool:
    """Whether every file is named as KTH's are, and stands in the folder or in a class's."""
    return all(KTH_CLIP.fullmatch(path.stem) and root in (path.parent, path.parent.parent) for path in files)


def read_ucf11(root: Path, split: int, test_group: int | None) -> Listing:
    """UCF-11 (YouTube Action): `basketball/v_shooting_01/v_shooting_01_01.mpg`."""
    files = media_files(root)
    clips = [(path, path.parent.parent.name) for path in files if _is_ucf11_clip(path)]
    notes = _left_out(len(files) - len(clips), "not named as v_shooting_01/v_shooting_01_01.mpg")
    return Listing(_by_group(root, clips, test_group), notes=notes)


def is_ucf11(root: Path, files: Collection[Path]) -> bool:
    """Whether every file stands in a class's folder of its group, and is named as UCF-11's are."""
    return all(_is_ucf11_clip(path) and path.parent.parent.parent == root for path in files)


def _is_ucf11_clip(path: Path) -> bool:
    return UCF11_CLIP.fullmatch(path.stem) is not None and ucf_group(path) is not None


def read_ucf50(root: Path, split: int, test_group: int | None) -> Listing:
    """UCF50: `Class/v_Class_g01_c01.avi`."""
    files = media_files(root)
    clips = [(path, path.parent.name) for path in files if UCF_CLIP.fullmatch(path.stem)]
    notes = _left_out(len(files) - len(clips), "not named as v_Class_g01_c01.avi")
    return Listing(_by_group(root, clips, test_group), notes=notes)


def is_ucf50(root: Path, files: Collection[Path]) -> bool:
    """Whether these are clips of 50 classes named as UCF50's are; a choice of its classes is a folder a class."""
    return is_ucf_named(root, files) and len({path.parent for path in files}) == UCF50_CLASSES


def is_ucf_named(root: Path, files: Collection[Path]) -> bool:
    """Whether every file stands in a class's folder and is named as those of UCF50 and UCF101 are."""
    return all(UCF_CLIP.fullmatch(path.stem) and path.parent.parent == root for path in files)


def _by_group(root: Path, clips: list[tuple[Path, str]], test_group: int | None) -> tuple[Example, ...]:
    """The clips, each with its class, those of the group (or of the groups 1 to 7) for the test."""
    tested = UCF_TEST_GROUPS if test_group is None else {test_group}
    found = tuple(example(path, label, "test" if ucf_group(path) in tested else "train", root) for path, label in clips)
    if test_group is not None and found and all(one.part == "train" for one in found):
        raise UsageError(f"no clip of group {test_group} in {root}: leave out another group")
    return found


def read_folders(root: Path, split: int, test_group: int | None) -> Listing:
    """A folder a class, in the folder itself or in its folders `train`, `val`, `test`.

    A folder of such a name is a part where folders are in it, or where there are no others; else it is a class.
    Files deeper in a class's folder are its too.
    """
    tops = folders_in(root)
    parts = [top for top in tops if top.name.lower() in PART_NAMES]
    if not any(folders_in(part) for part in parts) and len(parts) < len(tops):
        parts = []
    found: list[Example] = []
    notes: list[str] = []
    for top in parts or [root]:
        part = PART_NAMES[top.name.lower()] if parts else None
        notes += _left_out(sum(is_media(path) for path in top.iterdir()), f"in no class's folder of {top}")
        for folder in folders_in(top):
            inside = media_files(folder)
            found += [example(path, folder.name, part, root) for path in inside]
            if not inside:
                notes.append(f"no video or sound in the class's folder {folder}")
    if parts:
        notes += [f"{top} is no part (train, val, test) and was left out" for top in tops if top not in parts]
    return Listing(tuple(found), notes=tuple(notes))


def _left_out(count: int, why: str) -> tuple[str, ...]:
    return (f"{count} video or sound files left out: {why}",) if count else ()
