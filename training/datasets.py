"""A data set: labelled files, read from a folder or a CSV in the layout that it was published in."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tristream.fusion.rows import text_of
from tristream.streams.errors import UsageError
from tristream.training.examples import Example, Listing, Part
from tristream.training.layouts import LAYOUTS, LayoutName, check_choice, layout_of

__all__ = ["Dataset", "Example", "LayoutName", "Part", "check_trainable", "read_dataset"]


@dataclass(frozen=True)
class Dataset:
    """The files of a data set; no file is opened to make one.

    `name` is that of the folder or file, `layout` what it was read as, `examples` are sorted by path. `missing`
    are the files that a split file or a CSV names and that are not there; `notes` say what else was left out:
    class folders that are empty, files that no layout knows.
    """

    name: str
    layout: LayoutName
    examples: tuple[Example, ...]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels of all examples, sorted."""
        return tuple(sorted({one.label for one in self.examples}))

    def part(self, name: Part) -> tuple[Example, ...]:
        """The examples of a part: none where the data set leaves the split open."""
        return tuple(one for one in self.examples if one.part == name)


def read_dataset(path: str | Path, *, layout: str = "auto", split: int = 1, test_group: int | None = None) -> Dataset:
    """The data set in a folder or CSV.

    `layout` is one of `LAYOUTS`, or `auto`, which `layouts.layout_of` tells by its signs. `split` is the published
    split of UCF101 and HMDB-51, 1 to 3. `test_group`, 1 to 25, is the group of UCF-11 and UCF50 to test on; without
    it their test part is the groups 1 to 7, as in UCF101's split 1.

    Raises:
        UsageError: a path that is not there, a layout that is unknown or cannot be told, a split or group that is
            not published, a split file that is missing or malformed, labels that name no file, a file listed twice.
    """
    path = Path(path)
    name = layout_of(path, layout, test_group)
    check_choice(name, split, test_group)
    listing = LAYOUTS[name](path, split, test_group)
    _check(path, name, listing)
    examples = tuple(sorted(listing.examples, key=lambda one: one.path))
    return Dataset(path.resolve().name, name, examples, listing.missing, listing.notes)


def check_trainable(train: Sequence[Example]) -> None:
    """Refuse what no classifier can be trained on, before any hour is spent.

    Raises:
        UsageError: no example, one class only, a class with a single clip.
    """
    counts = Counter(one.label for one in train)
    if not counts:
        raise UsageError("the data set has no clip to train on")
    if len(counts) == 1:
        label, count = next(iter(counts.items()))
        raise UsageError(f"all {count} clips to train on are of one class, {label!r}: a classifier needs two or more")
    if alone := sorted(label for label, count in counts.items() if count < 2):
        raise UsageError(
            f"every class needs 2 clips or more to train on, besides those to test on; only one is there of "
            f"{', '.join(map(repr, alone))}: add clips, or take the class out"
        )


def _check(path: Path, layout: LayoutName, listing: Listing) -> None:
    """Refuse a data set without files, and one that lists a file twice."""
    if not listing.examples and listing.missing:
        raise UsageError(f"none of the {len(listing.missing)} files that {path} labels is there: {listing.missing[0]}")
    if not listing.examples:
        notes = "".join(f"; {note}" for note in listing.notes)
        raise UsageError(f"no video or sound file of layout {layout} in {path}{notes}")
    for label in sorted({one.label for one in listing.examples}):
        if text_of(label) != label:
            raise UsageError(f"the class name {text_of(label)} is no UTF-8: rename it")
    first: dict[Path, Example] = {}
    for one in listing.examples:
        if (before := first.setdefault(one.path, one)) is not one:
            raise UsageError(
                f"{path} lists {one.path} twice: as {before.label} ({before.part}) and as {one.label} ({one.part})"
            )
