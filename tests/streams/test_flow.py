"""Flow engines: known shifts come back, stillness gives nothing, published errors are met, bad input is named."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file
from torchvision.models.optical_flow import Raft_Small_Weights, raft_small

from tristream.streams import flow as flow_module
from tristream.streams.config import FlowConfig
from tristream.streams.errors import FlowError, ModelError, UsageError
from tristream.streams.flow import ENGINES, SHORTEST_SIDE, DisEngine, FlowFrame, make_engine, mean_length
from tristream.streams.motion_vectors import VECTOR_DTYPE, MotionVectors

HEIGHT, WIDTH = 72, 96
MARGIN = 8
GRAY_ENGINES = ["dis", "tvl1", "farneback"]


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """What CI has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def texture(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """A smooth random picture with a margin around it to move within."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height + 2 * MARGIN, width + 2 * MARGIN))
    smooth = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 2.5)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def shifted(picture: NDArray[np.uint8], dx: int, dy: int) -> FlowFrame:
    """The middle of `picture`, moved right by dx and down by dy pixels."""
    rows, columns = (slice(MARGIN - d, picture.shape[axis] - MARGIN - d) for axis, d in ((0, dy), (1, dx)))
    return FlowFrame(picture[rows, columns])


def inner(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """The flow away from the edges, where the picture has moved out of sight."""
    return flow[MARGIN:-MARGIN, MARGIN:-MARGIN]


@pytest.mark.parametrize("name", GRAY_ENGINES)
@settings(max_examples=6, deadline=None)
@given(dx=st.integers(-4, 4), dy=st.integers(-4, 4), seed=st.integers(0, 100))
def test_a_shifted_picture_gives_its_shift(name: str, dx: int, dy: int, seed: int) -> None:
    picture = texture(seed)
    flow = make_engine(FlowConfig(name))(shifted(picture, 0, 0), shifted(picture, dx, dy))
    assert flow.shape == (HEIGHT, WIDTH, 2)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(np.median(inner(flow), axis=(0, 1)), [dx, dy], atol=0.15)
    assert mean_length(inner(flow)) == pytest.approx(np.hypot(dx, dy), abs=0.4)


@pytest.mark.parametrize("name", GRAY_ENGINES)
def test_identical_pictures_give_no_flow(name: str) -> None:
    frame = shifted(texture(), 0, 0)
    assert mean_length(make_engine(FlowConfig(name))(frame, frame)) < 0.02


@pytest.mark.parametrize("name", GRAY_ENGINES)
def test_engines_hold_nothing_between_pairs(name: str) -> None:
    picture, engine = texture(), make_engine(FlowConfig(name))
    pair = shifted(picture, 0, 0), shifted(picture, 3, 1)
    first = engine(*pair)
    engine(shifted(picture, 4, 4), shifted(picture, -4, -4))
    np.testing.assert_array_equal(engine(*pair), first)


def test_engines_say_what_they_take() -> None:
    assert list(ENGINES) == ["dis", "tvl1", "farneback", "raft", "codec"]
    for name in (*GRAY_ENGINES, "codec"):
        engine = make_engine(FlowConfig(name))
        assert (engine.pixel_format, engine.needs_motion_vectors) == ("gray", name == "codec")


def test_unknown_engine_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="dis, tvl1, farneback, raft, codec, got 'lucas'"):
        make_engine(FlowConfig("lucas"))  # type: ignore[arg-type]


def test_pictures_are_checked() -> None:
    engine = make_engine(FlowConfig())
    frame = shifted(texture(), 0, 0)
    with pytest.raises(UsageError, match=r"one shape, got \(72, 96\) and \(72, 95\)"):
        engine(frame, FlowFrame(frame.picture[:, 1:]))
    with pytest.raises(UsageError, match="gray pictures"):
        engine(*[FlowFrame(np.zeros((64, 64, 3), np.uint8))] * 2)
    for config in (FlowConfig(height=8), FlowConfig(width=SHORTEST_SIDE - 1)):  # OpenCV would end the process
        with pytest.raises(UsageError, match="at least 16 pixels"):
            make_engine(config)
    with pytest.raises(UsageError, match="height = 8"):
        engine(*[FlowFrame(frame.picture[:8])] * 2)


@pytest.mark.parametrize("name", GRAY_ENGINES)
def test_the_smallest_picture_works(name: str) -> None:
    picture = texture(0, SHORTEST_SIDE, SHORTEST_SIDE)
    flow = make_engine(FlowConfig(name))(shifted(picture, 0, 0), shifted(picture, 1, 0))
    np.testing.assert_allclose(np.median(flow, axis=(0, 1)), [1, 0], atol=0.2)


def test_small_pictures_take_one_thread_and_leave_the_number_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before, told = cv2.getNumThreads(), []
    engine = DisEngine("fast")
    calculate = engine._dis.calc

    class Telling:
        def calc(self, *arguments: object) -> object:
            told.append(cv2.getNumThreads())
            return calculate(*arguments)

    monkeypatch.setattr(engine, "_dis", Telling())
    try:
        cv2.setNumThreads(3)
        for height, width in ((120, 160), (240, 320)):
            frame = FlowFrame(np.zeros((height, width), np.uint8))
            engine(frame, frame)
        assert (told, cv2.getNumThreads()) == ([1, 3], 3)
        with flow_module._one_thread, flow_module._one_thread:  # of two videos at once
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_mean_length() -> None:
    flow = np.zeros((4, 4, 2), np.float32)
    flow[:2] = 3, -4
    assert mean_length(flow) == 2.5


def test_codec_without_motion_vectors_points_to_dis() -> None:
    frame = FlowFrame(np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(FlowError, match="--flow dis"):
        make_engine(FlowConfig("codec"))(frame, frame)


def test_codec_answers_at_the_size_of_the_picture() -> None:
    vectors = np.zeros(12, VECTOR_DTYPE)
    rows, columns = np.divmod(np.arange(12), 4)
    vectors["source"], vectors["w"], vectors["h"], vectors["motion_scale"] = -1, 16, 16, 1
    vectors["dst_x"], vectors["dst_y"], vectors["motion_x"] = columns * 16 + 8, rows * 16 + 8, -2
    picture = np.zeros((24, 128), np.uint8)  # half as high and twice as wide as the coded 48 x 64
    intra, moved = MotionVectors(vectors[:0], 48, 64, "I"), MotionVectors(vectors, 48, 64, "P")
    flow = make_engine(FlowConfig("codec"))(FlowFrame(picture, intra), FlowFrame(picture, moved))
    np.testing.assert_allclose(flow, np.broadcast_to([4, 0], (24, 128, 2)), atol=1e-6)


def test_importing_flow_brings_no_torch() -> None:
    code = "import sys, tristream.streams.flow; print('torch' in sys.modules, 'av' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_raft_pads_and_cuts_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(raft_small(weights=None).state_dict(), tmp_path / "raft.safetensors")
    engine = make_engine(FlowConfig("raft"), tmp_path / "raft.safetensors")
    assert (engine.pixel_format, engine.needs_motion_vectors) == ("rgb24", False)
    flow = engine(*[FlowFrame(np.full((33, 130, 3), value, np.uint8)) for value in (0, 255)])
    assert flow.shape == (33, 130, 2)
    assert flow.dtype == np.float32
    assert np.isfinite(flow).all()


def test_raft_refuses_weights_of_another_model(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"other.safetensors lacks \d+ of \d+ tensors"):
        make_engine(FlowConfig("raft"), tmp_path / "other.safetensors")


def test_raft_without_network_asks_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(Raft_Small_Weights, "get_state_dict", offline)
    with pytest.raises(ModelError, match="--flow-weights FILE"):
        make_engine(FlowConfig("raft"))


# End-point error in pixels on the three pairs of FlyingChairs; RAFT's as torchvision's weights reach it.
PUBLISHED = {"dis": [2.70, 0.64, 3.02], "raft": [1.14, 0.58, 1.50]}


@pytest.mark.reference
@pytest.mark.parametrize("name", ["dis", pytest.param("raft", marks=pytest.mark.slow)])
def test_end_point_error(shared: Path, name: str) -> None:
    weights = shared / "weights/raft_small.safetensors" if name == "raft" else None
    engine = make_engine(FlowConfig(name), weights)
    code = cv2.IMREAD_COLOR_RGB if name == "raft" else cv2.IMREAD_GRAYSCALE
    for pair, published in enumerate(PUBLISHED[name], start=1):
        stem = f"{shared}/data/flow/0000{pair}"
        frames = [FlowFrame(np.asarray(cv2.imread(f"{stem}_img{k}.ppm", code), np.uint8)) for k in (1, 2)]
        assert end_point_error(engine(*frames), Path(f"{stem}_flow.flo")) == pytest.approx(published, rel=0.05)


def end_point_error(flow: NDArray[np.float32], truth: Path) -> float:
    """Mean distance in pixels to the flow of a Middlebury .flo file: 12 bytes of head, then (H, W, 2) float32."""
    expected = np.frombuffer(truth.read_bytes(), "<f4", offset=12).reshape(flow.shape)
    return float(np.linalg.norm(flow - expected, axis=2).mean())


@pytest.mark.reference
def test_raft_on_a_picture_of_odd_size(shared: Path) -> None:
    picture = cv2.cvtColor(texture(), cv2.COLOR_GRAY2RGB)
    frames = [FlowFrame(shifted(picture, dx, dy).picture[:67, :91]) for dx, dy in ((0, 0), (3, -2))]
    flow = make_engine(FlowConfig("raft"), shared / "weights/raft_small.safetensors")(*frames)
    assert flow.shape == (67, 91, 2)
    np.testing.assert_allclose(np.median(inner(flow), axis=(0, 1)), [3, -2], atol=0.3)
