"""A CSV that labels files: the columns `path,label[,split][,group]`, paths relative to the CSV's folder."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tristream.streams.errors import UsageError
from tristream.training.examples import PART_NAMES, Example, Listing, Part, example


def read_csv(path: Path, split: int, test_group: int | None) -> Listing:
    """The files that a CSV labels, in UTF-8; other columns are ignored, and without `group` names tell the group.

    Raises:
        UsageError: no text, a column that is missing, a row without path or label, a split that is not one of
            train, val, test, or that only some rows have, a group on two sides; with the line's number.
    """
    found: list[Example] = []
    missing: list[str] = []
    sides: dict[str, Part | None] = {}
    rows = list(_rows(path))
    split_given = any(row.get("split") for _, row in rows)
    for line, row in rows:
        one = _example(path, line, row, split_given)
        if row.get("group") and sides.setdefault(one.group, one.part) != one.part:
            where = f"{sides[one.group]} and {one.part}"
            raise UsageError(f"{path}, line {line}: group {one.group!r} is in {where}: a group belongs on one side")
        if one.path.is_file():
            found.append(one)
        else:
            missing.append(row["path"])
    return Listing(tuple(found), tuple(missing))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row with its line's number; column names in lower case, all without the space around them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip().lower() for name in next(reader, [])]
            if lacking := [name for name in ("path", "label") if name not in header]:
                raise UsageError(f"{path}, line 1: no column {lacking[0]!r} in {', '.join(header) or 'an empty line'}")
            for cells in reader:
                row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
                if any(row.values()):
                    yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is not a CSV of labelled files: {error}") from error


def _example(path: Path, line: int, row: dict[str, str], split_given: bool) -> Example:
    for column in ("path", "label"):
        if not row.get(column):
            raise UsageError(f"{path}, line {line}: no {column}")
    part: Part | None = None
    if split_given:
        name = row.get("split", "")
        if name.lower() not in PART_NAMES:
            raise UsageError(f"{path}, line {line}: split must be one of train, val, test, got {name!r}")
        part = PART_NAMES[name.lower()]
    one = example(path.parent / row["path"], row["label"], part, path.parent)
    return replace(one, group=row["group"]) if row.get("group") else one
