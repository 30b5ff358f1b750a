"""The model that ships: small, whole, trained, and what it says of real clips."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

import tristream
from tristream.fusion.config import POCKET
from tristream.fusion.model import Model
from tristream.fusion.source import SHIPPED, find_model

MakeVideo = Callable[..., Path]
CLASSES = ("Archery", "BasketballDunk", "PlayingPiano", "Surfing")


@pytest.fixture(scope="module")
def pocket() -> Iterator[Model]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that it says nothing is part of what is asked
        yield tristream.load_model()
    torch.set_num_threads(before)


def cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_it_is_small_and_trained_and_as_the_code_says() -> None:
    source = find_model("pocket")
    assert source.untrained == ()
    assert source.warning == ""
    assert source.config == POCKET.with_stream_weights(source.config.stream_weights)
    assert source.config.stream_weights["spatial"] == 1
    assert all(0.1 < weight < 1 for stream, weight in source.config.stream_weights.items() if stream != "spatial")
    files = sorted(SHIPPED.glob("pocket/*.safetensors"))
    assert [file.stem for file in files] == ["audio", "spatial", "temporal"]
    assert sum(file.stat().st_size for file in files) < 25e6
    for file in files:
        tensors = load_file(file)
        assert {tensor.dtype for tensor in tensors.values() if tensor.ndim > 1} == {torch.float16}
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_each_stream_has_the_length_by_which_it_counts(pocket: Model, make_video: MakeVideo, tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mkv", seconds=3, fps=25, sound_hz=16_000)
    result = pocket.embed(clip)
    assert pocket.dims == {"spatial": 256, "temporal": 256, "audio": 256}
    for stream in pocket.dims:
        length = 16 * pocket.config.stream_weights[stream] ** 0.5
        assert np.linalg.norm(result.stream(stream)) == pytest.approx(length, rel=1e-3)


@pytest.mark.reference
def test_clips_of_a_kind_are_more_alike_than_others_and_halves_of_one_most(pocket: Model, shared: Path) -> None:
    paths = {name: sorted((shared / "data/ucf101-6c/test" / name).glob("*.avi"))[::5][:3] for name in CLASSES}
    vectors = {name: [pocket.embed(path) for path in found] for name, found in paths.items()}
    for stream, margin in (("spatial", 0.3), ("temporal", 0.1)):
        own, other = [], []
        for name, found in vectors.items():
            for rival, others in vectors.items():
                pairs = [
                    cosine(one.stream(stream), two.stream(stream))
                    for i, one in enumerate(found)
                    for j, two in enumerate(others)
                    if (name, i) < (rival, j)
                ]
                (own if name == rival else other).extend(pairs)
        assert np.mean(own) > np.mean(other) + margin
        assert abs(np.mean(other)) < 0.25  # unrelated is about 0
    first, second = (pocket.embed(paths["Surfing"][0], moment=part) for part in ((0.0, 1.5), (1.5, 3.0)))
    assert cosine(first.stream("spatial"), second.stream("spatial")) > 0.8


@pytest.mark.reference
def test_the_same_in_bfloat16_and_float32_nearly(shared: Path) -> None:
    clip = next((shared / "data/ucf101-6c/test/Archery").glob("*.avi"))
    exact, rough = (tristream.load_model("pocket", dtype=dtype).embed(clip) for dtype in ("float32", "bfloat16"))
    for stream in ("spatial", "temporal", "audio"):
        assert cosine(exact.stream(stream), rough.stream(stream)) > 0.995
