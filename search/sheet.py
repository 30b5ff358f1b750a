"""A contact sheet of a search: query and hits with their pictures and scores, as one HTML page or one PNG."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader
from PIL import Image, ImageDraw, ImageFont

from tristream.fusion.folder import write_atomically
from tristream.fusion.thumbnails import HEIGHT_PIXELS, data_url, thumbnails
from tristream.search.hits import Moment, clock
from tristream.search.query import Query
from tristream.streams.errors import UsageError

# Tol's bright, safe for the colour-blind, for streams in their order.
COLOURS = ("#4477aa", "#228833", "#ccbb44")
CARD_WIDTH, MARGIN, LINE = 220, 12, 16
COLUMNS = 5
FONT_SIZE = 13


@dataclass(frozen=True)
class Bar:
    """A stream's part of a score, and how long it is drawn: all together as long as the score."""

    stream: str
    part: float
    length: float  # 0 to 1
    colour: str


@dataclass(frozen=True)
class Card:
    """What a sheet shows of a query or hit."""

    title: str  # its file's name
    path: str
    span: str
    score: float | None  # None for the query
    bars: tuple[Bar, ...]
    picture: bytes | None


def write_sheet(path: Path, query: Query, moments: Sequence[Moment], streams: Sequence[str], note: str = "") -> None:
    """Write the sheet of a search as `.html` or `.png`, whole or not at all.

    Raises:
        UsageError: it cannot be written there.
    """
    cards = cards_of(query, moments, streams)
    data = sheet_html(cards, note) if path.suffix.lower() == ".html" else sheet_png(cards, note)
    try:
        write_atomically(path, data)
    except OSError as error:
        raise UsageError(f"cannot write the sheet {path}: {error.strerror or error}") from error


def cards_of(query: Query, moments: Sequence[Moment], streams: Sequence[str]) -> list[Card]:
    """The query's card, then one a hit; pictures are of the middle of each."""
    spans = [(query.path, query.start_seconds, query.end_seconds)]
    spans += [(moment.path, moment.start_seconds, moment.end_seconds) for moment in moments]
    middles = [(path, (start + end) / 2 if end < float("inf") else start) for path, start, end in spans]
    pictures = thumbnails(middles)
    colours = dict(zip(streams, COLOURS, strict=False))
    cards = [_card(*spans[0], None, (), pictures[0])]
    for moment, span, picture in zip(moments, spans[1:], pictures[1:], strict=True):
        bars = tuple(
            Bar(stream, part, length, colours.get(stream, "#888888"))
            for (stream, part), length in zip(
                moment.parts.items(), lengths_of(list(moment.parts.values())), strict=True
            )
        )
        cards.append(_card(*span, moment.score, bars, picture))
    return cards


def sheet_html(cards: Sequence[Card], note: str) -> bytes:
    """The page, with all that it shows in it."""
    environment = Environment(loader=PackageLoader("tristream.search"), autoescape=True)
    environment.filters["data_url"] = data_url
    template = environment.get_template("sheet.html")
    page = template.render(query=cards[0], hits=cards[1:], note=note, legend=_legend(cards))
    return page.encode()


def sheet_png(cards: Sequence[Card], note: str) -> bytes:
    """The picture."""
    columns = min(COLUMNS, len(cards))
    rows = -(-len(cards) // columns)
    height = HEIGHT_PIXELS + 4 * LINE + MARGIN
    size = MARGIN + columns * (CARD_WIDTH + MARGIN), 2 * MARGIN + LINE + rows * (height + MARGIN)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    _draw_head(draw, _legend(cards), note)
    for number, card in enumerate(cards):
        row, column = divmod(number, columns)
        left, top = MARGIN + column * (CARD_WIDTH + MARGIN), 2 * MARGIN + LINE + row * (height + MARGIN)
        _draw(draw, sheet, card, number, left, top)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def lengths_of(parts: Sequence[float]) -> list[float]:
    """The lengths of bars, together that of the score: what parts below 0 take away, the others lose by their size."""
    above = sum(part for part in parts if part > 0)
    share = max(sum(parts), 0) / above if above else 0.0
    return [max(part, 0) * share for part in parts]


def _legend(cards: Sequence[Card]) -> list[tuple[str, str]]:
    """The streams that have a part in any score, and their colours."""
    return list(dict.fromkeys((bar.stream, bar.colour) for card in cards for bar in card.bars))


def _draw_head(draw: ImageDraw.ImageDraw, legend: Sequence[tuple[str, str]], note: str) -> None:
    """What the colours mean, and how was searched."""
    font, left = ImageFont.load_default(FONT_SIZE), float(MARGIN)
    for stream, colour in legend:
        draw.rectangle((left, MARGIN + 3, left + 10, MARGIN + 13), colour)
        draw.text((left + 15, MARGIN), stream, "#555555", font)
        left += 15 + draw.textlength(stream, font) + MARGIN
    draw.text((left, MARGIN), note, "#555555", font)


def _draw(draw: ImageDraw.ImageDraw, sheet: Image.Image, card: Card, number: int, left: int, top: int) -> None:
    """One card, with its left upper corner there."""
    font = ImageFont.load_default(FONT_SIZE)
    draw.rectangle((left, top, left + CARD_WIDTH, top + HEIGHT_PIXELS), "#eeeeee")
    if card.picture is not None:
        picture = Image.open(io.BytesIO(card.picture))
        picture.thumbnail((CARD_WIDTH, HEIGHT_PIXELS))
        sheet.paste(picture, (left + (CARD_WIDTH - picture.width) // 2, top))
    else:
        draw.text((left + 8, top + 8), "no picture", "#888888", font)
    top += HEIGHT_PIXELS + 4
    score = "query" if card.score is None else f"{number}.  {card.score:.3f}"
    draw.text((left, top), score, "black", font)
    draw.text((left + CARD_WIDTH, top), card.span, "#555555", font, anchor="ra")
    begin = float(left)
    for bar in card.bars:
        end = begin + bar.length * CARD_WIDTH
        if bar.length:
            draw.rectangle((begin, top + LINE + 4, end, top + LINE + 9), bar.colour)
        begin = end
    title = card.title
    while title and draw.textlength(title, font) > CARD_WIDTH:
        title = "…" + title[2:]
    draw.text((left, top + 2 * LINE), title, "#333333", font)


def _card(
    path: str,
    start_seconds: float,
    end_seconds: float,
    score: float | None,
    bars: tuple[Bar, ...],
    picture: bytes | None,
) -> Card:
    span = f"{clock(start_seconds)}-{clock(end_seconds)}" if end_seconds < float("inf") else ""
    return Card(Path(path).name, path, span, score, bars, picture)
