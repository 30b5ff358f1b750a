"""`index-video`: an embedding table in, a search index out."""

import sys
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tristream.tools.options import Debug, check_picture
from tristream.tools.shell import run_command, say

if TYPE_CHECKING:  # its libraries would slow --help down
    from tristream.search.writer import Update

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def index_video(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="The folder of a table that embed-video made.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="INDEX", help="The folder of the index.")] = Path(
        "index"
    ),
    kind: Annotated[
        Literal["auto", "flat", "hnsw", "ivfpq"],
        typer.Option(help="How vectors are found: flat compares all; auto chooses by their number and --memory."),
    ] = "auto",
    memory: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="GB", help="Memory that approximate indexes may take.", show_default="0.9 of the machine's"
        ),
    ] = None,
    map: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Draw a map of the videos, too.", show_default=False),
    ] = None,
    colour: Annotated[str, typer.Option(metavar="COLUMN", help="What colours the map's points.")] = "folder",
    projection: Annotated[
        Literal["auto", "pca", "umap"], typer.Option(help="How the map is drawn; auto is UMAP where it is installed.")
    ] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin an index anew that is of another table or model.")
    ] = False,
    debug: Debug = False,
) -> int:
    """Make a search index of an embedding table, or bring it in line with a table that has changed.

    Only rows that are new go in, and those that are gone go out. The table is the truth: whatever is damaged of the
    index is made anew from it. Exit codes: 0 done, 1 usage or set-up, 130 interrupted.
    """
    from tristream.search.index import VideoIndex
    from tristream.search.map import write_map
    from tristream.search.update import update_index
    from tristream.streams.errors import UsageError
    from tristream.tools.progress import counting_bar

    check_picture(map, "--map", (".html",))
    if memory is not None and not isfinite(memory):
        raise UsageError(f"--memory is a number of GB, got {memory}")
    memory_bytes = None if memory is None else round(memory * 1e9)
    with counting_bar("vectors") as progress:
        update = update_index(
            table, output, kind=kind, memory_bytes=memory_bytes, overwrite=overwrite, progress=progress
        )
    _tell(update, output)
    if map is not None:
        with counting_bar("thumbnails") as progress:
            written = write_map(VideoIndex(output), map, colour=colour, projection=projection, progress=progress)
        say(f"{written.points:,} of {written.videos:,} videos by {written.projection} -> {map}")
    return 0


def _tell(update: "Update", output: Path) -> None:
    """What came of it, on standard error."""
    for name in update.damaged:
        say(f"damaged, and made anew: {name}")
    changes = {
        "added": update.added,
        "removed": update.removed,
        "without an embedding, left out": update.skipped,
    }
    parts = [f"{count:,} {what}" for what, count in changes.items() if count] or ["nothing has changed"]
    say(f"{update.rows:,} rows: {', '.join(parts)} -> {output}")
    for record in update.segments:
        streams = "+".join(record.streams)
        found = "exact" if record.kind == "flat" else f"recall@10 {record.recall:.3f}"
        say(f"  {record.live:,} {record.level}s with {streams}: {record.kind}, {found}")


def main() -> None:
    """The console script."""
    sys.exit(run_command(app))


if __name__ == "__main__":
    main()
