"""A model embeds files: three streams, one vector a clip, the same however it is asked."""

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tristream
from tristream.fusion.assemble import build_parts
from tristream.fusion.config import CAMERA, POCKET
from tristream.fusion.model import Model
from tristream.fusion.overrides import Overrides
from tristream.fusion.plan import step_plan
from tristream.fusion.source import find_model
from tristream.fusion.windows import Windows
from tristream.streams.config import StreamName
from tristream.streams.grid import Grid

MakeVideo = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore:model pocket.* untrained:UserWarning")


@pytest.fixture(scope="module")
def pocket() -> Model:
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tristream.load_model("pocket", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def clip(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("clips") / "clip.mkv", seconds=3, fps=20, sound_hz=16_000)


def test_an_untrained_model_warns_on_loading() -> None:
    with pytest.warns(UserWarning, match="pocket: untrained weights"):
        model = tristream.load_model("pocket", streams=("audio",), recurrent="lstm", untrained=True)
    assert model.source.untrained == ("audio.recurrent",)


def test_one_clip_with_three_streams(pocket: Model, clip: Path) -> None:
    result = pocket.embed(clip)
    assert pocket.dims == {"spatial": 256, "temporal": 256, "audio": 256}
    assert result.vector.shape == (768,)
    assert result.vector.dtype == np.float32
    assert np.isfinite(result.vector).all()
    assert result.present == {"spatial": True, "temporal": True, "audio": True}
    assert result.error is None
    assert result.warnings == ()
    (only,) = result.clips
    assert (only.start_seconds, only.end_seconds) == (0.0, result.duration_seconds)
    np.testing.assert_array_equal(only.vector, result.vector)
    np.testing.assert_array_equal(only.stream("temporal"), result.vector[256:512])
    with pytest.raises(tristream.UsageError, match="no stream 'smell'"):
        only.stream("smell")


def test_a_silent_video_has_no_audio_vector(pocket: Model, make_video: MakeVideo, tmp_path: Path) -> None:
    result = pocket.embed(make_video(tmp_path / "silent.avi", seconds=1))
    assert result.present == {"spatial": True, "temporal": True, "audio": False}
    assert not result.stream("audio").any()
    assert result.stream("spatial").any()


def test_a_sound_file_has_an_audio_vector_only(pocket: Model, make_video: MakeVideo, tmp_path: Path) -> None:
    result = pocket.embed(make_video(tmp_path / "tone.wav", video=False, seconds=2, sound_hz=8000))
    assert result.present == {"spatial": False, "temporal": False, "audio": True}
    assert not result.stream("spatial").any()
    assert (result.width, result.height, result.fps) == (None, None, None)


def test_a_single_picture_looks_but_does_not_move(pocket: Model, make_video: MakeVideo, tmp_path: Path) -> None:
    picture = np.zeros((1, 64, 64, 3), np.uint8)
    result = pocket.embed(make_video(tmp_path / "one.avi", frames=picture))
    assert result.present == {"spatial": True, "temporal": False, "audio": False}


def test_windows_over_a_longer_video(pocket: Model, clip: Path) -> None:
    result = pocket.embed(clip, window=1.0)
    assert [(c.start_seconds, round(c.end_seconds, 2)) for c in result.clips] == [(0, 1), (1, 2), (2, 3)]
    overlapping = pocket.embed(clip, window=1.0, stride=0.5)
    assert [c.start_seconds for c in overlapping.clips] == [0, 0.5, 1, 1.5, 2]
    # The steps are the same, so clips of the same span have the same picture and motion.
    for ours, theirs in zip(result.clips, overlapping.clips[::2], strict=True):
        np.testing.assert_allclose(ours.stream("spatial"), theirs.stream("spatial"), atol=1e-5)
    weights = [c.end_seconds - c.start_seconds for c in result.clips]
    mean = np.average([c.stream("spatial") for c in result.clips], axis=0, weights=weights)
    np.testing.assert_allclose(result.stream("spatial"), mean, atol=1e-5)


def test_batch_size_makes_no_difference(pocket: Model, clip: Path) -> None:
    one, other = pocket.embed(clip, batch_size=1), pocket.embed(clip, batch_size=13)
    np.testing.assert_allclose(one.vector, other.vector, atol=1e-4)


def test_a_stream_alone_is_the_same_as_among_others(pocket: Model, clip: Path) -> None:
    alone = tristream.load_model("pocket", streams=("temporal",), device="cpu", dtype="float32")
    assert alone.model_id != pocket.model_id
    result = alone.embed(clip)
    assert result.vector.shape == (256,)
    np.testing.assert_allclose(result.vector, pocket.embed(clip).stream("temporal"), atol=1e-6)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_at_least_one_step(pocket: Model, clip: Path, batch_size: int) -> None:
    with pytest.raises(tristream.UsageError, match="batch_size must be at least 1"):
        pocket.embed(clip, batch_size=batch_size)


def test_different_videos_differ(pocket: Model, clip: Path, make_video: MakeVideo, tmp_path: Path) -> None:
    other = pocket.embed(make_video(tmp_path / "other.mkv", seconds=3, fps=20, seed=5))
    assert np.abs(other.stream("spatial") - pocket.embed(clip).stream("spatial")).max() > 1e-4


def test_what_cannot_be_embedded(pocket: Model, make_video: MakeVideo, tmp_path: Path) -> None:
    with pytest.raises(tristream.MediaError, match="no such file"):
        pocket.embed(tmp_path / "none.avi")
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(tristream.MediaError, match=r"text\.mp4 cannot be opened"):
        pocket.embed(tmp_path / "text.mp4")
    audio = tristream.load_model("pocket", streams=("audio",))
    with pytest.raises(tristream.MediaError, match=r"silent\.avi holds video only, which the streams"):
        audio.embed(make_video(tmp_path / "silent.avi", seconds=1))
    with pytest.raises(tristream.UsageError, match="stride"):
        pocket.embed(tmp_path / "none.avi", window=1, stride=2)


def test_saved_and_loaded_it_is_the_same_model(pocket: Model, clip: Path, tmp_path: Path) -> None:
    pocket.save(tmp_path / "saved", name="mine", card="# mine\n")
    loaded = tristream.load_model(tmp_path / "saved", device="cpu", dtype="float32")
    np.testing.assert_allclose(loaded.embed(clip).vector, pocket.embed(clip).vector, atol=1e-6)
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert names == ["README.md", "audio.safetensors", "model.json", "spatial.safetensors", "temporal.safetensors"]
    manifest = json.loads((tmp_path / "saved" / "model.json").read_text())
    assert manifest["dims"] == {"spatial": 256, "temporal": 256, "audio": 256}
    with pytest.raises(tristream.ModelError, match="not empty"):
        pocket.save(tmp_path / "saved")
    # Another recurrent cell keeps the networks that it does not touch.
    mean = tristream.load_model(tmp_path / "saved", recurrent="mean", streams=("spatial",))
    assert mean.source.weights["spatial.cnn"].path == tmp_path / "saved" / "spatial.safetensors"


@pytest.fixture(scope="module")
def saved(pocket: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "saved"
    pocket.save(folder, card="# a card\n")
    return folder


@pytest.mark.parametrize("stream", ["spatial", "temporal", "audio"])
def test_a_cnn_of_a_saved_model_in_another(pocket: Model, saved: Path, stream: StreamName) -> None:
    """A stream's file is taken whole: its CNN is found in it, its encoder passed over."""
    given = Overrides(**{f"{stream}_weights": saved / f"{stream}.safetensors"})
    other = replace(find_model("pocket", given, untrained=True), config=replace(pocket.source.config, seed=1))
    (cnn, encoder), (own, own_encoder) = build_parts(other)[stream], build_parts(pocket.source)[stream]
    for name, tensor in own.state_dict().items():
        assert torch.equal(cnn.state_dict()[name], tensor), name
    assert any(not torch.equal(encoder.state_dict()[name], each) for name, each in own_encoder.state_dict().items())


def test_a_file_of_another_stream_is_refused(saved: Path) -> None:
    with pytest.raises(tristream.ModelError, match=r"spatial\.safetensors lacks .* of another model\?"):
        tristream.load_model("pocket", temporal_weights=saved / "spatial.safetensors", untrained=True)


@pytest.mark.parametrize("name", ["spatial.safetensors", "audio.safetensors", "README.md"])
def test_a_changed_byte_is_refused(saved: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    path = tmp_path / "copy" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(tristream.ModelError, match=f"{name}.*sha256"):
        tristream.load_model(tmp_path / "copy")
    path.unlink()
    with pytest.raises(tristream.ModelError, match=f"{name} is missing"):
        tristream.load_model(tmp_path / "copy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2, "of": "the future"}, "format 2.*update tristream"),
        ({"surprise": 1}, "unknown keys"),
        ({"architecture": {"spatial": {"backbone": 3}}}, "backbone must be str"),
        ({"architecture": {"sampling": {"strategy": "psychic"}}}, "must be one of"),
        ({"files": {"../../etc/passwd": {"sha256": "", "bytes": 1}}}, "outside the folder"),
    ],
)
def test_a_hostile_manifest_is_refused(saved: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    path = tmp_path / "copy" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(tristream.ModelError, match=message):
        tristream.load_model(tmp_path / "copy")


def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("[" * 100_000)
    with pytest.raises(tristream.ModelError, match="damaged"):
        tristream.load_model(tmp_path)


def test_embed_many_keeps_the_order_and_goes_on_after_a_failure(pocket: Model, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    results = list(pocket.embed_many([clip, tmp_path / "text.mp4", clip], jobs=1))
    assert [result.error is None for result in results] == [True, False, True]
    assert results[1].path == str(tmp_path / "text.mp4")
    assert "cannot be opened" in (results[1].error or "")
    np.testing.assert_allclose(results[0].vector, pocket.embed(clip).vector, atol=1e-5)


def test_a_moment_is_embedded_as_if_the_file_were_cut_there(
    pocket: Model, make_video: MakeVideo, tmp_path: Path
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (75, 15, 20, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    lossless = {"codec": "ffv1", "fps": 25, "sound_hz": 16_000}
    whole = make_video(tmp_path / "whole.mkv", frames=frames, sound_seconds=3.0, **lossless)
    cut = make_video(tmp_path / "cut.mkv", frames=frames[25:65], sound_seconds=1.6, **lossless)
    moment, expected = pocket.embed(whole, moment=(1.0, 2.6)), pocket.embed(cut)
    # The tone is at the same place of its wave, but the encoder's rounding may differ.
    np.testing.assert_allclose(moment.vector, expected.vector, atol=1e-4)
    assert [(clip.start_seconds, clip.end_seconds) for clip in moment.clips] == [(1.0, pytest.approx(2.6, abs=0.01))]
    whole_vector = pocket.embed(whole).vector
    assert np.abs(moment.vector - whole_vector).max() > 1e-3


@pytest.mark.parametrize("moment", [(-1.0, 2.0), (2.0, 2.0), (2.0, 1.0), (float("nan"), 1.0)])
def test_a_moment_that_cannot_be_is_refused(pocket: Model, clip: Path, moment: tuple[float, float]) -> None:
    with pytest.raises(tristream.UsageError, match="a moment starts at 0 s or later and before its end"):
        pocket.embed(clip, moment=moment)


def test_a_moment_beyond_the_end_is_an_error(pocket: Model, clip: Path) -> None:
    with pytest.raises(tristream.MediaError, match=r"nothing of .* lies in 10-12 s: it ends at 3"):
        pocket.embed(clip, moment=(10.0, 12.0))


# Tiles


@pytest.fixture(scope="module")
def camera() -> Model:
    return tristream.load_model("camera", device="cpu")


def test_a_tile_is_a_clip_of_its_own(camera: Model, clip: Path) -> None:
    tiled = camera.embed(clip, window=1, stride=0.5, grid=Grid(2, 3))
    whole = camera.embed(clip, window=1, stride=0.5)
    assert len(tiled.clips) == 6 * len(whole.clips)
    assert [each.tile for each in tiled.clips[:7]] == [0, 1, 2, 3, 4, 5, 0]
    for index, each in enumerate(whole.clips):
        tiles = tiled.clips[6 * index : 6 * index + 6]
        assert {(tile.start_seconds, tile.end_seconds) for tile in tiles} == {(each.start_seconds, each.end_seconds)}
        # No box of a tile is as large as one of the whole, so what moves most in any moves at least as much.
        assert max(tile.vector[17] for tile in tiles) >= 0.95 * each.vector[17]


def test_a_tile_of_the_spatial_stream_sees_its_part_of_the_frame(make_video: MakeVideo, tmp_path: Path) -> None:
    frames = np.full((6, 96, 96, 3), 40, np.uint8)
    frames[:, :48, 48:] = 220  # the upper right quarter is bright
    path = make_video(tmp_path / "quarter.mp4", frames=frames, codec="libx264", video_options={"crf": "1"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = tristream.load_model("pocket", streams=("spatial",), recurrent="mean", untrained=True, dtype="float32")
    tiles = model.embed(path, grid=Grid(3, 3)).clips
    dark, bright, border = tiles[6].vector, tiles[2].vector, tiles[1].vector
    np.testing.assert_allclose(tiles[3].vector, dark, rtol=1e-2, atol=1e-3)  # as dark as the lower left
    assert np.linalg.norm(bright - dark) > 10 * np.linalg.norm(tiles[3].vector - dark)
    assert np.linalg.norm(border - dark) > 10 * np.linalg.norm(tiles[3].vector - dark)


@pytest.mark.parametrize("grid", [Grid(1, 2), Grid(2, 3), Grid(4, 6)])
def test_a_motion_cnn_that_has_learned_sees_tiles_of_the_size_it_learned_on(grid: Grid) -> None:
    learned, fixed = POCKET.flow, CAMERA.flow
    flow = step_plan(POCKET, None, Windows(grid=grid)).flow
    assert flow is not None
    stacks = np.zeros((1, 2, flow.height, flow.width), np.float16)
    assert grid.cut(stacks, axis=2).shape[3:] == (learned.height, learned.width)
    flow = step_plan(CAMERA, None, Windows(grid=grid)).flow
    assert flow is not None
    assert (flow.height, flow.width) == (fixed.height, fixed.width)


def test_sound_goes_to_every_tile(clip: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = tristream.load_model("pocket", streams=("spatial", "audio"), untrained=True)
    tiles = model.embed(clip, grid=Grid(1, 3)).clips
    assert len(tiles) == 3
    for tile in tiles:
        assert tile.present == {"spatial": True, "audio": True}
        np.testing.assert_array_equal(tile.stream("audio"), tiles[0].stream("audio"))


def test_clips_come_as_they_are_known_and_are_those_of_embed(camera: Model, clip: Path) -> None:
    windows = Windows(1.0, 0.25)
    with camera.open(clip, windows) as opened:
        given = list(opened.clips())
    whole = camera.embed(clip, window=1.0, stride=0.25)
    assert [(each.start_seconds, each.end_seconds) for each in given] == [
        (each.start_seconds, each.end_seconds) for each in whole.clips
    ]
    for one, other in zip(given, whole.clips, strict=True):
        np.testing.assert_array_equal(one.vector, other.vector)
