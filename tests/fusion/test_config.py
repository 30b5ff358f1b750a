"""The named architectures: what each is made of, by the papers' figures, and that each embeds."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tristream
from tristream.fusion.assemble import build_parts
from tristream.fusion.config import CONVLSTM2024, COREHAR2020, KONAKALLA, LRCN2024, OROZCO2021, ModelConfig
from tristream.fusion.model import Model
from tristream.fusion.overrides import Overrides
from tristream.fusion.source import RECIPES, find_model, parts_of
from tristream.streams.config import STREAM_NAMES, from_json, to_json
from tristream.streams.encoder import build_encoder
from tristream.streams.errors import ModelError, UsageError

MakeVideo = Callable[..., Path]
LARGE = ("corehar2020", "orozco2021", "konakalla")
WHOLE = ("lrcn2024", "convlstm2024")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clip(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("clips") / "clip.avi", seconds=0.5, fps=10, height=48, width=64)


def untrained(name: str | Path, **overrides: object) -> Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is untrained, and says so
        return tristream.load_model(name, device="cpu", dtype="float32", untrained=True, **overrides)  # type: ignore[arg-type]


def trainable(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


# What they are made of


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_named_architecture_is_its_json(name: str) -> None:
    assert from_json(ModelConfig, to_json(RECIPES[name])) == RECIPES[name]
    assert RECIPES[name].streams == (STREAM_NAMES if name == "tkachenko2018" else ("spatial",))


@pytest.mark.parametrize(
    ("config", "features", "vector", "parameters"),
    [
        # dense 1024, 768 -> 512; 3 bidirectional LSTM layers of 512; dense 256
        (COREHAR2020, 2048, 256, 3_279_104 + 4_198_400 + 2 * 6_295_552 + 262_400),
        (OROZCO2021, 7 * 7 * 512, 360, 4 * 360 * (25_088 + 360 + 1)),
        (KONAKALLA, 2048, 512, 4 * 2048 * (2048 + 2048 + 1) + (2048 + 1) * 512),
        (LRCN2024, 64, 32, 12_416),
        (CONVLSTM2024, 64 * 64 * 3, 2880, 1024 + 3488 + 11_144 + 17_344),
    ],
)
def test_encoders_have_the_papers_sizes(config: ModelConfig, features: int, vector: int, parameters: int) -> None:
    assert config.spatial is not None
    with torch.device("meta"):
        encoder = build_encoder(features, config.spatial.recurrent, config.sampling.max_steps)
    assert encoder.vector_size == vector
    assert trainable(encoder) == parameters


def test_steps_are_chosen_as_the_papers_do() -> None:
    sampling = {name: config.sampling for name, config in RECIPES.items()}
    assert (sampling["corehar2020"].strategy, sampling["corehar2020"].frame_jump) == ("every-nth", 4)
    assert (sampling["orozco2021"].strategy, sampling["orozco2021"].max_steps) == ("first", 40)
    assert (sampling["konakalla"].strategy, sampling["konakalla"].max_steps) == ("segments", 40)
    assert {sampling[name].max_steps for name in WHOLE} == {20}
    assert sorted(name for name in RECIPES if sampling[name].repeat_last) == sorted([*WHOLE, "orozco2021"])


@pytest.mark.parametrize(("name", "parameters"), [("lrcn2024", 73_060), ("convlstm2024", 44_524)])
def test_whole_networks_have_the_papers_parameters_with_four_classes(name: str, parameters: int) -> None:
    cnn, recurrent = build_parts(find_model(name, untrained=True))["spatial"]
    head = nn.Linear(recurrent.vector_size, 4)
    assert sum(trainable(module) for module in (cnn, recurrent, head)) == parameters


# Their parts


def test_pixels_have_no_weights_and_lrcns_come_from_no_hub() -> None:
    assert parts_of(CONVLSTM2024) == ("spatial.recurrent",)
    assert parts_of(LRCN2024) == ("spatial.cnn", "spatial.recurrent")
    with pytest.raises(ModelError, match=r"no trained weights for spatial\.cnn, spatial\.recurrent.*--untrained"):
        find_model("lrcn2024")
    assert find_model("lrcn2024", untrained=True).untrained == ("spatial.cnn", "spatial.recurrent")
    assert find_model("convlstm2024", untrained=True).untrained == ("spatial.recurrent",)
    pixels = find_model("convlstm2024", Overrides(recurrent="mean"))  # the mean picture needs no training
    assert (pixels.weights, pixels.warning) == ({}, "")
    assert find_model("orozco2021", Overrides(recurrent="mean")).weights["spatial.cnn"].hub == "vgg16.tv_in1k"


def test_weights_for_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"given for spatial\.cnn, which this model has not"):
        find_model("convlstm2024", Overrides(spatial_weights=tmp_path / "any.npz"), untrained=True)


def test_another_cell_leaves_out_what_it_cannot_have() -> None:
    plain = find_model("corehar2020", Overrides(recurrent="mean"), untrained=True).config.spatial
    assert plain is not None
    assert (plain.recurrent.projection, plain.recurrent.dense, plain.recurrent.per_step) == ((), (), False)
    kept = find_model("corehar2020", Overrides(recurrent="gru"), untrained=True).config.spatial
    assert kept is not None
    assert (kept.recurrent.projection, kept.recurrent.dense) == ((1024, 768, 512), (256,))
    assert untrained("convlstm2024", recurrent="gru").dims == {"spatial": 1024}
    with pytest.raises(UsageError, match="a convlstm needs the filters"):
        untrained("lrcn2024", recurrent="convlstm")
    with pytest.raises(UsageError, match="square RGB pictures"):
        untrained("convlstm2024", backbone="mobilenetv3_small_050")


# Each embeds


@pytest.mark.parametrize("name", [*WHOLE, *(pytest.param(each, marks=pytest.mark.slow) for each in LARGE)])
def test_each_embeds_a_clip_of_fewer_frames_than_steps(name: str, clip: Path) -> None:
    model = untrained(name)
    result = model.embed(clip)
    sizes = {"lrcn2024": 32, "convlstm2024": 2880, "corehar2020": 256, "orozco2021": 360, "konakalla": 512}
    assert model.dims == {"spatial": sizes[name]}
    assert result.vector.shape == (sizes[name],)
    assert np.isfinite(result.vector).all()
    assert result.vector.std() > 0
    assert result.present == {"spatial": True}


@pytest.mark.parametrize("name", WHOLE)
def test_windows_of_more_and_of_fewer_frames_than_steps(name: str, make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(tmp_path / "long.avi", seconds=2.5, fps=30, height=48, width=64)
    result = untrained(name).embed(path, window=1.0)
    assert [clip.start_seconds for clip in result.clips] == [0, 1, 2]  # 30, 30 and 15 frames
    assert all(np.isfinite(clip.vector).all() for clip in result.clips)


def test_first_sees_how_a_clip_begins_and_nothing_later(make_video: MakeVideo, tmp_path: Path) -> None:
    model = untrained("lrcn2024", sampling="first")
    frames = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), np.uint8)
    vectors = []
    for changed in (30, 20, 19):  # the first frame that is black; 20 steps see frames 0 to 19
        frames[changed:] = 0
        path = make_video(tmp_path / f"{changed}.mkv", frames=frames, fps=10, codec="ffv1")
        vectors.append(model.embed(path).vector)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-4


@pytest.mark.parametrize("name", WHOLE)
def test_saved_and_loaded_each_is_the_same_model(name: str, clip: Path, tmp_path: Path) -> None:
    model = untrained(name)
    model.save(tmp_path / "saved", name="mine")
    loaded = untrained(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.embed(clip).vector, model.embed(clip).vector)


@pytest.mark.parametrize("name", LARGE)
def test_the_large_ones_take_a_small_backbone(name: str, clip: Path) -> None:
    overrides = {"backbone": "mobilenetv1_100"}
    if name == "orozco2021":  # 7x7x1024 features, flattened
        model = untrained(name, **overrides)
        cnn = model.streams["spatial"].cnn
        assert getattr(cnn, "feature_size", None) == 50_176
    else:
        model = untrained(name, **overrides, recurrent="mean")
        assert model.dims == {"spatial": 1024}
    assert np.isfinite(model.embed(clip).vector).all()
