"""`index-video` and `search-video` as their user meets them: from a folder of videos to moments, and wrong inputs."""

import inspect
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tristream.fusion.parts import read_rows
from tristream.search.duplicates import THRESHOLD
from tristream.tools import embed_video, index_video, search_video
from tristream.tools.shell import run_command

sys.path.append(str(Path(__file__).parents[1] / "search"))
from fake_tables import put, some_videos

pytestmark = pytest.mark.usefixtures("signals_kept")
# What moves and looks alike in all of them: the colours tell them apart.
COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}

# On flat colours random weights tell more than trained ones, which look for shapes.
UNTRAINED = "--streams spatial --backbone mobilenetv3_small_050 --recurrent mean --untrained"


@pytest.fixture(scope="module")
def videos(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of one colour each, one of all three in turn, and a re-encoded one."""
    folder = tmp_path_factory.mktemp("videos")
    noise = np.random.default_rng(0).integers(-30, 30, (100, 48, 64, 1))
    for name, colour in COLOURS.items():
        make_video(folder / f"{name}.avi", frames=np.clip(noise + colour, 0, 255).astype(np.uint8), fps=10)
    turn = np.concatenate([noise[i : i + 30] + colour for i, colour in enumerate(COLOURS.values())])
    make_video(folder / "turn.mp4", frames=np.clip(turn, 0, 255).astype(np.uint8), fps=10, codec="libx264")
    red = np.clip(noise + COLOURS["red"], 0, 255).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    make_video(folder / "red-again.mp4", frames=red, fps=10, codec="libx264")
    return folder


@pytest.fixture(scope="module")
def table(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = tmp_path_factory.mktemp("work") / "table"
    options = f"{UNTRAINED} --window 2 --stride 1 --jobs 1".split()
    assert run_command(embed_video.app, [str(videos), "-o", str(table), *options]) == 0
    return table


@pytest.fixture(scope="module")
def index(table: Path) -> Path:
    folder = table.with_name("index")
    assert run_command(index_video.app, [str(table), "-o", str(folder)]) == 0
    return folder


def search(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, list[dict[str, Any]], str]:
    """The exit code, the hits and what was said."""
    capsys.readouterr()
    code = run_command(search_video.app, [*map(str, arguments), "--format", "jsonl"])
    told = capsys.readouterr()
    return code, [json.loads(line) for line in told.out.splitlines()], told.err


def names(hits: list[dict[str, Any]]) -> list[str]:
    return [Path(hit["path"]).name for hit in hits]


def test_indexing_says_what_it_did(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "index"
    assert run_command(index_video.app, [str(table), "-o", str(folder)]) == 0
    said = capsys.readouterr().err
    rows = len(read_rows(table))
    assert f"{rows} rows: {rows} added -> {folder}" in said
    assert "5 videos with spatial: flat, exact" in said
    assert run_command(index_video.app, [str(table), "-o", str(folder)]) == 0
    assert f"{rows} rows: nothing has changed -> {folder}" in capsys.readouterr().err


def test_a_video_of_the_index_finds_itself_and_what_is_like_it(
    index: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, hits, _ = search(capsys, index, videos / "red.avi", "--level", "video")
    assert code == 0
    assert names(hits)[:2] == ["red.avi", "red-again.mp4"]
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    assert all(hit["score"] == pytest.approx(sum(hit["parts"].values()), abs=1e-12) for hit in hits)
    _, hits, _ = search(capsys, index, videos / "red.avi", "--level", "video", "--exclude-self")
    assert names(hits)[0] == "red-again.mp4"


def test_a_moment_of_a_video_finds_that_moment(index: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, hits, _ = search(capsys, index, f"{videos / 'turn.mp4'}@3.5-5.5", "-k", "3", "--unique")
    assert code == 0
    assert set(names(hits)[:2]) == {"turn.mp4", "green.avi"}
    turn = next(hit for hit in hits if hit["path"].endswith("turn.mp4"))
    assert abs(turn["start_seconds"] - 3.5) <= 1
    assert abs(turn["end_seconds"] - 5.5) <= 1


def test_a_new_video_is_embedded_by_the_model_of_the_table(
    index: Path, make_video: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(7).integers(-30, 30, (20, 96, 128, 1))
    clip = make_video(tmp_path / "new.mkv", frames=np.clip(noise + COLOURS["blue"], 0, 255).astype(np.uint8), fps=10)
    code, hits, _ = search(capsys, index, clip, "--filter", "*.avi", "-k", "1")
    assert code == 0
    assert names(hits) == ["blue.avi"]


def test_a_row_and_a_file_of_an_embedding_are_queries(
    index: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, (first, *_), _ = search(capsys, index, videos / "green.avi", "-k", "1")
    _, hits, _ = search(capsys, index, first["id"], "-k", "1")
    assert (hits[0]["path"], hits[0]["start_seconds"]) == (first["path"], first["start_seconds"])
    options = f"{UNTRAINED} --window 2 --stride 1 --jobs 1".split()
    query = tmp_path / "query.npz"
    assert run_command(embed_video.app, [str(videos / "blue.avi"), "-o", str(query), *options]) == 0
    _, hits, _ = search(capsys, index, query, "--level", "video", "-k", "1")
    assert names(hits) == ["blue.avi"]


def test_duplicates_are_told(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, groups, said = search(capsys, index, "--duplicates", "--threshold", "0.99")
    assert code == 0
    assert [[Path(video["path"]).name for video in group["videos"]] for group in groups] == [
        ["red-again.mp4", "red.avi"]
    ]
    assert "1 groups of 2 videos; 10.0 are there more than once" in said


def test_a_table_for_people(index: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run_command(search_video.app, [str(index), str(videos / "red.avi"), "-k", "2", "--format", "table"]) == 0
    head, first, *rest = capsys.readouterr().out.splitlines()
    assert head.split() == ["score", "spatial", "moment", "video"]
    assert first.split()[:2] == ["1.000", "1.000"]
    assert "red.avi" in "".join(line.strip() for line in (first, *rest))  # a long path is folded
    assert run_command(search_video.app, [str(index), "--duplicates", "--format", "table"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["group", "score", "duration", "size", "video"]


def test_a_sheet_and_a_map_are_written(index: Path, table: Path, videos: Path, tmp_path: Path) -> None:
    assert run_command(search_video.app, [str(index), str(videos / "red.avi"), "--sheet", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert run_command(index_video.app, [str(table), "-o", str(index), "--map", str(tmp_path / "map.html")]) == 0
    assert "turn.mp4" in (tmp_path / "map.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["INDEX"], "give a QUERY, or --duplicates without one"),
        (["INDEX", "red.avi", "--duplicates"], "give a QUERY, or --duplicates without one"),
        (["INDEX", "nothing.avi"], "nothing.avi is no file, and no id of a row. A query is a video, a moment"),
        (["INDEX", "x" * 300], "is no file"),
        (["INDEX", "."], ". is no file, and no id of a row. A query is a video, a moment"),
        (["INDEX", "0" * 32], "no row of the index"),
        (["INDEX", "red.avi@50-60"], "lies in 50-60 s: it ends at 10"),
        (["INDEX", "red.avi", "--weights", "smell=1"], "no stream 'smell' in this index; it has spatial"),
        (["INDEX", "red.avi", "--weights", "spatial=0"], "all weights are 0"),
        (["INDEX", "red.avi", "--weights", "spatial"], "weights are written as"),
        (["INDEX", "red.avi", "--filter", "taste == sweet"], "no column 'taste'"),
        (["INDEX", "red.avi", "--sheet", "sheet.pdf"], "--sheet sheet.pdf: sheet writes .html or .png files"),
        (["INDEX", "red.avi", "--k", "0"], "Invalid value for '-k' / '--k'"),
        (["nowhere", "red.avi"], "nowhere is no search index: it has no index.json; index-video TABLE -o nowhere"),
        (["INDEX", "red.avi@0-1", "--model", "nowhere"], "no model 'nowhere'"),
        (["INDEX", "--duplicates", "--filter", "*/cam1/*"], "--filter is for a QUERY, not for --duplicates"),
        (["INDEX", "--duplicates", "--exclude-self"], "--exclude-self is for a QUERY, not for --duplicates"),
        (["INDEX", "--duplicates", "--device", "cpu"], "--device is for a QUERY, not for --duplicates"),
        (["INDEX", "red.avi", "--threshold", "0.5"], "--threshold is for --duplicates"),
        (["INDEX", "--duplicates", "--threshold", "3"], "Invalid value for '--threshold'"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    index: Path, videos: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    places = {"INDEX": str(index), "red.avi": str(videos / "red.avi"), "red.avi@": f"{videos / 'red.avi'}@"}
    given = [places.get(text, text.replace("red.avi@", places["red.avi@"])) for text in arguments]
    code, hits, said = search(capsys, *given)
    assert (code, hits) == (1, [])
    assert says in said
    assert len(said.splitlines()) == 1


def test_a_query_by_another_model_is_refused_and_both_are_named(
    index: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = search(capsys, index, f"{videos / 'red.avi'}@0-1", "--model", "pocket")
    assert code == 1
    assert "the query would be embedded by model" in said
    assert "(pocket), but the index is of model" in said


def test_a_damaged_index_is_refused_and_mended(
    table: Path, index: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "index"
    shutil.copytree(index, folder)
    vectors = next(folder.glob("*.vectors"))
    data = bytearray(vectors.read_bytes())
    data[7] ^= 1
    vectors.write_bytes(data)
    code, _, said = search(capsys, folder, videos / "red.avi")
    assert code == 1
    assert "is damaged (its sha256 differs): index-video makes what is damaged anew from the table" in said
    assert run_command(index_video.app, [str(table), "-o", str(folder)]) == 0
    assert "damaged, and made anew" in capsys.readouterr().err
    assert search(capsys, folder, videos / "red.avi")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere is no embedding table"),
        (["TABLE", "-o", "TABLE"], "holds other files than a search index"),
        (["TABLE", "-o", "OTHER"], "is of model 0123456789ab (fake), the table"),
        (["TABLE", "-o", "NEW", "--map", "NEW/nowhere/map.html"], "there is no folder"),
        (["TABLE", "-o", "NEW", "--map", "map.png"], "--map map.png: map writes .html files"),
        (["TABLE", "-o", "NEW", "--map", "map.html", "--colour", "taste"], "no column 'taste'"),
        (["TABLE", "-o", "NEW", "--memory", "inf"], "--memory is a number of GB, got inf"),
        (["TABLE", "-o", "NEW", "--kind", "annoy"], "'annoy' is not one of 'auto', 'flat', 'hnsw', 'ivfpq'"),
    ],
)
def test_wrong_input_to_indexing_is_told_in_one_line(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    other = tmp_path / "other-index"
    assert run_command(index_video.app, [str(put(tmp_path / "other", some_videos(2))), "-o", str(other)]) == 0
    capsys.readouterr()
    places = {"TABLE": str(table), "OTHER": str(other), "NEW": str(tmp_path / "new")}
    given = [places.get(text, text.replace("NEW/", f"{tmp_path}/new/")) for text in arguments]
    assert run_command(index_video.app, given) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert says in error


def test_the_threshold_of_duplicates_is_that_of_the_library() -> None:
    assert inspect.signature(search_video.search_video).parameters["threshold"].default == THRESHOLD
