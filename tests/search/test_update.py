"""An index follows its table: rows come, change and go; damage loses nothing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.append(str(Path(__file__).parent))
from fake_tables import DIMS, MODEL_ID, WINDOWS, put, some_videos, vector_of, video
from updates import QUERIES, fresh, results, zero_centre

from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.lock import lock_folder
from tristream.fusion.parts import parts_of
from tristream.search import writer
from tristream.search.index import VideoIndex
from tristream.search.query import Query
from tristream.search.update import update_index
from tristream.search.writer import Update
from tristream.streams.errors import SearchError, TableError, UsageError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return put(tmp_path / "table", some_videos(10))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture(autouse=True)
def still_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    """A centre that does not move: that of so small a table moves with each row, and then all is written anew."""
    monkeypatch.setattr("tristream.search.writer.find_centre", zero_centre)


def changed(update: Update) -> tuple[int, int]:
    return update.added, update.removed


def test_only_new_rows_go_in(table: Path, folder: Path, tmp_path: Path) -> None:
    assert changed(update_index(table, folder)) == (40, 0)  # a video and three clips each
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "index.json"}
    put(table, some_videos(2, first=10))
    assert changed(update_index(table, folder)) == (8, 0)
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}.items()
    assert len(VideoIndex(folder)) == 48
    assert results(folder) == fresh(table, tmp_path / "fresh")


def test_nothing_is_written_where_nothing_has_changed(table: Path, folder: Path) -> None:
    update_index(table, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert changed(update_index(table, folder)) == (0, 0)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_that_has_changed_is_replaced(table: Path, folder: Path, tmp_path: Path) -> None:
    update_index(table, folder)
    vectors = [vector_of(9999), vector_of(9998)]
    put(table, [video("/videos/004.avi", vectors)], contents={"/videos/004.avi": "d" * 64})
    assert changed(update_index(table, folder)) == (3, 4)
    hits = VideoIndex(folder).search(Query.of_vector(vectors[1], DIMS, MODEL_ID), 1)
    assert (hits[0].path, hits[0].start_seconds) == ("/videos/004.avi", 1)
    assert results(folder) == fresh(table, tmp_path / "fresh")


def test_rows_that_are_gone_from_the_table_disappear(table: Path, folder: Path, tmp_path: Path) -> None:
    put(table, some_videos(4, first=10))
    parts = parts_of(table)
    assert len(parts) == 2
    update_index(table, folder)
    parts[0].unlink()
    update = update_index(table, folder)
    assert update.added == 0
    assert update.removed == 56 - update.rows
    assert results(folder) == fresh(table, tmp_path / "fresh")


def test_a_file_that_has_failed_since_disappears(table: Path, folder: Path) -> None:
    update_index(table, folder)
    put(table, [VideoEmbedding("/videos/004.avi", MODEL_ID, error="damaged")], contents={"/videos/004.avi": "e" * 64})
    assert changed(update_index(table, folder)) == (0, 4)
    assert "/videos/004.avi" not in {hit.path for hit in VideoIndex(folder).search(QUERIES[0], 100)}


def test_few_rows_that_go_are_marked_and_many_are_written_out(table: Path, folder: Path, tmp_path: Path) -> None:
    update_index(table, folder)
    names = {record.name for record in VideoIndex(folder).manifest.segments}
    put(table, [VideoEmbedding("/videos/004.avi", MODEL_ID, error="damaged")], contents={"/videos/004.avi": "e" * 64})
    update_index(table, folder)
    segments = VideoIndex(folder).manifest.segments
    assert {record.name for record in segments} == names
    assert sum(record.deleted for record in segments) == 4
    for number in (1, 2, 5, 7):
        path = f"/videos/{number:03d}.avi"
        put(table, [VideoEmbedding(path, MODEL_ID, error="damaged")], contents={path: "e" * 64})
    update_index(table, folder)
    assert sum(record.deleted for record in VideoIndex(folder).manifest.segments) == 0
    assert results(folder) == fresh(table, tmp_path / "fresh")


def test_segments_stay_few(table: Path, folder: Path, tmp_path: Path) -> None:
    for number in range(10, 60):
        put(table, some_videos(1, first=number))
        update_index(table, folder)
    for record in (segments := VideoIndex(folder).manifest.segments):
        assert sum((other.level, other.streams) == (record.level, record.streams) for other in segments) <= 6
    assert results(folder) == fresh(table, tmp_path / "fresh")


def test_one_content_under_two_names_is_two_videos(tmp_path: Path, folder: Path) -> None:
    twins = [video("/a.avi", [vector_of(1)]), video("/b.avi", [vector_of(1)])]
    table = put(tmp_path / "table", twins, contents={"/a.avi": "c" * 64, "/b.avi": "c" * 64})
    assert changed(update_index(table, folder)) == (4, 0)
    assert changed(update_index(table, folder)) == (0, 0)
    assert [hit.path for hit in VideoIndex(folder).search(QUERIES[0])] == ["/a.avi", "/b.avi"]


def test_rows_without_an_embedding_are_left_out_and_counted(tmp_path: Path, folder: Path) -> None:
    nothing = video("/nan.avi", [np.full(15, np.nan, np.float32)])
    failed = VideoEmbedding("/broken.avi", MODEL_ID, error="broken")
    table = put(tmp_path / "table", [video("/a.avi", [vector_of(1)]), nothing, failed])
    update = update_index(table, folder)
    assert (update.rows, update.added, update.skipped) == (2, 2, 3)


@pytest.mark.parametrize("ending", ["vectors", "rows.arrow", "deleted.npy", "index.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_what_is_damaged_is_refused_and_made_anew(
    table: Path, folder: Path, tmp_path: Path, ending: str, harm: str
) -> None:
    update_index(table, folder)
    put(table, [VideoEmbedding("/videos/004.avi", MODEL_ID, error="damaged")], contents={"/videos/004.avi": "e" * 64})
    update_index(table, folder)
    path = next(path for path in sorted(folder.iterdir()) if path.name.endswith(ending))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(data if harm == "flip" else data[: len(data) // 2])
    with pytest.raises(SearchError, match="index-video"):
        VideoIndex(folder)
    update = update_index(table, folder)
    assert len(update.damaged) == (0 if (ending, harm) == ("index.json", "remove") else 1)
    assert results(folder) == fresh(table, tmp_path / "fresh")
    named = {name for name, _ in VideoIndex(folder).manifest.files()}
    assert {path.name for path in folder.iterdir()} == {"index.json", *named}


def test_an_index_of_another_model_is_refused_and_both_are_named(table: Path, folder: Path, tmp_path: Path) -> None:
    update_index(table, folder)
    other = put(tmp_path / "other", some_videos(2), model_id="ba9876543210")
    with pytest.raises(SearchError, match=f"is of model {MODEL_ID} .*, the table .* of ba9876543210"):
        update_index(other, folder)
    assert len(VideoIndex(folder)) == 40
    assert changed(update_index(other, folder, overwrite=True)) == (8, 0)
    assert VideoIndex(folder).model_id == "ba9876543210"


def test_an_index_of_another_table_is_refused(table: Path, folder: Path, tmp_path: Path) -> None:
    update_index(table, folder)
    other = put(tmp_path / "other", some_videos(2))
    with pytest.raises(SearchError, match=r"is of the table .*table, not of .*other: use another -o, or --overwrite"):
        update_index(other, folder)
    assert changed(update_index(other, folder, overwrite=True)) == (8, 0)


def test_a_table_and_index_that_were_moved_go_on(table: Path, folder: Path, tmp_path: Path) -> None:
    update_index(table, folder)
    moved = table.rename(tmp_path / "moved")
    put(moved, some_videos(1, first=90))
    assert changed(update_index(moved, folder)) == (4, 0)


def test_a_file_beside_it_does_not_keep_an_index_from_being_made_anew(table: Path, folder: Path) -> None:
    update_index(table, folder)
    (folder / "map.html").write_text("a map")
    assert changed(update_index(table, folder, overwrite=True)) == (40, 0)
    assert (folder / "map.html").read_text() == "a map"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_files_is_left_alone(table: Path, tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(SearchError, match="holds other files than a search index"):
        update_index(table, tmp_path / "photos", overwrite=overwrite)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_what_is_no_table_is_refused_and_nothing_is_made(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(TableError, match="is no embedding table"):
        update_index(tmp_path / "nothing", folder)
    with pytest.raises(UsageError, match="no kind of index"):
        update_index(put(tmp_path / "table", some_videos(1)), folder, kind="annoy")
    assert not folder.exists()


def test_a_table_of_two_models_is_refused(table: Path, folder: Path, tmp_path: Path) -> None:
    other = put(tmp_path / "other", some_videos(1), model_id="ba9876543210")
    shutil.copy(parts_of(other)[0], table)
    with pytest.raises(TableError, match="parts of two models"):
        update_index(table, folder)


def test_one_writer_at_a_time(table: Path, folder: Path) -> None:
    update_index(table, folder)
    lock = lock_folder(folder)
    try:
        with pytest.raises(SearchError, match="another process is writing to the index"):
            update_index(table, folder)
        assert len(VideoIndex(folder)) == 40
    finally:
        os.close(lock)


def test_an_opened_index_stays_as_it_was(table: Path, folder: Path) -> None:
    update_index(table, folder)
    opened, before = VideoIndex(folder), results(folder)
    parts_of(table)[0].unlink()
    put(table, some_videos(40, first=50))
    update_index(table, folder)
    found = [
        (hit.path, hit.start_seconds, hit.row["level"], hit.score)
        for hit in opened.search(QUERIES[0], 10_000, merge=False)
    ]
    assert found == before[0]


def test_large_segments_get_the_kind_that_is_asked_for(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [vector_of(seed) for seed in range(1500)]
    table = put(tmp_path / "table", [video("/long.avi", clips), *some_videos(3)])
    kinds = {record.rows: record.kind for record in update_index(table, folder, kind="hnsw").segments}
    assert {kind for rows, kind in kinds.items() if rows >= 1000} == {"hnsw"}
    assert {kind for rows, kind in kinds.items() if rows < 1000} == {"flat"}
    hits = VideoIndex(folder).search(Query.of_vector(clips[700], DIMS, MODEL_ID), 1)
    assert (hits[0].path, hits[0].start_seconds) == ("/long.avi", 700)
    update = update_index(table, folder, kind="flat")
    assert changed(update) == (0, 0)
    assert {record.kind for record in update.segments} == {"flat"}
    assert not list(folder.glob("*.hnsw"))
    monkeypatch.setattr("tristream.search.kinds.FLAT_BYTES", 1000)
    assert {record.kind for record in update_index(table, folder).segments if record.rows > 1000} == {"hnsw"}


def test_a_damaged_approximate_index_is_refused_and_made_anew(tmp_path: Path, folder: Path) -> None:
    table = put(tmp_path / "table", [video("/long.avi", [vector_of(seed) for seed in range(1200)])])
    update_index(table, folder, kind="hnsw")
    (path,) = folder.glob("*.hnsw")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(SearchError, match="sha256 differs"):
        VideoIndex(folder)
    assert len(update_index(table, folder, kind="hnsw").damaged) == 1
    assert len(VideoIndex(folder)) == 1201


def test_a_manifest_that_names_what_is_outside_is_refused(table: Path, folder: Path) -> None:
    update_index(table, folder)
    data = json.loads((folder / "index.json").read_text())
    data["segments"][0]["name"] = "../../etc/passwd"
    (folder / "index.json").write_text(json.dumps(data))
    with pytest.raises(SearchError, match="is damaged"):
        VideoIndex(folder)


@pytest.mark.slow
def test_two_readers_beside_a_writer_see_it_before_or_after(table: Path, folder: Path) -> None:
    update_index(table, folder)
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from fake_tables import *\n"
        "from tristream.search.index import VideoIndex\n"
        "from tristream.search.query import Query\n"
        "query, seen = Query.of_vector(vector_of(3), DIMS, MODEL_ID), set()\n"
        "while not (Path(sys.argv[1]).parent / 'stop').exists():\n"
        "    seen.add(len(VideoIndex(Path(sys.argv[1])).search(query, 10_000, level='video')))\n"
        "print(*sorted(seen))"
    )
    readers = [
        subprocess.Popen([sys.executable, "-c", code, folder, Path(__file__).parent], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    counts = {10}
    for number in range(10, 40):
        put(table, some_videos(1, first=number))
        update_index(table, folder)
        counts.add(number + 1)
    (folder.parent / "stop").touch()
    outs = [reader.communicate(timeout=60)[0] for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0]
    for out in outs:
        seen = {int(count) for count in out.split()}
        assert seen <= counts
        assert len(seen) > 1, "it has not seen the index change"


def fail_on_a_small_disk(table: Path, folder: Path, most_bytes: int, kind: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"from updates import update_on_a_small_disk\n"
            f"update_on_a_small_disk({str(table)!r}, {str(folder)!r}, {most_bytes}, {kind!r})",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert "cannot write to the index" in done.stdout


def test_a_full_disk_is_told_and_what_was_there_is_whole(table: Path, folder: Path) -> None:
    update_index(table, folder)
    before = results(folder)
    put(table, [video("/long.avi", [vector_of(seed) for seed in range(3000)])])
    fail_on_a_small_disk(table, folder, 40_000, "auto")
    assert results(folder) == before
    assert update_index(table, folder).added == 3001


@pytest.mark.parametrize("most_bytes", [190_000, 400_000])  # less than the vectors take, and than the graph
def test_a_full_disk_while_a_graph_is_written_is_told(table: Path, folder: Path, most_bytes: int) -> None:
    put(table, [video("/long.avi", [vector_of(seed) for seed in range(5000)])])
    fail_on_a_small_disk(table, folder, most_bytes, "hnsw")
    update_index(table, folder, kind="hnsw")
    assert len(VideoIndex(folder)) == 5041


def test_a_part_that_is_replaced_while_it_is_read_is_read_as_it_was(
    table: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = writer.batches_of

    def replaced(part: pq.ParquetFile, rows: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
        if columns is None:
            put(table, some_videos(1, clips=1))  # an embed-video beside it, which writes the parts anew
        return read(part, rows, columns)

    monkeypatch.setattr(writer, "batches_of", replaced)
    update_index(table, folder)
    monkeypatch.undo()
    update_index(table, folder)
    assert results(folder) == fresh(table, folder.parent / "fresh")


def test_windows_are_kept(table: Path, folder: Path) -> None:
    update_index(table, folder)
    manifest = VideoIndex(folder).manifest
    assert (manifest.window_seconds, manifest.stride_seconds) == (WINDOWS.window_seconds, WINDOWS.stride_seconds)
