"""Embeddings from cached features are those that embedding the files gives."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tristream.fusion.model import open_model
from tristream.fusion.windows import Windows
from tristream.streams.config import RecurrentConfig, SamplingConfig
from tristream.training import extraction
from tristream.training.cache import FeatureCache
from tristream.training.embeddings import embed_examples
from tristream.training.examples import Example
from tristream.training.extraction import Wanted, extract

sys.path.append(str(Path(__file__).parent))
from fake_extraction import TINY, InlineWorkers, tiny_job, tiny_source

MakeVideo = Callable[..., Path]
GRU = RecurrentConfig(hidden=6, layers=1, dropout=0.0)
CONFIG = replace(
    TINY,
    spatial=replace(TINY.spatial, recurrent=GRU),
    temporal=replace(TINY.temporal, recurrent=GRU),
    audio=replace(TINY.audio, recurrent=GRU),
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def inline_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "Workers", InlineWorkers)


@pytest.mark.parametrize("repeat_last", [False, True])
@pytest.mark.parametrize("windows", [Windows(), Windows(1.0, 0.5)], ids=["whole", "clips"])
def test_they_are_those_of_the_files(
    make_video: MakeVideo, tmp_path: Path, windows: Windows, repeat_last: bool
) -> None:
    loud = make_video(tmp_path / "loud.mkv", seconds=2.7, fps=10, sound_hz=16_000, sound_seconds=1.6)
    silent = make_video(tmp_path / "silent.avi", seconds=0.6, fps=10, seed=1)
    (tmp_path / "broken.avi").write_bytes(b"nothing")
    paths = [loud, tmp_path / "broken.avi", silent]
    config = replace(CONFIG, sampling=SamplingConfig("uniform", 14, repeat_last=repeat_last))
    cache = FeatureCache(tmp_path / "cache")
    extracted = extract(tiny_job(cache, config=config, windows=windows), [str(path) for path in paths], cache, jobs=1)
    model = open_model(tiny_source(config), device="cpu", dtype="float32")
    results = embed_examples(model, [Example(path, "a", "g") for path in paths], extracted, cache, windows)
    assert [Path(result.path).name for result in results] == ["loud.mkv", "broken.avi", "silent.avi"]
    assert results[1].error == extracted.failed[str(paths[1])]
    for path, result in ((loud, results[0]), (silent, results[2])):
        expected = model.embed(path, window=windows.window_seconds, stride=windows.stride_seconds)
        assert (result.present, result.dims, result.model_id) == (expected.present, expected.dims, expected.model_id)
        assert result.duration_seconds == expected.duration_seconds
        np.testing.assert_allclose(result.vector, expected.vector, atol=2e-3)
        assert len(result.clips) == len(expected.clips)
        for one, other in zip(result.clips, expected.clips, strict=True):
            assert (one.start_seconds, one.end_seconds, one.present) == (
                other.start_seconds,
                other.end_seconds,
                other.present,
            )
            np.testing.assert_allclose(one.vector, other.vector, atol=2e-3)


def test_streams_kept_at_different_times_give_the_same_clips(make_video: MakeVideo, tmp_path: Path) -> None:
    """What was kept of the sound alone ends with the sound; the clips end with the file."""
    path = make_video(tmp_path / "loud.mkv", seconds=2.7, fps=10, sound_hz=16_000, sound_seconds=1.6)
    windows, cache = Windows(1.0, 1.0), FeatureCache(tmp_path / "cache")
    extract(tiny_job(cache, Wanted("audio"), config=CONFIG, windows=windows), [str(path)], cache, jobs=1)
    extracted = extract(tiny_job(cache, config=CONFIG, windows=windows), [str(path)], cache, jobs=1)
    model = open_model(tiny_source(CONFIG), device="cpu", dtype="float32")
    (result,) = embed_examples(model, [Example(path, "a", "g")], extracted, cache, windows)
    expected = model.embed(path, window=1.0)
    assert [(clip.end_seconds, clip.present) for clip in result.clips] == [
        (clip.end_seconds, clip.present) for clip in expected.clips
    ]
    np.testing.assert_allclose(result.vector, expected.vector, atol=2e-3)


def test_a_file_with_nothing_for_the_model_is_an_error(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(tmp_path / "silent.avi", seconds=0.6, fps=10)
    cache = FeatureCache(tmp_path / "cache")
    extract(tiny_job(cache, config=CONFIG), [str(path)], cache, jobs=1)
    alone = CONFIG.with_streams(("audio",))
    extracted = extract(tiny_job(cache, config=alone), [str(path)], cache, jobs=1)
    model = open_model(tiny_source(alone), device="cpu", dtype="float32")
    (result,) = embed_examples(model, [Example(path, "a", "g")], extracted, cache, Windows())
    assert result.error == f"{path} holds nothing that the model could embed"
