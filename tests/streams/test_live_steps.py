"""Steps as they happen are those of the file."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from tristream.streams.config import FlowConfig, SamplingConfig
from tristream.streams.flow import make_engine
from tristream.streams.live_source import Address
from tristream.streams.live_steps import PICTURE_SIDE, Closed, Opened, Piece, Watched, live_steps
from tristream.streams.media import MediaReader
from tristream.streams.picture import PictureFormat
from tristream.streams.pipeline import read_steps
from tristream.streams.steps import StepPlan, Steps, Timings

ENGINE = partial(make_engine, FlowConfig("dis", 48, 64))
PLAN = StepPlan(
    PictureFormat(32, 32), PictureFormat(48, 64, "gray", None, "area"), 10, True, SamplingConfig(), 1.0, stack_stride=5
)


@pytest.fixture
def clip(make_video: Callable[..., Path], tmp_path: Path) -> Path:
    return make_video(tmp_path / "clip.mkv", seconds=3, fps=20, sound_hz=16_000, codec="libx264")


def joined(steps: list[Steps]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Times (T, 3) and inputs (T, ...) of each stream."""
    found = {}
    for stream in {each.stream for each in steps}:
        own = [each for each in steps if each.stream == stream]
        times = np.concatenate([np.stack([each.seconds, each.start_seconds, each.end_seconds], 1) for each in own])
        found[stream] = times, np.concatenate([each.take(slice(None)) for each in own])
    return found


def test_pieces_of_a_file_at_its_pace_are_its_steps(clip: Path) -> None:
    began = time.monotonic()
    opened, *pieces, closed = live_steps(Watched(Address(str(clip), realtime=True), PLAN, ENGINE))
    assert 2.9 < time.monotonic() - began < 8
    assert isinstance(opened, Opened)
    assert opened.info.audio is not None
    assert closed == Closed(None, final=True)
    live = joined([piece.steps for piece in pieces if isinstance(piece, Piece) and piece.steps])
    with MediaReader(clip) as reader:
        filed = joined(list(read_steps(reader, PLAN, ENGINE(), Timings())))
    assert live.keys() == filed.keys() == {"spatial", "temporal", "audio"}
    for stream, (times, inputs) in filed.items():
        np.testing.assert_allclose(live[stream][0], times, atol=1e-9)
        np.testing.assert_array_equal(live[stream][1], inputs)
    last = pieces[-1]
    assert isinstance(last, Piece)
    assert (last.came, last.dropped, last.gaps) == (60, 0, ())
    assert sum(piece.frames for piece in pieces if isinstance(piece, Piece)) == 60
    assert abs(time.monotonic() - last.began_seconds - last.newest_seconds) < 5


def test_pictures_to_show_are_kept_a_few_a_second(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = make_video(tmp_path / "wide.mp4", seconds=1, fps=20, height=90, width=1280)
    watched = Watched(Address(str(path), realtime=True), PLAN, ENGINE, pictures=True)
    pictures = [each for piece in live_steps(watched) if isinstance(piece, Piece) for each in piece.pictures]
    np.testing.assert_allclose([seconds for seconds, _ in pictures], np.arange(10) / 10, atol=2e-3)
    picture = cv2.imdecode(np.frombuffer(pictures[0][1], np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (44, PICTURE_SIDE, 3)


def test_fewer_frames_a_second_where_that_is_asked_for(clip: Path) -> None:
    pieces = live_steps(Watched(Address(str(clip), realtime=True), PLAN, ENGINE, fps=10))
    steps = joined([piece.steps for piece in pieces if isinstance(piece, Piece) and piece.steps])
    np.testing.assert_allclose(steps["spatial"][0][:, 0], np.arange(30) / 10, atol=2e-3)


def test_what_is_no_use_to_try_again_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    said = list(live_steps(Watched(Address(str(tmp_path / "text.mp4"), realtime=True), PLAN, ENGINE)))
    assert [type(each) for each in said] == [Closed]
    assert isinstance(said[0], Closed)
    assert said[0].final
    assert said[0].error is not None
    (lost,) = live_steps(Watched(Address("rtsp://127.0.0.1:9/x"), PLAN, ENGINE))
    assert isinstance(lost, Closed)
    assert not lost.final


def test_signs_come_though_steps_take_long(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = make_video(tmp_path / "long.mp4", seconds=4, fps=10)
    plan = replace(PLAN, sampling=SamplingConfig(max_steps=10), window_seconds=30.0)
    pieces = [
        each for each in live_steps(Watched(Address(str(path), realtime=True), plan, ENGINE)) if type(each) is Piece
    ]
    signs = [piece for piece in pieces if piece.steps is None]
    assert len(signs) >= 2
    assert 0 < signs[0].newest_seconds < 2
    assert pieces[-1].steps is not None


def test_what_goes_wrong_in_foreign_code_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("rtsp://u:secret@h")

    monkeypatch.setattr(Address, "open", fail)
    (said,) = live_steps(Watched(Address("rtsp://u:secret@h/x"), PLAN, ENGINE))
    assert said == Closed("rtsp://***@h/x cannot be read: RuntimeError", final=False)
