"""How what was searched for is shown: hits, or groups of duplicates, as a table or JSON Lines."""

import json
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tristream.search.duplicates import Group
from tristream.search.hits import Moment, clock
from tristream.tools.shell import say


def plain(rank: int, moment: Moment) -> dict[str, Any]:
    """A hit as plain JSON data; the parts add up to the score."""
    return {
        "rank": rank,
        "score": moment.score,
        "path": moment.path,
        "start_seconds": moment.start_seconds,
        "end_seconds": moment.end_seconds,
        "parts": dict(moment.parts),
        "cosines": dict(moment.cosines),
        "id": moment.row["id"],
        "level": moment.row["level"],
        "duration_seconds": moment.row["duration_seconds"],
    }


def show(moments: Sequence[Moment], streams: Sequence[str], form: str) -> None:
    """Hits on standard output."""
    if form == "jsonl":
        for rank, moment in enumerate(moments, 1):
            print(json.dumps(plain(rank, moment), allow_nan=False))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("score", justify="right")
    for stream in streams:
        table.add_column(stream, justify="right", style="dim")
    table.add_column("moment", justify="right")
    table.add_column("video", overflow="fold")
    for moment in moments:
        parts = [f"{moment.parts[stream]:.3f}" if stream in moment.parts else "-" for stream in streams]
        span = f"{clock(moment.start_seconds)}-{clock(moment.end_seconds)}"
        table.add_row(f"{moment.score:.3f}", *parts, span, Text(short(moment.path)))
    Console(soft_wrap=False).print(table)


def show_groups(groups: Sequence[Group], form: str) -> None:
    """Groups of duplicates on standard output, and what they come to on standard error."""
    table = Table(box=None, pad_edge=False)
    for name in ("group", "score", "duration", "size"):
        table.add_column(name, justify="right")
    table.add_column("video", overflow="fold")
    for number, group in enumerate(groups, 1):
        if form == "jsonl":
            print(json.dumps(_plain_group(number, group), allow_nan=False))
        for place, video in enumerate(group.videos):
            row = video.row
            size = f"{row['width']}x{row['height']}" if row["width"] else "-"
            score = "" if place == 0 or isnan(video.score) else f"{video.score:.3f}"
            length = clock(row["duration_seconds"] or 0.0)
            table.add_row(str(number) if place == 0 else "", score, length, size, Text(short(row["path"])))
    if form == "table" and groups:
        Console(soft_wrap=False).print(table)
    videos = sum(len(group.videos) for group in groups)
    spare = clock(sum(group.spare_seconds for group in groups))
    say(f"{len(groups)} groups of {videos} videos; {spare} are there more than once" if groups else "no duplicates")


def _plain_group(number: int, group: Group) -> dict[str, Any]:
    keys = ("path", "id", "duration_seconds", "width", "height", "fps", "content_sha256")
    videos = [
        {"score": None if isnan(video.score) else video.score} | {key: video.row[key] for key in keys}
        for video in group.videos
    ]
    return {"group": number, "spare_seconds": group.spare_seconds, "videos": videos}


def short(path: str) -> str:
    """A path as seen from here, where that is shorter."""
    try:
        relative = str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
    return relative
