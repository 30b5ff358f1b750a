"""`search-video`: a video or moment in, the most similar moments of an index out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tristream.tools.options import Debug, Device, Dtype, StepsAtOnce, Timeout, check_picture
from tristream.tools.shell import run_command, say

if TYPE_CHECKING:  # its libraries would slow --help down
    from collections.abc import Sequence

    from tristream.search.filters import Filter

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


# What one of the two ways to search does not heed is refused, where it is given.
EMBEDDING = ("model", "device", "dtype", "batch_size", "timeout")
ONLY_WITH_A_QUERY = ("k", "level", "filter", "exclude_self", "unique", "sheet", *EMBEDDING)
ONLY_WITH_DUPLICATES = ("threshold",)


@app.command()
def search_video(
    context: typer.Context,
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="The folder of an index that index-video made.")],
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="QUERY",
            help="A video, a moment of one (clip.avi@12.5-17), FILE.npz of embed-video, or the id of a row.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How many hits.")] = 10,
    level: Annotated[Literal["clip", "video"], typer.Option(help="Search clips, or whole videos.")] = "clip",
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help="What counts: spatial=1,temporal=0.5,audio=0; a stream that is not named does not.",
            show_default="the model's own",
        ),
    ] = None,
    filter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Only rows of which this holds: 'duration_seconds < 30', 'path ~ */cam1/*'. May be given again.",
            show_default=False,
        ),
    ] = None,
    exclude_self: Annotated[
        bool, typer.Option("--exclude-self", help="Leave out what is the query itself, under whatever name.")
    ] = False,
    unique: Annotated[bool, typer.Option("--unique", help="One hit a video.")] = False,
    format: Annotated[
        Literal["table", "jsonl"] | None,
        typer.Option(help="How hits are told.", show_default="table on a terminal, else jsonl"),
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Without a query: the groups of videos that are the same content.")
    ] = False,
    threshold: Annotated[
        float, typer.Option(min=-1, max=1, help="The score from which --duplicates takes two videos for the same.")
    ] = 0.9,
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a contact sheet, too: FILE.html or FILE.png.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Where the model is that embeds the query.", show_default="where it was when the table was made"
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_size: StepsAtOnce = 16,
    timeout: Timeout = 3600.0,
    debug: Debug = False,
) -> int:
    """Find the moments that are most like a video, a moment of one, or a row.

    The score is the weighted mean cosine over the streams that both have, from -1 to 1; beside it stands each stream's
    part of it. Windows of a video that overlap a better one are merged into that. Exit codes: 0 done, 1 usage or
    set-up, 130 interrupted.
    """
    from tristream.search.duplicates import find_duplicates
    from tristream.search.filters import parse_filter
    from tristream.search.index import VideoIndex
    from tristream.search.query import parse_query
    from tristream.search.sheet import write_sheet
    from tristream.search.similarity import checked_weights, parse_weights
    from tristream.streams.errors import UsageError
    from tristream.tools.progress import counting_bar
    from tristream.tools.query_embedding import QueryEmbedder
    from tristream.tools.search_report import show, show_groups

    if format is None:
        format = "table" if sys.stdout.isatty() else "jsonl"
    if duplicates == (query is not None):
        raise UsageError("give a QUERY, or --duplicates without one")
    for name in ONLY_WITH_A_QUERY if duplicates else ONLY_WITH_DUPLICATES:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            where = "for a QUERY, not for --duplicates" if duplicates else "for --duplicates"
            raise UsageError(f"--{name.replace('_', '-')} is {where}")
    check_picture(sheet, "--sheet", (".html", ".png"))
    asked = None if query is None else parse_query(query)
    filters = [parse_filter(text) for text in filter or ()]
    opened = VideoIndex(index)
    weight_of = None if weights is None else checked_weights(parse_weights(weights), opened.weights)
    if asked is None:
        with counting_bar("videos") as progress:
            groups = find_duplicates(opened, threshold, weight_of, progress)
        show_groups(groups, format)
        return 0
    embedder = QueryEmbedder(opened, model, device, dtype, batch_size, timeout)
    searched = embedder.query_of(asked)
    moments = opened.search(
        searched,
        k,
        level=level,
        weights=weight_of,
        filters=filters,
        exclude_self=exclude_self,
        unique=unique,
    )
    if sheet is not None:  # first: whoever reads standard output may leave before the end, as `head` does
        write_sheet(sheet, searched, moments, tuple(opened.dims), _note(weights, filters))
        say(f"-> {sheet}")
    show(moments, tuple(opened.dims), format)
    if not moments:
        say("nothing found: no row is left" + (" by --filter and --exclude-self" if filters or exclude_self else ""))
    return 0


def _note(weights: str | None, filters: "Sequence[Filter]") -> str:
    """What a sheet says of how was searched."""
    parts = [f"weights {weights}"] if weights else []
    parts += [f"{each.column} {each.operator} {each.value}" for each in filters]
    return "; ".join(parts)


def main() -> None:
    """The console script."""
    sys.exit(run_command(app))


if __name__ == "__main__":
    main()
