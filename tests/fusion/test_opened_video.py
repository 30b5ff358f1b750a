"""What happens while a file is embedded: CNN calls side by side, in order, and none left behind."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

import tristream
from tristream.fusion import opened_video
from tristream.fusion.model import Model
from tristream.fusion.windows import Windows

MakeVideo = Callable[..., Path]


@pytest.fixture
def camera() -> Model:
    return tristream.load_model("camera", device="cpu")


@pytest.fixture(scope="module")
def clip(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("clip") / "clip.mkv", seconds=8, fps=25)


def test_a_slow_call_does_not_change_the_order(camera: Model, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = camera.embed(clip, window=1.0, batch_size=5).vector
    features, calls = camera.streams["temporal"].features, []

    def slow_at_first(inputs: NDArray[np.float16]) -> Tensor:
        calls.append(len(inputs))
        time.sleep(0.3 if len(calls) in (1, 4) else 0)
        return features(inputs)

    monkeypatch.setattr(camera.streams["temporal"], "features", slow_at_first)
    result = camera.embed(clip, window=1.0, batch_size=5)
    assert len(calls) > 10
    np.testing.assert_array_equal(result.vector, expected)


def test_an_error_of_a_call_reaches_the_caller(camera: Model, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(inputs: NDArray[np.float16]) -> Tensor:
        raise MemoryError("no room for it")

    monkeypatch.setattr(camera.streams["temporal"], "features", fails)
    with pytest.raises(MemoryError, match="no room for it"):
        camera.embed(clip)
    monkeypatch.undo()
    assert camera.embed(clip).present["temporal"]  # and the threads are still there


def test_calls_that_wait_end_with_a_consumer_that_stops(
    camera: Model, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, calls = camera.streams["temporal"].features, []

    def slow(inputs: NDArray[np.float16]) -> Tensor:
        calls.append(len(inputs))
        time.sleep(0.3)
        return features(inputs)

    monkeypatch.setattr(camera.streams["temporal"], "features", slow)
    with ThreadPoolExecutor(1) as one, camera.open(clip, Windows(0.4, 0.4), batch_size=2) as opened:
        monkeypatch.setattr(opened_video, "cnn_pool", lambda: one)
        next(clips := opened.clips())
        time.sleep(0.1)  # now one is at work, and another waits behind it
        made = len(calls)
        clips.close()
        time.sleep(0.8)
    assert len(calls) == made


@pytest.mark.parametrize(("window", "told"), [(0.01, True), (0.1, True), (0.2, True), (0.5, False), (1.0, False)])
def test_windows_shorter_than_the_time_between_steps_are_told_of(clip: Path, window: float, told: bool) -> None:
    model = tristream.load_model("pocket", device="cpu", streams=("spatial",))
    result = model.embed(clip, window=window)
    assert (len(result.clips) < 8 / window) == told
    warning = f"some windows of {window:g} s have no picture: per-second takes one each 0.28 s"
    assert result.warnings == ((warning,) if told else ())


def test_windows_shorter_than_a_frame_have_its_picture_where_each_frame_is_a_step(clip: Path) -> None:
    model = tristream.load_model("pocket", device="cpu", streams=("spatial",), sampling="uniform")
    result = model.embed(clip, window=0.03)
    assert len(result.clips) >= 8 / 0.03 - 1
    assert result.warnings == ()
