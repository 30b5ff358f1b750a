"""What is kept of a file is what embedding it gives its encoders, and what its CNNs would be trained on."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tristream.fusion.config import ModelConfig
from tristream.fusion.plan import flow_engine, open_media, step_plan
from tristream.fusion.windows import Windows
from tristream.streams.config import TemporalConfig
from tristream.streams.errors import FlowError, MediaError
from tristream.streams.pipeline import read_steps
from tristream.streams.steps import Timings
from tristream.training.cache import FeatureCache, StepFeatures
from tristream.training.collecting import Collector, to_int8
from tristream.training.extraction import EVERY_FRAME, Wanted
from tristream.training.recipes import Augmentation
from tristream.training.steps import Footage, Step, StepReader

sys.path.append(str(Path(__file__).parent))
from fake_extraction import FEATURES, TINY, tiny_job, tiny_source

MakeVideo = Callable[..., Path]
INPUTS = {each.stream: replace(each, kind="inputs") for each in FEATURES}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clip(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("clips") / "clip.mkv", seconds=2, fps=10, sound_hz=16_000)


def collected(path: Path, *wanted: Wanted, config: ModelConfig = TINY, seed: int = 0) -> dict[Wanted, StepFeatures]:
    job = tiny_job(FeatureCache(path.parent / "none"), *wanted, config=config)
    return Collector(job).collect(str(path), job.wanted, seed=seed)


# Features


def test_features_of_a_file_with_their_times(clip: Path) -> None:
    spatial, temporal, audio = collected(clip).values()
    assert (spatial.values.shape, temporal.values.shape[:2], audio.values.shape[:2]) == ((1, 12, 64), (1, 6), (1, 2))
    for features in (spatial, temporal, audio):
        assert features.values.dtype == np.float16
        assert features.duration_seconds == pytest.approx(2, abs=0.1)
        assert features.scale is None
        seconds, start_seconds, end_seconds = features.times.T
        assert (np.diff(seconds) > 0).all()
        assert (start_seconds <= seconds).all()
        assert (seconds < end_seconds).all()
    np.testing.assert_allclose(audio.times, [[0.48, 0, 0.96], [1.44, 0.96, 1.92]], atol=0.02)


def test_a_stream_alone_is_the_same_as_beside_others(clip: Path) -> None:
    together = collected(clip)
    for wanted, features in together.items():
        alone = collected(clip, wanted)[wanted]
        np.testing.assert_array_equal(alone.values, features.values)
        np.testing.assert_array_equal(alone.times, features.times)


def test_features_beyond_float16_are_cut_to_it(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector(tiny_job(FeatureCache(clip.parent / "none"), Wanted("audio")))
    assert collector._model is not None
    huge = torch.tensor([[1e6, -1e6, 2.5]])
    monkeypatch.setattr(collector._model.streams["audio"], "features", lambda inputs: huge.expand(len(inputs), 3))
    (features,) = collector.collect(str(clip), [Wanted("audio")]).values()
    np.testing.assert_array_equal(features.values[0, 0], np.array([65504, -65504, 2.5], np.float16))


# Inputs


def test_pictures_and_sounds_are_kept_as_they_are(clip: Path) -> None:
    config = replace(TINY, sampling=EVERY_FRAME)
    spatial, audio = collected(clip, INPUTS["spatial"], INPUTS["audio"], config=config).values()
    assert (spatial.values.shape, spatial.values.dtype) == ((1, 20, 64, 64, 3), np.uint8)
    assert (audio.values.shape, audio.values.dtype) == ((1, 2, 96, 64), np.float16)
    job = tiny_job(FeatureCache(clip), INPUTS["spatial"], config=config)
    plan = step_plan(config.with_streams(("spatial", "audio")), Collector(job)._picture, Windows())
    with open_media(str(clip), plan, None, 1) as reader:
        for steps in read_steps(reader, plan, None, Timings()):
            everything = slice(0, len(steps))
            if steps.stream == "spatial":
                np.testing.assert_array_equal(steps.take(everything), spatial.values[0])
            else:  # one example after the other
                index = np.searchsorted(audio.times[:, 0], steps.seconds)
                np.testing.assert_allclose(steps.take(everything), audio.values[0, index], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("pairs", [1, 4, 5, 50])
def test_stacks_of_kept_flow_are_those_of_embedding(clip: Path, tmp_path: Path, pairs: int) -> None:
    """To 0.4 % of the longest component of each field: 1/254."""
    config = replace(TINY, sampling=EVERY_FRAME, temporal=TemporalConfig("small", pairs=pairs, stride=1))
    (features,) = collected(clip, INPUTS["temporal"], config=config).values()
    assert (features.values.shape, features.values.dtype) == ((1, 20, 2, 60, 80), np.int8)
    assert features.scale is not None
    assert features.scale.shape == (20,)
    cache = FeatureCache(tmp_path)
    cache.write("key", features)
    reader, footage = StepReader(cache, "temporal", pairs, mirror=False), Footage("key", 20, 0)
    made, _ = reader.batch([Step(footage, index) for index in range(20)], None)
    expected = stacks_of(clip, config)
    assert made.shape == expected.shape == (20, 2 * pairs, 60, 80)
    fields = expected.reshape(20, pairs, 2 * 60 * 80).astype(np.float32)
    error = np.abs(made.numpy().reshape(fields.shape) - fields).max(axis=2)
    longest = np.abs(fields).max(axis=2)
    assert longest.min() > 0.01
    assert (error / longest).max() < 0.004


def stacks_of(path: Path, config: ModelConfig) -> np.ndarray:
    """The stacks (T, 2L, H, W) that embedding makes of all frames."""
    config = config.with_streams(("temporal",))
    plan = step_plan(config, None, Windows())
    engine = flow_engine(tiny_source(config), plan, "cpu")
    with open_media(str(path), plan, engine, 1) as reader:
        return np.concatenate(
            [steps.take(slice(0, len(steps))) for steps in read_steps(reader, plan, engine, Timings())]
        )


@given(arrays(np.float16, (3, 2, 4, 5), elements=st.floats(-300, 300, width=16)))
@settings(deadline=None)
def test_flow_fits_into_a_byte(fields: np.ndarray) -> None:
    kept, scale = to_int8(fields)
    assert (kept.dtype, scale.dtype) == (np.int8, np.float32)
    longest = np.abs(fields.astype(np.float32)).max(axis=(1, 2, 3))
    error = np.abs(kept * scale[:, None, None, None] - fields.astype(np.float32)).max(axis=(1, 2, 3))
    assert (error <= 0.004 * longest).all()
    assert (np.abs(kept).max(axis=(1, 2, 3)) == np.where(longest > 0, 127, 0)).all()


# Augmentation


def test_versions_begin_with_the_clip_as_it_is(clip: Path) -> None:
    augmented = Wanted("spatial", "features", Augmentation(copies=2))
    plain, many = collected(clip, FEATURES[0])[FEATURES[0]], collected(clip, augmented)[augmented]
    assert many.values.shape == (3, 12, 64)
    np.testing.assert_array_equal(many.values[0], plain.values[0])
    np.testing.assert_array_equal(many.times, plain.times)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(many.values[one] - many.values[other]).max() > 0.01
    np.testing.assert_array_equal(collected(clip, augmented)[augmented].values, many.values)
    others = collected(clip, augmented, seed=7)[augmented]
    np.testing.assert_array_equal(others.values[0], many.values[0])
    assert (others.values[1:] != many.values[1:]).any()


def test_pictures_have_versions_too(clip: Path) -> None:
    augmented = Wanted("spatial", "inputs", Augmentation(copies=1))
    values = collected(clip, augmented)[augmented].values
    assert (values.shape, values.dtype) == ((2, 12, 64, 64, 3), np.uint8)
    assert (values[0] != values[1]).any(axis=(1, 2, 3)).all()


# Files that lack something


def test_a_silent_file_has_no_sound_steps(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(tmp_path / "silent.avi", seconds=0.5, fps=10)
    features = collected(path)
    audio = features[Wanted("audio")]
    assert (audio.values.shape, audio.times.shape) == ((1, 0), (0, 3))
    assert audio.duration_seconds == features[Wanted("spatial")].duration_seconds
    with pytest.raises(MediaError, match=r"silent\.avi"):
        collected(path, Wanted("audio"))


def test_beside_other_streams_one_may_be_absent(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "silent.avi", seconds=0.5, fps=10)
    collector = Collector(tiny_job(FeatureCache(tmp_path), Wanted("audio")))
    (audio,) = collector.collect(str(path), [Wanted("audio")], beside=True).values()
    assert (audio.values.shape, audio.duration_seconds) == ((1, 0), 0.0)
    # But a flow engine that cannot work on the file is to be told of, as it is where all are collected together.
    monkeypatch.setattr(collector, "_collect", Mock(side_effect=FlowError("no motion vectors")))
    with pytest.raises(FlowError):
        collector.collect(str(path), [Wanted("audio")], beside=True)


def test_warnings_of_the_decoder_are_kept(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(tmp_path / "cut.avi", seconds=2, fps=10, codec="mjpeg")
    path.write_bytes(path.read_bytes()[:-4000])
    (features,) = collected(path, FEATURES[0]).values()
    assert any(warning.startswith("truncated") for warning in features.warnings)
