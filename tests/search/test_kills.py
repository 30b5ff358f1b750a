"""An update that is killed, wherever, loses nothing: the next one ends where it would have."""

import multiprocessing
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
from fake_tables import MODEL_ID, put, some_videos, vector_of, video
from updates import fresh, results, update_and_die, zero_centre

from tristream.fusion.embedding import VideoEmbedding
from tristream.search.index import VideoIndex
from tristream.search.update import update_index

# How often each is killed, 50 times in all, spread over everything that it does to the disk.
KILLS = {"an update": 20, "an update that moves the centre": 10, "an index made from nothing": 20}


@pytest.mark.slow
@pytest.mark.parametrize("what", KILLS)
def test_killed_anywhere_and_begun_again_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    still = what == "an update"
    if still:
        monkeypatch.setattr("tristream.search.writer.find_centre", zero_centre)
    context = multiprocessing.get_context("forkserver")  # OpenMP's threads do not survive a fork
    context.set_forkserver_preload(["tristream.search.update"])
    table = put(tmp_path / "table", [video("/long.avi", [vector_of(seed) for seed in range(1100)]), *some_videos(6)])
    start = tmp_path / "start"
    start.mkdir()
    if what != "an index made from nothing":
        before = fresh(table, start)
        put(table, [video("/videos/004.avi", [vector_of(5000)])], contents={"/videos/004.avi": "d" * 64})
        put(table, [VideoEmbedding("/videos/002.avi", MODEL_ID, error="bad")], contents={"/videos/002.avi": "e" * 64})
        put(table, some_videos(8, first=20))
        update_index(table, shutil.copytree(start, tmp_path / "after"), kind="hnsw")
        assert results(tmp_path / "after") != before
    after = fresh(table, tmp_path / "fresh")

    def run_until(call: int, folder: Path) -> int | None:
        process = context.Process(target=update_and_die, args=(str(table), str(folder), call, "hnsw", still))
        process.start()
        process.join()
        return process.exitcode

    assert run_until(-1, shutil.copytree(start, tmp_path / "counted")) == 0
    calls = int((tmp_path / "calls").read_text())
    assert calls >= KILLS[what]
    for call in np.linspace(0, calls - 1, KILLS[what]).round().astype(int).tolist():
        folder = shutil.copytree(start, tmp_path / f"killed-{call}")
        assert run_until(call, folder) == -9
        if what != "an index made from nothing":
            assert results(folder) in (before, after)
        update_index(table, folder, kind="hnsw")
        assert results(folder) == after
        named = {name for name, _ in VideoIndex(folder).manifest.files()}
        assert {path.name for path in folder.iterdir()} == {"index.json", *named}
