"""Motion vectors: blocks become fields of the right size, place and sign, and agree with DIS on real bit streams."""

from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tristream.streams.config import FlowConfig
from tristream.streams.errors import FlowError
from tristream.streams.flow import FlowFrame, make_engine
from tristream.streams.motion_vectors import (
    OUTSIDE_PIXELS,
    VECTOR_DTYPE,
    VECTORLESS_PAIRS,
    CodecFlow,
    MotionVectors,
    densify,
    paint,
)

HEIGHT, WIDTH = 48, 64


def motion(
    kind: str,
    displacement: tuple[float, float] | None,
    *,
    source: int = -1,
    block: int = 16,
    height: int = HEIGHT,
    width: int = WIDTH,
    turns: int = 0,
) -> MotionVectors:
    """A picture whose blocks all moved by `displacement` from (or, source > 0, towards) their reference."""
    if displacement is None:
        return MotionVectors(np.zeros(0, VECTOR_DTYPE), height, width, kind, turns)
    y, x = np.mgrid[block // 2 : height : block, block // 2 : width : block]
    vectors = np.zeros(x.size, VECTOR_DTYPE)
    vectors["source"], vectors["w"], vectors["h"], vectors["motion_scale"] = source, block, block, 4
    vectors["dst_x"], vectors["dst_y"] = x.ravel(), y.ravel()
    vectors["motion_x"] = round(displacement[0] * 4 * np.sign(source))
    vectors["motion_y"] = round(displacement[1] * 4 * np.sign(source))
    return MotionVectors(vectors, height, width, kind, turns)


def follow(*frames: MotionVectors) -> list[NDArray[np.float32]]:
    """The flow between consecutive frames."""
    flow = CodecFlow()
    return [flow(a, b, HEIGHT, WIDTH) for a, b in pairwise(frames)]


def mean(flow: NDArray[np.float32]) -> list[float]:
    """The mean vector, x then y."""
    return [float(value) for value in flow.mean((0, 1))]


def joined(*parts: MotionVectors) -> MotionVectors:
    """The vectors of several for one picture."""
    vectors = np.concatenate([part.vectors for part in parts])
    return MotionVectors(vectors, parts[0].height, parts[0].width, parts[0].picture_type)


def test_dtype_is_that_of_pyav(tmp_path: Path) -> None:
    frames = encode(tmp_path / "pan.avi", "mpeg4", {}, count=2)
    assert frames[1].motion is not None
    assert frames[1].motion.vectors.dtype == VECTOR_DTYPE


def test_fractions_of_a_pixel_survive() -> None:
    (flow,) = follow(motion("I", None), motion("P", (1.25, -0.5)))
    assert flow.shape == (HEIGHT, WIDTH, 2)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(flow, np.broadcast_to([1.25, -0.5], flow.shape), atol=1e-6)


def test_distance_to_the_reference_divides() -> None:
    *_, last = follow(motion("I", None), motion("B", (1, 0)), motion("B", (2, 0)), motion("P", (6, 3)))
    assert mean(last) == pytest.approx([2, 1])


def test_distance_is_counted_anew_after_each_anchor() -> None:
    flows = follow(motion("I", None), motion("B", (2, 0)), motion("P", (4, 0)), motion("I", None), motion("P", (3, 0)))
    assert [mean(flow)[0] for flow in flows] == pytest.approx([2, 2, 2, 3])


def test_b_pictures_may_refer_to_each_other() -> None:
    # I B P brings the prior of 3 a frame; the last B is two frames after P but refers to the B before it
    frames = [motion("I", None), motion("P", (3, 0)), motion("B", (3, 0)), motion("B", (3.5, 0))]
    assert mean(follow(*frames)[-1])[0] == pytest.approx(3.5)
    frames[-1] = motion("B", (7, 0))
    assert mean(follow(*frames)[-1])[0] == pytest.approx(3.5)


def test_vectors_from_the_future_only_serve_where_there_are_none_from_the_past() -> None:
    start = (motion("I", None), motion("P", (2, 1)))
    assert mean(follow(*start, motion("B", (2.5, 1), source=1))[-1]) == pytest.approx([2.5, 1])
    both = joined(motion("B", (2, 1)), motion("B", (4, 4), source=1))
    assert mean(follow(*start, both)[-1]) == pytest.approx([2, 1])


def test_zeros_of_a_b_picture_are_unknown_and_of_a_p_picture_a_stop() -> None:
    start = (motion("I", None), motion("P", (5, 0)))
    zeros = joined(motion("B", (0, 0)), motion("B", (0, 0), source=1))
    assert mean(follow(*start, zeros)[-1])[0] == pytest.approx(5)
    assert mean(follow(*start, motion("P", (0, 0)))[-1])[0] == 0


def test_a_picture_without_vectors_holds_the_last_field() -> None:
    flows = follow(motion("I", None), motion("P", (4, -2)), motion("I", None), motion("P", None))
    assert [mean(flow) for flow in flows] == [pytest.approx([4, -2])] * 3


def test_the_start_of_a_video_is_zero_and_a_video_of_i_pictures_an_error() -> None:
    intra = motion("I", None)
    assert not np.any(follow(intra, intra))
    with pytest.raises(FlowError, match="--flow dis"):
        follow(*[intra] * (VECTORLESS_PAIRS + 2))


def test_intra_blocks_take_the_motion_around_them() -> None:
    pan = motion("P", (3, 0))
    holes = MotionVectors(np.delete(pan.vectors, [5, 6]), HEIGHT, WIDTH, "P")
    (flow,) = follow(motion("I", None), holes)
    np.testing.assert_allclose(flow[..., 0], 3, atol=1e-5)


def test_stray_vectors_are_taken_out() -> None:
    pan = motion("P", (3, 0), block=8)
    pan.vectors["motion_x"][20] = 40 * 4
    (flow,) = follow(motion("I", None), pan)
    np.testing.assert_allclose(flow[..., 0], 3, atol=1e-5)


def test_a_new_picture_size_forgets_the_last_field() -> None:
    flow = CodecFlow()
    flow(motion("I", None), motion("P", (4, 0)), HEIGHT, WIDTH)
    larger = motion("I", None, height=96, width=128)
    assert not flow(motion("P", (4, 0)), larger, HEIGHT, WIDTH).any()


def test_paint_puts_blocks_where_they_are() -> None:
    vectors = np.zeros(3, VECTOR_DTYPE)
    vectors["source"], vectors["motion_scale"] = -1, 2
    vectors["w"], vectors["h"] = [16, 8, 16], [16, 8, 8]
    vectors["dst_x"], vectors["dst_y"] = [24, 4, 40], [8, 20, 36]
    vectors["motion_x"] = [-2, -4, -6]
    grid = paint(MotionVectors(vectors, HEIGHT, WIDTH, "P"), past=True)
    expected = np.full((6, 8), np.nan)
    expected[:2, 2:4], expected[2, 0], expected[4, 4:6] = 1, 2, 3
    np.testing.assert_array_equal(grid[..., 0], expected)


def test_several_vectors_in_a_cell_are_averaged() -> None:
    grid = paint(joined(motion("B", (2, 0)), motion("B", (4, -2))), past=True)
    np.testing.assert_array_equal(grid, np.broadcast_to([3, -1], (6, 8, 2)))


def test_damaged_vectors_are_clipped() -> None:
    generator = np.random.default_rng(0)
    vectors = np.frombuffer(generator.bytes(500 * VECTOR_DTYPE.itemsize), VECTOR_DTYPE).copy()
    (flow,) = follow(motion("I", None), MotionVectors(vectors, HEIGHT, WIDTH, "P"))
    assert np.isfinite(flow).all()
    assert np.abs(flow).max() <= WIDTH
    grid = paint(motion("P", (30_000, 0)), past=True)
    assert grid[0, 0, 0] == 8 + OUTSIDE_PIXELS  # from the left edge's surroundings to the first block's centre


def test_target_pixels_scale_each_axis() -> None:
    field = np.broadcast_to(np.float32([4, 6]), (6, 8, 2))
    flow = densify(field, motion("P", None), HEIGHT // 2, WIDTH * 2)
    assert flow.shape == (24, 128, 2)
    np.testing.assert_allclose(flow, np.broadcast_to([8, 3], flow.shape), rtol=1e-6)


def test_a_cut_last_cell_does_not_stretch_the_field() -> None:
    field = np.zeros((6, 8, 2), np.float32)  # the cells of a picture of 44 x 60
    field[:, 4:] = 1
    flow = densify(field, motion("P", None, height=44, width=60), 44, 60)
    assert flow[0, 31, 0] < 0.5 < flow[0, 32, 0]  # the step stays at pixel 4 * 8


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_rotation_turns_places_and_vectors(turns: int) -> None:
    generator = np.random.default_rng(turns)
    texture = cv2.GaussianBlur(generator.uniform(0, 255, (HEIGHT + 9, WIDTH + 9)).astype(np.float32), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    before, after = texture[4:-5, 4:-5], texture[5:-4, 1:-8]  # moves by (3, -1)
    upright = [FlowFrame(np.rot90(picture, turns)) for picture in (before, after)]
    height, width = upright[0].picture.shape
    expected = make_engine(FlowConfig("dis", height, width))(*upright)
    flow = CodecFlow()(motion("I", None), motion("P", (3, -1), turns=turns), height, width)
    assert flow.shape == (height, width, 2)
    assert mean(flow) == pytest.approx(np.median(expected, axis=(0, 1)).tolist(), abs=0.1)

    field = np.zeros((6, 8, 2), np.float32)
    field[0, 0] = 1, 0  # top left of the coded picture
    corner = np.rot90(field[..., 0], turns) > 0
    dense = densify(field, motion("P", None, turns=turns), *corner.shape)
    assert np.array_equal(np.abs(dense).sum(axis=2) > 0.1, corner)


def encode(path: Path, codec: str, options: dict[str, str], count: int = 20) -> list[FlowFrame]:
    """A pan over a texture, with a camera's noise, encoded and decoded again: frames with motion vectors."""
    generator = np.random.default_rng(0)
    texture = cv2.GaussianBlur(generator.uniform(0, 255, (240, 320)).astype(np.float32), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25, width=160, height=128, pix_fmt="yuv420p", bit_rate=800_000)
        stream.codec_context.options = options
        for i in range(count):
            shift = np.array([[1.0, 0, 20 + 2.6 * i], [0, 1, 80 - 1.7 * i]])
            view = cv2.warpAffine(texture, shift, (160, 128), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
            noisy = np.clip(view + generator.normal(0, 4, view.shape), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="gray").reformat(format="yuv420p")))
        container.mux(stream.encode())
    return decode(path)


def decode(path: Path, limit: int = 1000) -> list[FlowFrame]:
    """The gray frames of a file with their motion vectors."""
    frames: list[FlowFrame] = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"flags2": "+export_mvs"}
        for frame in container.decode(stream):
            data = frame.side_data.get("MOTION_VECTORS")
            vectors = np.zeros(0, VECTOR_DTYPE) if data is None else data.to_ndarray()
            kind = av.video.frame.PictureType(frame.pict_type).name
            motion_vectors = MotionVectors(vectors, frame.height, frame.width, kind)
            frames.append(FlowFrame(frame.to_ndarray(format="gray"), motion_vectors))
            if len(frames) == limit:
                break
    return frames


def mean_vectors(frames: list[FlowFrame], engine: str) -> NDArray[np.float64]:
    """The mean flow vector (N, 2) of each pair."""
    height, width = frames[0].picture.shape
    calculate = make_engine(FlowConfig(engine, height, width))
    return np.array([mean(calculate(a, b)) for a, b in pairwise(frames)])


def cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine (N,) between vectors (N, 2)."""
    return (a * b).sum(axis=1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-9)


def length(vectors: NDArray[np.float64]) -> float:
    """Mean length of vectors (N, 2)."""
    return float(np.linalg.norm(vectors, axis=1).mean())


@pytest.mark.parametrize(
    ("codec", "options", "name", "has_b"),
    [
        ("libx264", {"bf": "0", "refs": "1"}, "pan.mp4", False),
        ("libx264", {"bf": "3", "b_strategy": "0", "b-pyramid": "none"}, "pan.mp4", True),
        ("libx264", {}, "pan.mp4", True),  # up to 3 B pictures that refer to each other, and 3 references
        ("mpeg4", {}, "pan.avi", False),
        ("mpeg4", {"bf": "2"}, "pan.avi", True),
        ("mpeg2video", {"bf": "2"}, "pan.mpg", True),
    ],
)
def test_agrees_with_dis_on_a_pan(tmp_path: Path, codec: str, options: dict[str, str], name: str, has_b: bool) -> None:
    frames = encode(tmp_path / name, codec, options)
    kinds = [frame.motion.picture_type for frame in frames if frame.motion]
    assert ("B" in kinds) == has_b
    known = kinds.index("P") - 1  # MPEG-4's B pictures tell nothing before the first P
    codec_mean, dis_mean = mean_vectors(frames, "codec")[known:], mean_vectors(frames, "dis")[known:]
    assert dis_mean.mean(axis=0) == pytest.approx([-2.6, 1.7], abs=0.1)
    assert cosines(codec_mean, dis_mean).min() > 0.95
    assert length(codec_mean) == pytest.approx(length(dis_mean), rel=0.3)


def test_several_references_lengthen_vectors_and_keep_their_direction(tmp_path: Path) -> None:
    """FFmpeg does not tell which reference an H.264 vector is to: on a pan as regular as this, half go astray."""
    frames = encode(tmp_path / "pan.mp4", "libx264", {"bf": "0", "refs": "3"})
    codec_mean, dis_mean = mean_vectors(frames, "codec"), mean_vectors(frames, "dis")
    assert cosines(codec_mean, dis_mean).min() > 0.95
    assert 1 < length(codec_mean) / length(dis_mean) < 2


@pytest.mark.reference
@pytest.mark.parametrize("name", ["HorseRace", "Surfing"])
def test_agrees_with_dis_on_camera_pans(shared: Path, name: str) -> None:
    frames = decode(sorted((shared / "data/ucf101-6c/test" / name).glob("*.avi"))[1], limit=40)
    codec_mean, dis_mean = mean_vectors(frames, "codec"), mean_vectors(frames, "dis")
    moving = np.linalg.norm(dis_mean, axis=1) > 0.5  # pixels
    assert moving.sum() > 30
    assert cosines(codec_mean, dis_mean)[moving].mean() > 0.97
    assert length(codec_mean) == pytest.approx(length(dis_mean), rel=0.3)
