"""Rows in other forms hold what the table holds, and need nothing but numpy or json to read."""

import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tristream.fusion.export import JsonLines, json_line, write_rows
from tristream.fusion.parts import COLUMNS
from tristream.fusion.state import State
from tristream.streams.errors import TableError

sys.path.append(str(Path(__file__).parent))
from fake_rows import KIND, content_of, rows_for

ROWS = [*rows_for("/a.avi"), *rows_for("/bad.avi", ok=False), *rows_for("/vidéo.avi", clips=1)]


def test_npz_is_read_without_pickle_and_holds_every_column(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.npz", ROWS)
    with np.load(tmp_path / "rows.npz", allow_pickle=False) as file:
        arrays = dict(file)
    assert set(arrays) == {"id", "embedding", *(name for name, _ in COLUMNS)}
    assert arrays["embedding"].shape == (3 + 1 + 2, 5)
    assert arrays["embedding"].dtype == np.float32
    np.testing.assert_array_equal(arrays["embedding"][1], ROWS[1]["embedding"])
    assert np.isnan(arrays["embedding"][3]).all()
    assert arrays["path"].tolist() == [row["path"] for row in ROWS]
    assert arrays["error"].tolist() == ["", "", "", "/bad.avi is damaged", "", ""]
    assert arrays["has_spatial"].tolist() == [True, True, True, False, True, True]
    assert arrays["width"].tolist() == [0] * 6
    assert np.isnan(arrays["duration_seconds"][3])
    assert arrays["duration_seconds"][0] == 4.0


@pytest.mark.parametrize("rows", [[], rows_for("/bad.avi", ok=False)])
def test_npz_of_no_embedding_has_the_same_columns_and_types(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    write_rows(tmp_path / "some.npz", ROWS)
    write_rows(tmp_path / "none.npz", rows)
    with np.load(tmp_path / "some.npz") as some, np.load(tmp_path / "none.npz") as none:
        assert set(some) == set(none)
        for name in some:
            assert some[name].dtype.kind == none[name].dtype.kind, name
            assert len(none[name]) == len(rows)


def test_jsonl_gives_the_embeddings_back_exactly(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    read = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(read) == len(ROWS)
    for row, made in zip(read, ROWS, strict=True):
        if made["embedding"] is None:
            assert row["embedding"] is None
        else:
            np.testing.assert_array_equal(np.array(row["embedding"], np.float32), made["embedding"])
        assert {name: row[name] for name, _ in COLUMNS} == {name: made[name] for name, _ in COLUMNS}


def test_json_has_no_nan() -> None:
    row = ROWS[0] | {"fps": float("inf"), "embedding": np.array([np.nan, 0.1], np.float32)}

    def refuse(word: str) -> None:
        raise AssertionError(word)

    read = json.loads(json_line(row), parse_constant=refuse)
    assert read["fps"] is None
    assert read["embedding"] == [None, 0.100000001]


def test_json_lines_are_written_as_they_come_and_remember_nothing() -> None:
    file = io.StringIO()
    sink = JsonLines(file)
    sink.begin(KIND)
    sink.put(rows_for("/a.avi"))
    assert len(file.getvalue().splitlines()) == 3
    assert sink.state("/a.avi", content_of("/a.avi"), False) is State.NEW
    assert sink.holds(content_of("/a.avi")) == []
    sink.flush_if_due()


def test_a_file_that_cannot_be_written_says_where_its_rows_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.npz"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TableError, match=r"No space left on device. Its rows are kept in .*rows\.npz\.partial"):
        write_rows(path, ROWS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.npz"]
    assert path.read_bytes() == b"old"
