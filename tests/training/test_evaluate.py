"""An evaluation's figures are those of the files that could be read, whatever the cache holds."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tristream.fusion.source import find_model
from tristream.streams.errors import ModelError, UsageError
from tristream.training import evaluate, extraction
from tristream.training.cache import GIGABYTE, FeatureCache
from tristream.training.evaluate import Evaluation, Evaluator, cache_of
from tristream.training.examples import Example
from tristream.training.record import training_record

sys.path.append(str(Path(__file__).parent))
from fake_extraction import InlineWorkers
from made_clips import STREAMS, examples_of, make_clips, quick, tiny_trainer

SETS = [
    *(("spatial",), ("temporal",), ("audio",)),
    *(("spatial", "temporal"), ("spatial", "audio"), ("temporal", "audio")),
    STREAMS,
]


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in this process, networks run on one thread."""
    torch.set_num_threads(1)
    monkeypatch.setattr(extraction, "Workers", InlineWorkers)


@pytest.fixture(scope="module")
def clips(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clips(make_video, tmp_path_factory.mktemp("data") / "clips", count=7)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def trained(clips: Path, folder: Path, cache: Path, **changes: Any) -> Path:
    """The folder of a tiny model of the clips 0 to 3 of each class."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction, "Workers", InlineWorkers)
        torch.set_num_threads(1)
        streams = changes.pop("streams", STREAMS)
        train = examples_of(clips, 0, 1, 2, 3)
        return tiny_trainer(train, folder, quick(cache, **changes), streams=streams).run().folder


@pytest.fixture(scope="module")
def model(clips: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(clips, tmp_path_factory.mktemp("models") / "tiny", cache, window_seconds=20.0)


def evaluator(model: Path, cache: Path) -> Evaluator:
    return Evaluator(find_model(model), quick(cache), FeatureCache(cache))


@pytest.fixture(scope="module")
def measured(model: Path, clips: Path, cache: Path) -> Evaluation:
    """The model measured on the clips 4 to 6, of which 4 is silent, with its ablation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction, "Workers", InlineWorkers)
        return evaluator(model, cache).evaluate(examples_of(clips, 4, 5, 6), examples_of(clips, 0, 1, 2, 3))


# Figures


def test_the_figures_are_those_of_the_probabilities(measured: Evaluation, model: Path) -> None:
    assert (measured.model_id, measured.classes) == (find_model(model).model_id, ("green", "red"))
    assert measured.labels.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(measured.probabilities.sum(axis=1), 1)
    hits = measured.probabilities.argmax(axis=1) == measured.labels
    assert measured.metrics.top1 == measured.top1.value == hits.mean()
    assert measured.top1.low <= measured.top1.value <= measured.top1.high
    assert (measured.top1.clips, measured.top1.groups) == (6, 6)


def test_every_set_of_streams_has_its_figures(measured: Evaluation) -> None:
    assert measured.ablation is not None
    assert [row.streams for row in measured.ablation.rows] == SETS
    for row in measured.ablation.rows:
        assert (row.clips, row.interval.value) == (6, row.top1)
        assert row.interval.low <= row.top1 <= row.interval.high
        # Two of the six clips have no sound: they count, and what is there is told apart.
        assert row.guessed == (2 if row.streams == ("audio",) else 0)
        assert row.on_present is not None
        assert row.on_present.clips == (4 if "audio" in row.streams else 6)
    assert measured.ablation.rows[-1].top1 == measured.metrics.top1
    assert [gain.stream for gain in measured.ablation.gains] == list(STREAMS)
    assert measured.ablation.presence_only.top1 == 0.5  # in both classes the same clips have sound


def test_it_is_plain_json(measured: Evaluation) -> None:
    data = json.loads(json.dumps(measured.to_json()))
    assert {
        *(
            "model_id",
            "classifier",
            "classes",
            "clips",
            "top1",
            "top1_interval",
            "top5",
            "mean_per_class",
            "balanced_accuracy",
        ),
        *("per_class", "confusion", "roc_auc", "macro_roc_auc", "log_loss", "calibration_error"),
        *("ablation", "left_out", "seen_in_training"),
    } == set(data)
    assert [row["streams"] for row in data["ablation"]["rows"]] == [list(chosen) for chosen in SETS]
    assert (data["clips"], data["top1"], data["left_out"]) == (6, measured.metrics.top1, {})
    assert data["top1_interval"] == [measured.top1.low, measured.top1.high]


def test_without_training_files_there_is_no_ablation(model: Path, clips: Path, cache: Path) -> None:
    evaluation = evaluator(model, cache).evaluate(examples_of(clips, 4))
    assert evaluation.ablation is None
    assert evaluation.to_json()["ablation"] is None


def test_late_fusion_is_taken_apart_too(clips: Path, cache: Path, tmp_path: Path) -> None:
    model = trained(clips, tmp_path / "late", cache, classifier="late", streams=("spatial", "audio"))
    evaluation = evaluator(model, cache).evaluate(examples_of(clips, 4, 5), examples_of(clips, 0, 1, 2, 3))
    assert evaluation.ablation is not None
    assert [row.streams for row in evaluation.ablation.rows] == [("spatial",), ("audio",), ("spatial", "audio")]


def test_a_training_part_may_lack_a_class(make_video: Any, clips: Path, tmp_path: Path) -> None:
    """Its scores stand where the model's classes do, not where those of the part happen to."""
    three = make_clips(make_video, tmp_path / "three", classes=("blue", "green", "red"), count=5)
    cache = tmp_path / "cache"
    model = trained(three, tmp_path / "model", cache, streams=("spatial", "audio"))
    learnt = [each for each in examples_of(three, 0, 1, 2, 3) if each.label != "blue"]
    evaluation = evaluator(model, cache).evaluate(examples_of(three, 4), learnt)
    assert evaluation.ablation is not None
    assert {row.top5 for row in evaluation.ablation.rows} == {1.0}


# Files


def test_a_broken_file_is_left_out_and_not_counted(model: Path, clips: Path, cache: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(clips, tmp_path / "clips"))
    (copy / "red" / "red5.avi").write_bytes(b"RIFF of nothing" * 40)
    (copy / "green" / "green1.avi").write_bytes(b"RIFF of nothing" * 40)
    evaluation = evaluator(model, cache).evaluate(examples_of(copy, 4, 5), examples_of(copy, 0, 1, 2, 3))
    assert [each.path.name for each in evaluation.examples] == ["green4.avi", "green5.avi", "red4.avi"]
    assert [Path(path).name for path in evaluation.left_out] == ["red5.avi", "green1.avi"]
    assert evaluation.metrics.clips == 3
    with pytest.raises(UsageError, match="none of the 1 files could be read"):
        evaluator(model, cache).evaluate([each for each in examples_of(copy, 5) if each.label == "red"])


def test_classes_that_the_model_does_not_know_are_refused_at_once(
    model: Path, clips: Path, make_video: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "extract", None)  # whoever reads a file fails
    other = make_clips(make_video, tmp_path / "clips", classes=("blue",), count=1)
    with pytest.raises(UsageError, match="the model knows no class 'blue'; it knows green, red"):
        evaluator(model, tmp_path).evaluate([*examples_of(clips, 4), *examples_of(other)])
    with pytest.raises(UsageError, match="the training part has not two classes that the model knows"):
        evaluator(model, tmp_path).evaluate(examples_of(clips, 4), examples_of(other))


def test_a_model_without_a_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no classifier"):
        evaluator(Path("pocket"), tmp_path)


# What a model says of its training


def test_a_model_knows_its_seed_and_window(model: Path) -> None:
    settings = training_record(find_model(model))["settings"]
    assert (settings["seed"], settings["window_seconds"]) == (0, 20.0)


def test_files_that_the_model_was_trained_on_are_told_by_their_content(
    model: Path, clips: Path, cache: Path, tmp_path: Path, measured: Evaluation
) -> None:
    assert measured.seen_in_training == 0
    shutil.copy(clips / "red" / "red1.avi", tmp_path / "renamed.avi")
    test = [*examples_of(clips, 3, 4), Example(tmp_path / "renamed.avi", "red", "renamed")]
    asked = evaluator(model, cache)
    said: list[str] = []
    asked.report.say = said.append  # type: ignore[method-assign]
    assert asked.evaluate(test).seen_in_training == 3
    assert [line.startswith("warning: the model was trained on 3 of these 5 files") for line in said] == [True]


# The cache


def test_the_cache_is_the_one_of_the_settings_or_goes(tmp_path: Path) -> None:
    with cache_of(quick(tmp_path, cache_gigabytes=2.0)) as kept:
        assert (kept.folder, kept.limit_bytes) == (tmp_path, 2 * GIGABYTE)
    with cache_of(quick(tmp_path), keep=False) as passing:
        assert passing.folder.is_dir()
        assert (passing.folder != tmp_path, passing.limit_bytes) == (True, None)
    assert not passing.folder.exists()
