"""The clips of labelled files: those that embedding them gives, with the steps of each stream that they have."""

from pathlib import Path

import numpy as np
import pytest

from tristream.fusion.windows import Windows
from tristream.streams.config import SamplingConfig, StreamName
from tristream.streams.errors import MediaError
from tristream.training.cache import FeatureCache, StepFeatures
from tristream.training.clipset import clip_set, steps_of_file
from tristream.training.examples import Example
from tristream.training.extraction import Extracted, Wanted

SAMPLING, WINDOWS = SamplingConfig(max_steps=5), Windows(1.0, 1.0)
CLASSES = ("jump", "walk")


def keep(cache: FeatureCache, key: str, seconds: list[float], duration_seconds: float, versions: int = 1) -> None:
    """Steps of 0.1 s that begin at these seconds."""
    times = np.array([[begin, begin, begin + 0.1] for begin in seconds]).reshape(-1, 3)
    cache.write(key, StepFeatures(np.ones((versions, len(seconds), 2), np.float16), times, duration_seconds))


def example_of(name: str, label: str, group: str = "g") -> Example:
    return Example(Path(name), label, group)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path)


@pytest.fixture
def extracted(cache: FeatureCache) -> Extracted:
    """One of two clips whose sound is in the second, one silent of one clip, one that could not be read."""
    keep(cache, "two.spatial", [0.0, 0.5, 1.2, 1.4], 2.0)
    keep(cache, "two.audio", [1.5], 2.0)
    keep(cache, "one.spatial", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 0.7)
    keep(cache, "one.audio", [], 0.7)
    keys = {name: {Wanted("spatial"): f"{name}.spatial", Wanted("audio"): f"{name}.audio"} for name in ("two", "one")}
    return Extracted(keys, {"broken": "broken: nothing"})


def test_clips_with_their_steps_labels_and_spans(cache: FeatureCache, extracted: Extracted) -> None:
    examples = [example_of("one", "walk", "a"), example_of("broken", "jump"), example_of("two", "jump", "b")]
    clips = clip_set(examples, CLASSES, extracted, cache, WINDOWS, SAMPLING)
    assert [(str(row.example.path), row.start_seconds, row.end_seconds) for row in clips.rows] == [
        ("one", 0.0, 0.7),
        ("two", 0.0, 1.0),
        ("two", 1.0, 2.0),
    ]
    assert clips.labels.tolist() == [1, 0, 0]
    assert clips.groups == ["a", "b", "b"]
    assert clips.clips.keys() == {"spatial", "audio"}
    spatial = clips.clips["spatial"]
    assert {place: clip.steps.tolist() for place, clip in spatial.items()} == {
        0: [0, 2, 3, 4, 6],  # seven, thinned evenly
        1: [0, 1],
        2: [2, 3],
    }
    assert [(clip.key, clip.label) for clip in spatial.values()] == [
        ("one.spatial", 1),
        ("two.spatial", 0),
        ("two.spatial", 0),
    ]
    assert {place: clip.steps.tolist() for place, clip in clips.clips["audio"].items()} == {2: [0]}


def test_versions_of_clips_follow_one_another(cache: FeatureCache, extracted: Extracted) -> None:
    clips = clip_set([example_of("two", "jump")], CLASSES, extracted, cache, WINDOWS, SAMPLING)
    assert clips.of("spatial") == list(clips.clips["spatial"].values())
    many = clips.of("spatial", versions=3)
    assert [clip.version for clip in many] == [0, 0, 1, 1, 2, 2]
    assert [clip.steps.tolist() for clip in many] == [[0, 1], [2, 3]] * 3
    assert clips.of("temporal") == []


def test_vectors_are_joined_and_an_absent_streams_part_is_zero(cache: FeatureCache, extracted: Extracted) -> None:
    examples = [example_of("one", "walk"), example_of("two", "jump")]
    clips = clip_set(examples, CLASSES, extracted, cache, WINDOWS, SAMPLING)
    vectors: dict[StreamName, np.ndarray] = {
        "spatial": np.array([[1, 2], [3, 4], [5, 6]], np.float32),
        "audio": np.array([[7, 8, 9]], np.float32),
    }
    embeddings = clips.embeddings(vectors)
    assert embeddings.dtype == np.float32
    assert embeddings.tolist() == [[1, 2, 0, 0, 0], [3, 4, 0, 0, 0], [5, 6, 7, 8, 9]]


def test_of_no_files_there_are_no_clips(cache: FeatureCache) -> None:
    clips = clip_set([example_of("broken", "jump")], CLASSES, Extracted(), cache, WINDOWS, SAMPLING)
    assert (clips.rows, clips.groups, clips.of("spatial"), len(clips.labels)) == ((), [], [], 0)


def test_a_file_is_as_long_as_its_longest_stream(cache: FeatureCache) -> None:
    """A stream that was extracted apart knows its own end only; the last clip ends with the file."""
    keep(cache, "spatial", [0.0, 1.0, 2.0, 2.9], 3.0)
    keep(cache, "audio", [0.0, 1.0], 1.3)  # alone this would be one clip of 1.3 s
    keep(cache, "temporal", [], 0.0)
    keys: dict[StreamName, str] = {"spatial": "spatial", "temporal": "temporal", "audio": "audio"}
    of_file, duration_seconds = steps_of_file(keys, cache, WINDOWS, SAMPLING)
    assert duration_seconds == 3.0
    assert {clip: steps.tolist() for clip, steps in of_file["audio"].items()} == {0: [0], 1: [1]}
    assert {clip: steps.tolist() for clip, steps in of_file["spatial"].items()} == {0: [0], 1: [1], 2: [2, 3]}
    assert of_file["temporal"] == {}
    assert steps_of_file({}, cache, WINDOWS, SAMPLING) == ({}, 0.0)


def test_features_that_are_gone_are_an_error(cache: FeatureCache, extracted: Extracted) -> None:
    cache.path_of("two.audio").unlink()
    with pytest.raises(MediaError, match="run the same command again"):
        clip_set([example_of("two", "jump")], CLASSES, extracted, cache, WINDOWS, SAMPLING)
