"""Data sets whose split is published as text files beside the videos: UCF101 and HMDB-51."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tristream.streams.errors import UsageError
from tristream.training.examples import HMDB_CLIP, Example, Listing, Part, example, folders_in, media_files

UCF101_LISTS = "ucfTrainTestlist"
UCF101_VIDEOS = "UCF-101"
UCF101_PARTS: dict[Part, str] = {"train": "trainlist", "test": "testlist"}
HMDB51_PARTS: dict[str, Part | None] = {"0": None, "1": "train", "2": "test"}  # 0: not used in this split


def read_ucf101(root: Path, split: int, test_group: int | None) -> Listing:
    """UCF101 (Soomro et al. 2012): `trainlist01.txt` and `testlist01.txt`, videos anywhere in the folder.

    The class is the folder that a list names, so that `classInd.txt` and the numbers of `trainlist01.txt`, which
    index it, are not needed.
    """
    files = _Files(root)
    found: list[Example] = []
    missing: list[str] = []
    for part, start in UCF101_PARTS.items():
        path = _ucf101_list(root, f"{start}{split:02}.txt")
        for number, line in _lines(path):
            named = PurePosixPath(line.split()[0])
            label, name = named.parent.name, named.name
            if not label:
                raise UsageError(f"{path}, line {number}: expected Class/v_Class_g01_c01.avi, got {line!r}")
            if (video := files.find(label, name)) is None:
                missing.append(f"{label}/{name}")
            else:
                found.append(example(video, label, part, root))
    return Listing(tuple(found), tuple(missing))


def is_ucf101(root: Path) -> bool:
    """Whether a folder is UCF101: a list, the lists' folder, or the videos' folder by its published name."""
    names = {UCF101_LISTS, UCF101_VIDEOS}
    return root.name == UCF101_VIDEOS or any(f.name in names for f in folders_in(root)) or any(_ucf101_lists(root))


def _ucf101_list(root: Path, name: str) -> Path:
    if path := next((path for path in _ucf101_lists(root) if path.name == name), None):
        return path
    raise UsageError(f"no {name} in {root / UCF101_LISTS}, nor in {root}: a split of UCF101 is read from its lists")


def _ucf101_lists(root: Path) -> Iterator[Path]:
    """The lists in the folder, in one of its folders, or beside the folder of the videos."""
    beside = [root.resolve().parent / UCF101_LISTS, root.resolve().parent] if root.name == UCF101_VIDEOS else []
    for place in [root, *folders_in(root), *beside]:
        yield from sorted(place.glob("trainlist[0-9][0-9].txt"))
        yield from sorted(place.glob("testlist[0-9][0-9].txt"))


def read_hmdb51(root: Path, split: int, test_group: int | None) -> Listing:
    """HMDB-51 (Kuehne et al. 2011): a `class_test_split1.txt` a class, videos anywhere in the folder.

    The published split is kept as it is, also where it has clips of one film on both sides.
    """
    files = _Files(root)
    ending = f"_test_split{split}"
    lists = {path.stem.removesuffix(ending): path for path in hmdb51_lists(root) if path.stem.endswith(ending)}
    _check_lists(root, files.paths, set(lists), ending)
    found: list[Example] = []
    missing: list[str] = []
    for label, path in sorted(lists.items()):
        for number, line in _lines(path):
            name, mark = (*line.rsplit(maxsplit=1), "")[:2]
            if mark not in HMDB51_PARTS:
                raise UsageError(f"{path}, line {number}: expected a file name and 0, 1 or 2, got {line!r}")
            if (part := HMDB51_PARTS[mark]) is None:
                continue
            if (video := files.find(label, name)) is None:
                missing.append(f"{label}/{name}")
            else:
                found.append(example(video, label, part, root))
    return Listing(tuple(found), tuple(missing))


def hmdb51_lists(root: Path) -> list[Path]:
    """The split files in the folder or in one of its folders (`testTrainMulti_7030_splits`)."""
    return sorted(path for place in [root, *folders_in(root)] for path in place.glob("*_test_split[0-9].txt"))


def _check_lists(root: Path, videos: list[Path], labels: set[str], ending: str) -> None:
    """Refuse a class, known by its videos or by its other splits, that has no list for this split."""
    known = {path.stem.rpartition("_test_split")[0] for path in hmdb51_lists(root)}
    clips = ((path.parent.name, HMDB_CLIP.fullmatch(path.stem)) for path in videos)
    known |= {folder for folder, clip in clips if clip and clip[1].endswith(f"_{folder}")}
    if lacking := sorted(known - labels):
        raise UsageError(
            f"no {lacking[0]}{ending}.txt in {root} or in a folder in it (testTrainMulti_7030_splits): "
            f"the split of HMDB-51 is read from a file a class, and {len(lacking)} of {len(known)} are not there"
        )
    if not labels:
        raise UsageError(f"no *{ending}.txt in {root}, nor in a folder in it (testTrainMulti_7030_splits)")


class _Files:
    """The videos of a folder by their names, wherever they stand."""

    def __init__(self, root: Path) -> None:
        self.paths = media_files(root)
        self.by_name: defaultdict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            self.by_name[path.name].append(path)

    def find(self, label: str, name: str) -> Path | None:
        """The file of that name in a folder of the class's name, or the only one of that name."""
        same = self.by_name.get(name, [])
        return next((path for path in same if path.parent.name == label), same[0] if len(same) == 1 else None)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a list that say something, with their numbers from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a text list of files: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()
