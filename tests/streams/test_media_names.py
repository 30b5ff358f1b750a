"""Names of files in, opened or refused with a message that names them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tristream.streams.errors import MediaError
from tristream.streams.media import MediaReader, probe

MakeVideo = Callable[..., Path]
SMALL = {"seconds": 0.4, "height": 64, "width": 96}


@pytest.mark.parametrize("name", ["a:b.avi", "x%d.avi", "two words.avi", "http:__host.avi", "-.avi", b"\xff\xfe.avi"])
def test_any_file_name_is_a_file_name(name: str | bytes, tmp_path: Path, make_video: MakeVideo) -> None:
    written = make_video(tmp_path / "plain.avi", **SMALL)
    path = written.rename(tmp_path / os.fsdecode(name))
    with MediaReader(path) as reader:
        assert len(list(reader)) == 10


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    fifo, empty, text = tmp_path / "fifo.avi", tmp_path / "empty.avi", tmp_path / "text.avi"
    os.mkfifo(fifo)
    empty.touch()
    text.write_text("this is no video\n" * 100)
    for path, why in {
        fifo: "not a regular file",
        tmp_path: "not a regular file",
        Path("/dev/null"): "not a regular file",
        empty: "is empty",
        text: "cannot be opened",
        tmp_path / "none.avi": "no such file",
        text / "below.avi": "cannot be opened",
        tmp_path / ("x" * 300): "cannot be opened",
        tmp_path / "nul\0.avi": "cannot be opened",
    }.items():
        with pytest.raises(MediaError, match=why) as caught:
            probe(path)
        assert str(path) in str(caught.value)


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "mine.avi", **SMALL)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tristream.streams.media.av.open", denied)
    with pytest.raises(MediaError, match=r"mine\.avi cannot be opened.*Permission denied"):
        probe(path)
