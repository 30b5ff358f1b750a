"""Clips out of the cache hold the very steps that embedding gives its encoders; batches, the clips of an epoch."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tristream.fusion.config import ModelConfig
from tristream.fusion.model import open_model
from tristream.fusion.windows import Windows
from tristream.streams.config import SamplingConfig
from tristream.training.cache import FeatureCache, StepFeatures
from tristream.training.collecting import Collector
from tristream.training.sequences import Batch, Clip, SequenceReader, clip_steps, thinned

sys.path.append(str(Path(__file__).parent))
from fake_extraction import TINY, tiny_job, tiny_source

MakeVideo = Callable[..., Path]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clip(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3.5 s of picture and 2.6 s of sound."""
    folder = tmp_path_factory.mktemp("clips")
    return make_video(folder / "clip.mkv", seconds=3.5, fps=10, sound_hz=16_000, sound_seconds=2.6)


# The same as embedding

CASES = {
    "one clip": (TINY, Windows()),
    "windows": (TINY, Windows(1.0, 1.0)),
    "windows that overlap": (TINY, Windows(1.0, 0.3)),
    "many steps": (replace(TINY, sampling=SamplingConfig(max_steps=180)), Windows(1.0, 1.0)),
    "few steps": (replace(TINY, sampling=SamplingConfig("uniform", max_steps=2)), Windows(1.0, 0.5)),
    "every 7th": (replace(TINY, sampling=SamplingConfig("every-nth", frame_jump=7)), Windows(0.5, 0.5)),
    "last repeated": (replace(TINY, sampling=SamplingConfig("segments", 9, repeat_last=True)), Windows(1.0, 1.0)),
    "one, repeated": (replace(TINY, sampling=SamplingConfig("first", 40, repeat_last=True)), Windows()),
}


@pytest.mark.parametrize("case", CASES)
def test_a_clip_holds_the_steps_that_embedding_takes(clip: Path, case: str) -> None:
    config, windows = CASES[case]
    taken, starts = embedded(clip, config, windows)
    job = tiny_job(FeatureCache(clip.parent / "none"), config=config, windows=windows)
    for wanted, features in Collector(job).collect(str(clip), job.wanted).items():
        steps = clip_steps(features.times, features.duration_seconds, wanted.stream, windows, config.sampling)
        assert list(steps) == starts[wanted.stream]
        for indices, sequence in zip(steps.values(), taken[wanted.stream], strict=True):
            np.testing.assert_allclose(features.values[0, indices], sequence, rtol=1e-3, atol=1e-3)
            if config.sampling.repeat_last:
                assert len(indices) == config.sampling.max_steps


def embedded(path: Path, config: ModelConfig, windows: Windows) -> tuple[dict[str, list[Tensor]], dict[str, list[int]]]:
    """The sequences that the encoders are given, and the numbers of the clips that they are of."""
    model = open_model(tiny_source(config), device="cpu", dtype="float32")
    taken: dict[str, list[Tensor]] = {name: [] for name in model.streams}
    for name, stream in model.streams.items():

        def record(sequences: list[Tensor], name: str = name, own=stream.vectors) -> np.ndarray:  # type: ignore[no-untyped-def]
            taken[name] += sequences
            return own(sequences)

        stream.vectors = record  # type: ignore[method-assign]
    result = model.embed(path, window=windows.window_seconds, stride=windows.stride_seconds)
    numbers: dict[str, list[int]] = {name: [] for name in model.streams}
    for each in result.clips:
        for name in model.streams:
            if each.present[name]:
                numbers[name].append(round(each.start_seconds / windows.stride_seconds))
    return taken, numbers


def test_no_steps_are_in_no_clip() -> None:
    assert clip_steps(np.zeros((0, 3)), 9.0, "audio", Windows(1.0, 1.0), SamplingConfig()) == {}


# Thinned


@given(st.integers(1, 400), st.integers(1, 60), st.integers(0, 9))
@settings(deadline=None)
def test_thinned_steps_are_some_of_the_steps_spread_over_them(count: int, most: int, seed: int) -> None:
    steps = 3 + 2 * np.arange(count)
    chosen = thinned(steps, most, np.random.default_rng(seed))
    assert (np.diff(chosen) > 0).all()  # sorted, each once
    assert set(chosen) <= set(steps)
    if count <= most:
        assert len(chosen) == count
        return
    assert 0.5 * most <= len(chosen) <= most  # only neighbours can fall together
    places = (chosen - 3) / 2
    for part in range(most):  # one in each part, up to the step that two parts share
        low, high = part * count / most, (part + 1) * count / most
        assert ((places >= np.floor(low)) & (places < high)).any()


def test_thinning_takes_every_step_now_and_then() -> None:
    steps, generator = np.arange(100), np.random.default_rng(0)
    counts = np.zeros(100)
    for _ in range(2000):
        counts[thinned(steps, 30, generator)] += 1
    # One of ten steps thirty times: 0.3, and a little less where a step is of two parts.
    assert (np.abs(counts / 2000 - 0.3) < 0.06).all()
    np.testing.assert_array_equal(thinned(steps, None, generator), steps)


# Batches


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    """Seven files of 1 to 7 steps, of two features: the file's number and the step's; version 1 is negative."""
    cache = FeatureCache(tmp_path)
    for number in range(7):
        count = number + 1
        values = np.stack([np.full(count, number), np.arange(count)], axis=1).astype(np.float16)
        cache.write(f"{number}", StepFeatures(np.stack([values, -values]), np.zeros((count, 3)), 1.0))
    return cache


def clips_of(*numbers: int, version: int = 0) -> list[Clip]:
    return [Clip(str(number), np.arange(number + 1), number % 3, version) for number in numbers]


def numbers_of(batches: list[Batch]) -> list[int]:
    return [int(number) for batch in batches for number in batch.steps[:, 0, 0]]


def test_batches_are_padded_and_know_their_lengths_and_labels(cache: FeatureCache) -> None:
    (first, second) = SequenceReader(cache).in_order(clips_of(4, 0, 2), 2)
    assert first.steps.dtype == torch.float32
    assert first.steps[0].tolist() == [[4, 0], [4, 1], [4, 2], [4, 3], [4, 4]]
    assert first.steps[1].tolist() == [[0, 0]] * 5
    assert (first.lengths.tolist(), first.labels.tolist()) == ([5, 1], [1, 0])
    assert (second.steps.shape, second.lengths.tolist(), second.labels.tolist()) == ((1, 3, 2), [3], [2])
    assert (first.lengths.dtype, first.labels.dtype) == (torch.int64, torch.int64)


def test_an_epoch_holds_each_clip_once_in_an_order_of_its_own(cache: FeatureCache) -> None:
    clips, reader = clips_of(*range(7)), SequenceReader(cache)
    epochs = [list(reader.batches(clips, 3, np.random.default_rng(seed))) for seed in (0, 0, 1)]
    orders = [numbers_of(epoch) for epoch in epochs]
    assert [len(batch.labels) for batch in epochs[0]] == [3, 2, 2]  # alike in size
    assert sorted(orders[0]) == sorted(orders[2]) == list(range(7))
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    for batch in epochs[0]:
        assert (batch.labels == batch.steps[:, 0, 0] % 3).all()
        assert (batch.lengths == batch.steps[:, 0, 0] + 1).all()


def test_only_what_is_learnt_from_is_thinned(cache: FeatureCache) -> None:
    reader = SequenceReader(cache, most_steps=3)
    for batch in reader.batches(clips_of(*range(7)), 2, np.random.default_rng(0)):
        assert batch.lengths.max() <= 3
        assert batch.steps.shape[1] == batch.lengths.max()
    assert [int(batch.lengths) for batch in reader.in_order(clips_of(5, 6), 1)] == [6, 7]


def test_a_version_of_a_clip_and_some_of_its_steps(cache: FeatureCache) -> None:
    reader = SequenceReader(cache)
    (other,) = clips_of(4, version=1)
    assert reader.sequence(other, np.array([1, 3, 3])).tolist() == [[-4, -1], [-4, -3], [-4, -3]]


def test_pictures_stay_bytes(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    pictures = np.random.default_rng(0).integers(0, 256, (1, 4, 6, 6, 3), np.uint8)
    cache.write("key", StepFeatures(pictures, np.zeros((4, 3)), 1.0))
    (batch,) = SequenceReader(cache).in_order([Clip("key", np.array([2, 0]), 0), Clip("key", np.array([3]), 1)], 2)
    assert batch.steps.dtype == torch.uint8
    np.testing.assert_array_equal(batch.steps[0], pictures[0, [2, 0]])
    assert not batch.steps[1, 1].any()
