"""Contact sheets, maps and their thumbnails."""

import io
import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parent))
from fake_tables import DIMS, MODEL_ID, put, vector_of, video

from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.thumbnails import HEIGHT_PIXELS, thumbnail, thumbnails
from tristream.search.index import VideoIndex
from tristream.search.map import OTHER_COLOUR, colours_of, project, write_map
from tristream.search.query import Query
from tristream.search.sheet import lengths_of, write_sheet
from tristream.search.update import update_index
from tristream.streams.errors import SearchError, UsageError

MakeVideo = Callable[..., Path]
COLOURS = [(220, 30, 30), (30, 200, 30), (30, 30, 220)]
ODD_NAME = "<script>&'\".avi"


@pytest.mark.parametrize(
    ("parts", "lengths"),
    [([0.3, 0.2], [0.3, 0.2]), ([0.5, -0.1], [0.4, 0.0]), ([0.3, 0.3, -0.2], [0.2, 0.2, 0]), ([0.1, -0.3], [0, 0])],
)
def test_bars_are_as_long_as_the_score(parts: list[float], lengths: list[float]) -> None:
    assert lengths_of(parts) == pytest.approx(lengths)


@pytest.fixture(scope="module")
def clips(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A red, a green and a blue video of 10 s, the second's name full of what HTML reads as its own."""
    folder = tmp_path_factory.mktemp("clips")
    names = ["red.avi", ODD_NAME, "blue.avi"]
    return [
        make_video(folder / name, frames=np.full((250, 48, 64, 3), colour, np.uint8))
        for name, colour in zip(names, COLOURS, strict=True)
    ]


@pytest.fixture(scope="module")
def index(clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> VideoIndex:
    folder = tmp_path_factory.mktemp("index")
    videos = [video(str(path), [vector_of(number)], seconds=10.0) for number, path in enumerate(clips)]
    gone = video("/gone/gone.avi", [vector_of(9)], seconds=10.0)
    update_index(put(folder / "table", [*videos, gone]), folder / "index")
    return VideoIndex(folder / "index")


def colour_of(picture: bytes | None) -> tuple[int, ...]:
    """The colour in the middle of a JPEG."""
    assert picture is not None
    image = Image.open(io.BytesIO(picture))
    return tuple(image.getpixel((image.width // 2, image.height // 2)))  # type: ignore[arg-type]


def test_a_thumbnail_is_the_frame_shown_then(make_video: MakeVideo, tmp_path: Path) -> None:
    frames = np.concatenate([np.full((25, 48, 96, 3), colour, np.uint8) for colour in COLOURS])
    for name, codec in (("clip.avi", "mpeg4"), ("clip.mp4", "libx264")):
        clip = str(make_video(tmp_path / name, frames=frames, codec=codec))
        for seconds, colour in ((0.0, COLOURS[0]), (1.5, COLOURS[1]), (2.5, COLOURS[2]), (99.0, COLOURS[2])):
            picture = thumbnail((clip, seconds))
            np.testing.assert_allclose(colour_of(picture), colour, atol=12)
            assert Image.open(io.BytesIO(picture or b"")).size == (2 * HEIGHT_PIXELS, HEIGHT_PIXELS)


def test_thumbnails_of_what_has_no_picture_are_none(clips: list[Path], make_video: MakeVideo, tmp_path: Path) -> None:
    sound = make_video(tmp_path / "sound.wav", video=False, sound_hz=16_000)
    text = tmp_path / "text.avi"
    text.write_text("no video")
    told: list[int] = []
    places = [(str(path), 1.0) for path in (clips[0], sound, text, tmp_path / "gone.avi", clips[2])]
    pictures = thumbnails(places, lambda done, total: told.append(done))
    assert [picture is not None for picture in pictures] == [True, False, False, False, True]
    assert told == [1, 2, 3, 4, 5]
    assert thumbnails([]) == []


class Page(HTMLParser):
    """What a page shows: its text, its pictures, and whatever it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_sheet_is_one_page_that_fetches_nothing(index: VideoIndex, tmp_path: Path) -> None:
    query = Query.of_vector(vector_of(1), DIMS, MODEL_ID)
    write_sheet(tmp_path / "sheet.html", query, index.search(query), tuple(DIMS), "weights <all>")
    text = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    page = Page(text)
    assert ODD_NAME in page.text  # escaped, as it was no tag
    assert "weights <all>" in page.text
    assert "no picture" in page.text  # of the video that is gone
    assert len(page.sources) == 3
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)
    for stream in DIMS:
        assert stream in page.text


def test_a_sheet_is_one_picture(index: VideoIndex, tmp_path: Path) -> None:
    query = index.query_of_row(index.search(Query.of_vector(vector_of(0), DIMS, MODEL_ID), 1)[0].row["id"])
    write_sheet(tmp_path / "sheet.png", query, index.search(query), tuple(DIMS))
    pixels = np.asarray(Image.open(tmp_path / "sheet.png")).reshape(-1, 3).astype(int)
    # The query and its best hit are red, the others green and blue.
    areas = [int((np.abs(pixels - colour).max(axis=1) < 16).sum()) for colour in COLOURS]
    assert areas[0] == pytest.approx(2 * areas[1], rel=0.05)
    assert areas[1] == pytest.approx(areas[2], rel=0.05)


def points_of(path: Path) -> list[dict[str, str]]:
    """What a map's page knows of its points."""
    found = re.search(r"const points = (.*);\n", path.read_text(encoding="utf-8"))
    assert found is not None
    points: list[dict[str, str]] = json.loads(found[1])
    return points


def test_a_map_has_a_point_with_a_picture_for_each_video(index: VideoIndex, clips: list[Path], tmp_path: Path) -> None:
    written = write_map(index, tmp_path / "map.html", projection="pca")
    assert (written.points, written.videos, written.projection) == (4, 4, "PCA")
    points = points_of(tmp_path / "map.html")
    assert {point["path"] for point in points} == {*map(str, clips), "/gone/gone.avi"}
    assert [bool(point["picture"]) for point in points] == [point["path"] != "/gone/gone.avi" for point in points]
    assert {point["value"] for point in points} == {clips[0].parent.name, "gone"}
    text = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert ODD_NAME not in text  # in a script, nothing may end it
    assert "//" not in re.sub(r"base64,[^\"]*|http://www.w3.org/2000/svg", "", text)


def test_a_map_of_many_draws_some_of_them(index: VideoIndex, tmp_path: Path) -> None:
    written = write_map(index, tmp_path / "map.html", most=2, colour="width", projection="pca")
    assert (written.points, written.videos) == (2, 4)
    assert {point["value"] for point in points_of(tmp_path / "map.html")} == {"320"}


def test_a_map_of_what_cannot_be_is_refused(index: VideoIndex, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column 'taste'; there are folder, id, level"):
        write_map(index, tmp_path / "map.html", colour="taste")
    with pytest.raises(UsageError, match="cannot write the map"):
        write_map(index, tmp_path / "nowhere" / "map.html", projection="pca")
    broken = VideoEmbedding("/broken.avi", MODEL_ID, error="broken")
    update_index(put(tmp_path / "table", [broken]), tmp_path / "index")
    with pytest.raises(SearchError, match="holds no videos to make a map of"):
        write_map(VideoIndex(tmp_path / "index"), tmp_path / "map.html")


def test_what_is_alike_is_near_on_a_map() -> None:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(3, 20))
    vectors = np.repeat(centres, 10, axis=0) + 0.05 * generator.normal(size=(30, 20))
    name, points = project(vectors, "pca")
    assert name == "PCA"
    assert points.min() == 0
    assert points.max() == 1
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    same = np.repeat(np.arange(3), 10)[:, None] == np.repeat(np.arange(3), 10)[None]
    assert distances[same].max() < distances[~same].min()


def test_umap_is_asked_for_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tristream.search.map.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'tristream\[map\]', or --projection pca"):
        project(np.eye(20), "umap")
    assert project(np.eye(20), "auto")[0] == "PCA"


@pytest.mark.parametrize("count", [1, 2])
def test_very_few_points_have_a_map_too(count: int) -> None:
    _, points = project(np.eye(20)[:count], "auto")
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()


def test_names_get_colours_of_their_own_and_numbers_a_gradient() -> None:
    colours, legend = colours_of(["b", "a", "b"])
    assert colours[0] == colours[2] != colours[1]
    assert [name for name, _ in legend] == ["a", "b"]
    many, legend = colours_of([str(number) for number in range(30)])
    assert many.count(OTHER_COLOUR) == 21
    assert legend[-1] == ("other", OTHER_COLOUR)
    numbers, legend = colours_of([*map(float, range(30)), None])
    assert (numbers[0], numbers[29], numbers[30]) == ("#440154", "#fde725", OTHER_COLOUR)
    assert [name for name, _ in legend] == ["0", "14.5", "29"]
