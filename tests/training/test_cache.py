"""The cache gives back what was put in or nothing, whatever befalls its files, and keeps to its limit."""

import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from tristream.streams.errors import MediaError, UsageError
from tristream.training.cache import FeatureCache, StepFeatures, default_cache, key_of

sys.path.append(str(Path(__file__).parent))  # the processes below are given this path
from fake_features import fill_for_ever, made_features

KEY = key_of(number=0)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


def assert_same(one: StepFeatures, other: StepFeatures) -> None:
    assert (one.values.dtype, one.duration_seconds, one.warnings) == (
        other.values.dtype,
        other.duration_seconds,
        other.warnings,
    )
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.times, other.times)
    assert (one.scale is None) == (other.scale is None)
    if one.scale is not None and other.scale is not None:
        np.testing.assert_array_equal(one.scale, other.scale)


# What is put in comes out


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8", "int8"])
@pytest.mark.parametrize("scaled", [False, True])
def test_features_come_back_as_they_were(tmp_path: Path, dtype: str, scaled: bool) -> None:
    features = made_features(7, dtype=dtype, scaled=scaled)
    cache, other = FeatureCache(tmp_path), FeatureCache(tmp_path)
    assert not cache.has(KEY)
    size = cache.write(KEY, features)
    assert size == cache.path_of(KEY).stat().st_size == cache.bytes_of([KEY, key_of(number=1)])
    assert cache.path_of(KEY) == tmp_path / KEY[:2] / f"{KEY}.safetensors"
    for each in (cache, other):
        assert each.has(KEY)
        assert_same(each.read(KEY), features)
        times, duration_seconds = each.times(KEY)
        np.testing.assert_array_equal(times, features.times)
        assert duration_seconds == features.duration_seconds


def test_a_stream_that_a_file_has_not_has_no_steps(cache: FeatureCache) -> None:
    cache.write(KEY, StepFeatures(np.zeros((1, 0), np.float16), np.zeros((0, 3)), 2.5))
    features = cache.read(KEY)
    assert (features.values.shape, features.times.shape, features.scale) == ((1, 0), (0, 3), None)
    assert cache.times(KEY)[1] == 2.5


@given(st.integers(1, 9), st.data())
@settings(deadline=None, max_examples=30)
def test_some_steps_are_those_of_the_whole(tmp_path_factory: pytest.TempPathFactory, count: int, data: Any) -> None:
    cache = FeatureCache(tmp_path_factory.mktemp("cache"))
    start = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(start + 1, count))
    features = made_features(count, versions=2, scaled=data.draw(st.booleans()))
    cache.write(KEY, features)
    values, scale = cache.read_steps(KEY, start, stop)
    np.testing.assert_array_equal(values, features.values[0, start:stop])
    assert (scale is None) == (features.scale is None)
    if scale is not None and features.scale is not None:
        np.testing.assert_array_equal(scale, features.scale[start:stop])


def test_arrays_of_any_order_and_shape_come_back(cache: FeatureCache) -> None:
    arrays = {"turned": np.arange(12.0).reshape(3, 4).T, "every other": np.arange(9)[::2], "number": np.array(3)}
    cache.write_arrays(KEY, arrays, {"history": "[]"})
    read, facts = cache.read_arrays(KEY)
    assert facts == {"history": "[]"}
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].shape == array.shape
        np.testing.assert_array_equal(read[name], array)


def test_a_key_follows_from_all_facts_and_not_from_their_order() -> None:
    assert key_of(a=1, b=[2]) == key_of(b=[2], a=1)
    assert len({key_of(a=1, b=[2]), key_of(a=1), key_of(a=1, b=[3]), key_of(a=1, c=[2]), key_of(a=None, b=[2])}) == 5


# Damage


def test_a_changed_byte_anywhere_is_refused_and_the_file_removed(tmp_path: Path) -> None:
    whole = FeatureCache(tmp_path)
    whole.write(KEY, made_features(3, scaled=True, warnings=("truncated",)))
    path = whole.path_of(KEY)
    data = path.read_bytes()
    refused = 0
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        cache = FeatureCache(tmp_path)
        if not cache.has(KEY):
            assert not path.exists()
            continue
        for read in (cache.read, cache.times, lambda key, of=cache: of.read_steps(key, 0, 1)):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            try:
                features = read(KEY)
            except MediaError as error:
                refused += 1
                assert "run the same command again" in str(error)
                assert str(path) in str(error)
                assert not path.exists()
            else:  # spaces that fill the header up, or the letter case of an escape
                assert isinstance(features, tuple) or features.duration_seconds == 1.5
    assert refused > 3 * len(made_features(3).values.tobytes())


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:20],
        lambda data: b"",
        lambda data: data + b"\0",
        lambda data: b"garbage" * 100,
        lambda data: save({"values": np.zeros(3)}),  # whole, but none of ours
    ],
)
def test_what_is_no_such_file_is_not_there(cache: FeatureCache, damage: Any) -> None:
    cache.write(KEY, made_features(4))
    path = cache.path_of(KEY)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MediaError, match="gone or damaged"):
        cache.read(KEY)
    assert not path.exists()
    path.write_bytes(damage(b"0123456789" * 10))
    assert not cache.has(KEY)
    assert not path.exists()
    cache.write(KEY, made_features(4))
    assert_same(cache.read(KEY), made_features(4))


def test_features_that_another_run_removed_are_gone(cache: FeatureCache) -> None:
    cache.write(KEY, made_features(4))
    cache.read(KEY)
    cache.path_of(KEY).unlink()
    assert not cache.has(KEY)
    for read in (cache.read, cache.times, lambda key: cache.read_steps(key, 0, 1)):
        with pytest.raises(MediaError, match="gone or damaged"):
            read(KEY)


def test_arrays_that_are_no_step_features_are_refused_as_such(cache: FeatureCache) -> None:
    cache.write_arrays(KEY, {"weight": np.zeros(3)}, {})
    with pytest.raises(MediaError, match="values"):
        cache.read(KEY)


# Being killed, and company


def test_a_run_killed_while_it_writes_leaves_nothing_half(tmp_path: Path) -> None:
    chance, context = np.random.default_rng(0), multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tristream.training.cache"])
    held: set[int] = set()
    for _ in range(20):
        begun = time.monotonic()
        before = len(list(tmp_path.glob("*/*.safetensors")))
        process = context.Process(target=fill_for_ever, args=(str(tmp_path),))
        process.start()
        while len(list(tmp_path.glob("*/*.safetensors"))) == before and time.monotonic() - begun < 20:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        process.join()
        cache = FeatureCache(tmp_path)
        there = [number for number in range(1000) if cache.path_of(key_of(number=number)).exists()]
        assert all(cache.has(key_of(number=number)) for number in there)
        for number in there:
            assert_same(cache.read(key_of(number=number)), made_features(number + 1))
        held.add(len(there))
    assert len(held) > 5  # it was killed here and there
    for leftover in tmp_path.glob("*/.*.tmp"):
        os.utime(leftover, (0, 0))
    FeatureCache(tmp_path).trim(())
    assert not list(tmp_path.glob("*/.*"))


def test_two_processes_fill_one_folder_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=fill_for_ever, args=(str(tmp_path), 40)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    cache = FeatureCache(tmp_path)
    for number in range(40):
        assert_same(cache.read(key_of(number=number)), made_features(number + 1))
    assert len(list(tmp_path.glob("*/*"))) == 40
    assert not list(tmp_path.glob("*/.*"))


# The limit


def aged(cache: FeatureCache, count: int) -> list[str]:
    """Files of the same size, the first of them used longest ago."""
    keys = [key_of(number=number) for number in range(count)]
    for age, key in enumerate(keys):
        cache.write(key, made_features(5))
        os.utime(cache.path_of(key), (time.time() - 1000 + age, time.time() - 1000 + age))
    return keys


def there(cache: FeatureCache, keys: list[str]) -> list[int]:
    return [number for number, key in enumerate(keys) if cache.path_of(key).exists()]


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    keys = aged(cache, 6)
    size = cache.bytes_of(keys[:1])
    assert cache.has(keys[1])  # which marks it as used
    FeatureCache(tmp_path).trim(())
    assert there(cache, keys) == [0, 1, 2, 3, 4, 5]  # no limit
    FeatureCache(tmp_path, 6 * size).trim(())
    assert there(cache, keys) == [0, 1, 2, 3, 4, 5]
    FeatureCache(tmp_path, 4 * size).trim(())
    assert there(cache, keys) == [1, 3, 4, 5]
    FeatureCache(tmp_path, 4 * size - 1).trim([keys[3]])
    assert there(cache, keys) == [1, 3, 5]


def test_what_is_used_stays_though_it_is_more_than_the_limit(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 0)
    keys = aged(cache, 5)
    cache.trim(keys[:3])
    assert there(cache, keys) == [0, 1, 2]


def test_only_old_leftovers_go(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.write(KEY, made_features(2))
    folder = cache.path_of(KEY).parent
    old, fresh, strange = folder / ".a.safetensors.17.tmp", folder / ".b.safetensors.18.tmp", folder / "notes.txt"
    for path in (old, fresh, strange):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    cache.trim(())
    assert sorted(folder.iterdir()) == sorted([fresh, strange, cache.path_of(KEY)])


def test_a_folder_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "none", 0)
    cache.trim(())
    assert not cache.has(KEY)
    assert cache.bytes_of([KEY]) == 0
    assert not (tmp_path / "none").exists()


# Where it is


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / "file")
    with pytest.raises(UsageError, match=r"cannot be kept in .*file: .*--cache DIR names another"):
        cache.write(KEY, made_features(2))
    assert not cache.has(KEY)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_can_be_read(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 0)
    cache.write(KEY, made_features(2))
    folder = cache.path_of(KEY).parent
    folder.chmod(0o555)
    try:
        assert cache.has(KEY)
        assert_same(cache.read(KEY), made_features(2))
        cache.trim(())
        with pytest.raises(UsageError, match="Permission denied"):
            cache.write(KEY, made_features(2))
    finally:
        folder.chmod(0o755)


def test_the_default_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "tristream" / "features"
    monkeypatch.setenv("HOME", str(tmp_path))
    for given_path in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", given_path)
        assert default_cache() == tmp_path / ".cache" / "tristream" / "features"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert default_cache().is_absolute()
