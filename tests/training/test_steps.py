"""Steps are drawn from all over a clip; their inputs are those that the stream's CNN takes, mirrored now and then."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tristream.streams.stacks import flow_stacks
from tristream.training.cache import FeatureCache, StepFeatures
from tristream.training.collecting import to_int8
from tristream.training.steps import Footage, Step, StepReader, draw, spread

FRAMES, HEIGHT, WIDTH = 9, 6, 8


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    """Pictures, sounds and flow fields of nine steps each."""
    generator = np.random.default_rng(0)
    cache, times = FeatureCache(tmp_path), np.zeros((FRAMES, 3))
    pictures = generator.integers(0, 256, (1, FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    cache.write("pictures", StepFeatures(pictures, times, 1.0))
    cache.write("sounds", StepFeatures(generator.normal(size=(1, FRAMES, 96, 64)).astype(np.float16), times, 1.0))
    fields, scale = to_int8(planes())
    cache.write("flow", StepFeatures(fields[None], times, 1.0, scale))
    return cache


def planes() -> np.ndarray:
    """The flow (9, 2, H, W) of nine frames: as none leads on from the last, there that before is repeated."""
    fields = np.random.default_rng(1).normal(size=(FRAMES - 1, 2, HEIGHT, WIDTH))
    fields *= np.arange(1, FRAMES)[:, None, None, None]  # each with a scale of its own
    return np.concatenate([fields, fields[-1:]]).astype(np.float16)


def steps_of(key: str, *indices: int, label: int = 0) -> list[Step]:
    return [Step(Footage(key, FRAMES, label), index) for index in indices]


# Which steps


@given(st.lists(st.integers(1, 300), min_size=1, max_size=4), st.integers(1, 20), st.integers(0, 5))
@settings(deadline=None)
def test_steps_drawn_lie_one_in_each_part_of_a_clip(counts: list[int], per_clip: int, seed: int) -> None:
    footage = [Footage(str(number), count, number) for number, count in enumerate(counts)]
    chosen = draw(footage, per_clip, np.random.default_rng(seed))
    middles = spread(footage, per_clip)
    assert spread(footage, per_clip) == middles
    for each in footage:
        parts = min(per_clip, each.count)
        for steps in (chosen, middles):
            indices = np.array([step.index for step in steps if step.footage == each])
            assert len(indices) == parts
            low = np.arange(parts) * each.count / parts
            assert (indices >= np.floor(low)).all()
            assert (indices < low + each.count / parts).all()
            assert indices.max() < each.count


def test_each_epoch_draws_others_and_in_time_all() -> None:
    footage, generator = [Footage("a", 40, 0)], np.random.default_rng(0)
    epochs = [[step.index for step in draw(footage, 8, generator)] for _ in range(60)]
    assert len({tuple(epoch) for epoch in epochs}) > 50
    assert {index for epoch in epochs for index in epoch} == set(range(40))
    assert [step.index for step in spread(footage, 8)] == [2, 7, 12, 17, 22, 27, 32, 37]


def test_a_short_clip_gives_all_of_its_steps() -> None:
    footage = [Footage("a", 3, 0)]
    for steps in (draw(footage, 8, np.random.default_rng(0)), spread(footage, 8)):
        assert [step.index for step in steps] == [0, 1, 2]


# Their inputs


def test_pictures_and_sounds_as_they_were_kept(cache: FeatureCache) -> None:
    for stream, key, dtype in (("spatial", "pictures", torch.uint8), ("audio", "sounds", torch.float32)):
        reader = StepReader(cache, stream, 0, mirror=False)  # type: ignore[arg-type]
        inputs, labels = reader.batch([*steps_of(key, 8, 0), *steps_of(key, 3, label=2)], np.random.default_rng(0))
        assert (inputs.dtype, labels.dtype, labels.tolist()) == (dtype, torch.int64, [0, 0, 2])
        np.testing.assert_array_equal(inputs, cache.read(key).values[0, [8, 0, 3]])


@pytest.mark.parametrize("pairs", [1, 2, 3, 10, 25])
def test_a_stack_is_that_of_embedding(cache: FeatureCache, pairs: int) -> None:
    reader = StepReader(cache, "temporal", pairs, mirror=False)
    inputs, _ = reader.batch(steps_of("flow", *range(FRAMES)), None)
    assert (inputs.shape, inputs.dtype) == ((FRAMES, 2 * pairs, HEIGHT, WIDTH), torch.float32)
    fields, scale = to_int8(planes())
    kept = (fields * scale[:, None, None, None])[:-1]
    expected = flow_stacks(list(kept), np.arange(FRAMES), pairs)
    np.testing.assert_allclose(inputs, expected.astype(np.float32), rtol=1e-3, atol=1e-3)
    exact = flow_stacks(list(planes()[:-1]), np.arange(FRAMES), pairs).astype(np.float32)
    longest = np.abs(exact).max(axis=(1, 2, 3), keepdims=True)
    assert (np.abs(inputs.numpy() - exact) <= 0.004 * longest).all()


# Mirrored


@pytest.mark.parametrize(("stream", "key"), [("spatial", "pictures"), ("temporal", "flow")])
def test_mirrored_twice_is_as_before(cache: FeatureCache, stream: str, key: str) -> None:
    reader = StepReader(cache, stream, 4, mirror=True)  # type: ignore[arg-type]
    plain = reader._input(steps_of(key, 4)[0])
    once = reader._mirrored(plain)
    assert (once != plain).any()
    assert once.dtype == plain.dtype
    np.testing.assert_array_equal(reader._mirrored(once), plain)


def test_what_moved_right_moves_left_in_the_mirror(cache: FeatureCache) -> None:
    field = np.zeros((1, 2, 2, HEIGHT, WIDTH), np.int8)
    field[0, :, 0, 2, 1], field[0, :, 1, 2, 1] = 100, 50  # right and down, on the left side
    cache.write("moving", StepFeatures(field, np.zeros((2, 3)), 1.0, np.full(2, 0.1, np.float32)))
    reader = StepReader(cache, "temporal", 2, mirror=True)
    stack = reader._mirrored(reader._input(Step(Footage("moving", 2, 0), 0)))
    at = stack[:, 2, WIDTH - 2]
    np.testing.assert_allclose(at, [-10, 5, -10, 5], rtol=1e-6)
    assert np.count_nonzero(stack) == 4


def test_half_of_those_learnt_from_are_mirrored_and_none_of_the_others(cache: FeatureCache) -> None:
    reader, steps = StepReader(cache, "spatial", 0, mirror=True), steps_of("pictures", *[5] * 200)
    plain = cache.read("pictures").values[0, 5]
    inputs, _ = reader.batch(steps, np.random.default_rng(0))
    mirrored = [bool((each.numpy() == plain[:, ::-1]).all()) for each in inputs]
    assert all(turned or (each.numpy() == plain).all() for turned, each in zip(mirrored, inputs, strict=True))
    assert 80 < sum(mirrored) < 120
    again, _ = reader.batch(steps, np.random.default_rng(0))
    torch.testing.assert_close(again, inputs, rtol=0, atol=0)
    validated, _ = reader.batch(steps, None)
    assert (validated.numpy() == plain).all()
    unturned, _ = StepReader(cache, "spatial", 0, mirror=False).batch(steps, np.random.default_rng(0))
    assert (unturned.numpy() == plain).all()
