"""The layouts that data sets are published in: which one a path has, and its reader."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tristream.streams.errors import UsageError
from tristream.training.class_folders import (
    UCF_GROUPS,
    is_kth,
    is_ucf11,
    is_ucf50,
    is_ucf_named,
    read_folders,
    read_kth,
    read_ucf11,
    read_ucf50,
)
from tristream.training.examples import Listing, media_files
from tristream.training.label_file import read_csv
from tristream.training.split_files import hmdb51_lists, is_ucf101, read_hmdb51, read_ucf101

LayoutName = Literal["ucf101", "hmdb51", "kth", "ucf11", "ucf50", "folders", "csv"]

# Each takes the path, the published split (from 1) and the group to test on, and ignores what it has no use for.
LAYOUTS: dict[LayoutName, Callable[[Path, int, int | None], Listing]] = {
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
    "kth": read_kth,
    "ucf11": read_ucf11,
    "ucf50": read_ucf50,
    "folders": read_folders,
    "csv": read_csv,
}
PUBLISHED_SPLITS = {"ucf101": 3, "hmdb51": 3}  # the others have one
LEAVE_ONE_GROUP_OUT = ("ucf11", "ucf50")


def layout_of(path: Path, layout: str = "auto", test_group: int | None = None) -> LayoutName:
    """The layout of a data set: the one that is named, or for `auto` the one whose signs are there.

    * `csv`: a file that ends in `.csv`.
    * `ucf101`: a `trainlist01.txt` or `testlist01.txt` in the folder or in one of its folders, or a folder
      `ucfTrainTestlist` or `UCF-101`.
    * `hmdb51`: a `*_test_split1.txt` in the folder or in one of its folders.
    * `kth`: every file is named as `person01_boxing_d1_uncomp.avi`.
    * `ucf11`: every file stands as `class/v_name_01/v_name_01_01.mpg`.
    * `ucf50`: every file stands as `Class/v_Class_g01_c01.avi`, and there are 50 classes or a group to test on is
      given. Fewer classes are a choice of UCF50's or UCF101's, and `folders`: their split stays open.
    * `folders`: none of these, and files in folders.

    Raises:
        UsageError: an unknown layout, a path that is not there or is of the wrong kind, no video or sound file,
            signs of two layouts, files in no folder.
    """
    if layout not in ("auto", *LAYOUTS):
        raise UsageError(f"layout must be one of auto, {', '.join(LAYOUTS)}; got {layout!r}")
    if not path.exists():
        raise UsageError(f"no such data set: {path}")
    if path.is_file() != (layout == "csv" if layout != "auto" else path.suffix.lower() == ".csv"):
        wanted = "a folder or a .csv file" if layout == "auto" else "a .csv file" if layout == "csv" else "a folder"
        raise UsageError(f"a data set of layout {layout} is {wanted}, got the {_kind(path)} {path}")
    named = next((name for name in LAYOUTS if name == layout), None)
    return named or _detect(path, test_group)


def check_choice(layout: LayoutName, split: int, test_group: int | None) -> None:
    """Refuse a split or a group that is not published.

    Raises:
        UsageError: as said.
    """
    splits = PUBLISHED_SPLITS.get(layout, 1)
    if not 1 <= split <= splits:
        published = f"splits 1 to {splits}" if splits > 1 else "no more than split 1"
        raise UsageError(f"layout {layout} has {published}, got split {split}")
    if test_group is not None and layout not in LEAVE_ONE_GROUP_OUT:
        raise UsageError(f"a group to test on is for {' and '.join(LEAVE_ONE_GROUP_OUT)}, not for layout {layout}")
    if test_group is not None and not 1 <= test_group <= UCF_GROUPS:
        raise UsageError(f"the group to test on must be from 1 to {UCF_GROUPS}, got {test_group}")


def _detect(path: Path, test_group: int | None) -> LayoutName:
    if path.is_file():
        return "csv"
    files = media_files(path)
    if not files:
        raise UsageError(f"no video or sound file in {path}")
    signs: dict[LayoutName, bool] = {
        "ucf101": is_ucf101(path),
        "hmdb51": bool(hmdb51_lists(path)),
        "kth": is_kth(path, files),
        "ucf11": is_ucf11(path, files),
        "ucf50": is_ucf50(path, files) or (test_group is not None and is_ucf_named(path, files)),
    }
    seen = [name for name, sign in signs.items() if sign]
    if len(seen) > 1:
        raise UsageError(f"{path} could be {' or '.join(seen)}: name its layout")
    if not seen and all(file.parent == path for file in files):
        choices = ", ".join(LAYOUTS)
        raise UsageError(f"cannot tell the layout of {path}: its files are in no class's folder; name one of {choices}")
    return seen[0] if seen else "folders"


def _kind(path: Path) -> str:
    return "folder" if path.is_dir() else "file"
