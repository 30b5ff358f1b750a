"""A CNN is trained where it has no weights, once for the same files; of a backbone the last blocks, if asked for."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.numpy import load_file
from torch import nn

from tristream.fusion.assemble import build_parts
from tristream.fusion.windows import Windows
from tristream.streams.errors import UsageError
from tristream.training import extraction
from tristream.training.cache import FeatureCache
from tristream.training.cnn_stage import CNNStage, thaw_last_blocks
from tristream.training.examples import Example
from tristream.training.extraction import EVERY_FRAME, Extracted, extract
from tristream.training.recipes import KONAKALLA_RECIPE, LRCN_RECIPE, TKACHENKO_RECIPE, Recipe
from tristream.training.reporting import Report

sys.path.append(str(Path(__file__).parent))
from fake_extraction import InlineWorkers
from made_clips import examples_of, make_clips, quick, tiny_trainer

CLASSES = ("green", "red")


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in this process, networks run on one thread."""
    torch.set_num_threads(1)
    monkeypatch.setattr(extraction, "Workers", InlineWorkers)


@pytest.fixture(scope="module")
def clips(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clips(make_video, tmp_path_factory.mktemp("data") / "clips", count=3)


def stage_of(stream: str, folder: Path, clips: Path, recipe: Recipe = TKACHENKO_RECIPE, **changes: Any) -> CNNStage:
    """The stage of a tiny model, whose motion and audio CNNs have no weights."""
    settings = quick(folder / "cache", **changes)
    trainer = tiny_trainer(examples_of(clips), folder / "m", replace(settings, fine_tune=0))
    recipe = settings.of_recipe(recipe)
    folder.mkdir(exist_ok=True)
    return CNNStage(trainer.source, stream, recipe, settings, CLASSES, folder, Report())  # type: ignore[arg-type]


# Which


def test_cnns_without_weights_are_trained(clips: Path, tmp_path: Path) -> None:
    assert [stage_of(stream, tmp_path, clips).needed for stream in ("spatial", "temporal", "audio")] == [
        *(False, True, True)
    ]
    stage = stage_of("temporal", tmp_path, clips)
    assert stage.training.steps_per_clip == TKACHENKO_RECIPE.cnn["temporal"].steps_per_clip


def test_a_backbone_is_trained_where_blocks_are_asked_for(clips: Path, tmp_path: Path) -> None:
    assert stage_of("spatial", tmp_path, clips, fine_tune=1).needed
    assert not stage_of("spatial", tmp_path, clips, LRCN_RECIPE, fine_tune=1).needed  # it is trained whole anyway
    with pytest.raises(UsageError, match="recipe konakalla has no way to train the CNN of stream spatial"):
        stage_of("spatial", tmp_path, clips, KONAKALLA_RECIPE, fine_tune=1).check()


def test_the_last_blocks_of_a_backbone_are_free() -> None:
    backbone = timm.create_model("test_resnet", num_classes=0)
    whole = sum(each.numel() for each in backbone.parameters())
    counts = [thaw_last_blocks(backbone, blocks) for blocks in range(1, 6)]
    assert counts == sorted(set(counts))
    assert 0 < counts[0] < counts[-1] <= whole
    thaw_last_blocks(backbone, 1)
    free = [name for name, parameter in backbone.named_parameters() if parameter.requires_grad]
    assert free
    assert {name.split(".")[0] for name in free} == {"layer4"}
    for blocks in (0, 1000):
        with pytest.raises(UsageError, match=f"--fine-tune takes 1 to .* blocks of this backbone, got {blocks}"):
            thaw_last_blocks(backbone, blocks)
    with pytest.raises(UsageError, match="--fine-tune needs a timm backbone"):
        thaw_last_blocks(nn.Linear(2, 2), 1)


# How


def parts(clips: Path) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    return examples_of(clips, 0, 1), examples_of(clips, 2)


def extracted_by(stage: CNNStage, clips: Path, cache: FeatureCache) -> Extracted:
    return extract(stage.job(Windows(), cache), [str(each.path) for each in examples_of(clips)], cache, jobs=1)


@pytest.mark.parametrize("stream", ["temporal", "audio"])
def test_it_is_trained_once_for_the_same_files(stream: str, clips: Path, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    stage = stage_of(stream, tmp_path / "one", clips, cnn_epochs=2)
    job = stage.job(Windows(), cache)
    assert job.source.config.sampling == EVERY_FRAME
    assert stage.trained_before(job, *parts(clips), cache) is None
    extracted = extracted_by(stage, clips, cache)
    assert extracted.failed == {}  # the silent clips 0 neither
    weights, history = stage.train(*parts(clips), extracted, cache)
    assert weights.path is not None
    assert [len(history.epochs), history.stage] == [2, f"{stream} CNN"]
    assert not list((tmp_path / "one").glob("*.checkpoint"))
    # Elsewhere, without its inputs.
    for key in (key for keys in extracted.keys.values() for key in keys.values()):
        cache.path_of(key).unlink()
    again = stage_of(stream, tmp_path / "two", clips, cnn_epochs=2)
    taken = again.trained_before(job, *parts(clips), cache)
    assert taken is not None
    assert (taken[0].sha256, taken[1]) == (weights.sha256, history)
    assert taken[0].path == tmp_path / "two" / f"{stream}.cnn.safetensors"


def test_another_cnn_for_other_files_classes_seeds_or_ways(clips: Path, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    stage = stage_of("audio", tmp_path, clips)
    job = stage.job(Windows(), cache)
    rest, held_out = parts(clips)
    stage.train(rest, held_out, extracted_by(stage, clips, cache), cache)
    assert stage.trained_before(job, rest, held_out, cache) is not None
    assert stage.trained_before(job, rest, held_out[:1], cache) is None
    assert stage.trained_before(job, [replace(rest[0], label="red"), *rest[1:]], held_out, cache) is None
    assert stage.trained_before(job, [replace(rest[0], path=Path("gone.avi")), *rest[1:]], held_out, cache) is None
    for changes in ({"seed": 1}, {"cnn_epochs": 3}, {"dtype": "bfloat16"}):
        assert stage_of("audio", tmp_path, clips, **changes).trained_before(job, rest, held_out, cache) is None


def test_its_weights_are_no_more_those_of_the_seed(clips: Path, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    stage = stage_of("audio", tmp_path, clips)
    weights, _ = stage.train(*parts(clips), extracted_by(stage, clips, cache), cache)
    assert weights.path is not None
    cnn, _ = build_parts(stage.source, ("audio",))["audio"]
    before, after = cnn.state_dict(), load_file(weights.path)
    assert after.keys() == before.keys()
    assert all(np.isfinite(each).all() for each in after.values())
    assert any(np.abs(after[name] - each.numpy()).max() > 1e-6 for name, each in before.items())


def test_without_any_step_of_the_stream_it_is_refused(make_video: Any, tmp_path: Path) -> None:
    silent = make_clips(make_video, tmp_path / "clips", count=2, sound=False)
    cache = FeatureCache(tmp_path / "cache")
    stage = stage_of("audio", tmp_path, silent)
    with pytest.raises(UsageError, match="no file to learn from has the stream audio: leave it out with --streams"):
        stage.train(examples_of(silent), (), extracted_by(stage, silent, cache), cache)
