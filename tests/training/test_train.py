"""A training ends in a model that embeds and classifies, the same after any stop, and refuses what it cannot do."""

import json
import multiprocessing
import random
import shutil
import sys
import time
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tristream.fusion.classify import ModelClassifier
from tristream.fusion.folder import read_manifest, sha256_of
from tristream.fusion.model import open_model
from tristream.fusion.overrides import Overrides
from tristream.fusion.source import FOLDER_PATTERNS, find_model
from tristream.streams.config import to_json
from tristream.streams.errors import ModelError, UsageError
from tristream.training import extraction, train
from tristream.training.cache import FeatureCache
from tristream.training.checkpoint import Checkpoint
from tristream.training.evaluate import Evaluator
from tristream.training.examples import Example
from tristream.training.extraction import Extracted, extract
from tristream.training.record import learnt_from
from tristream.training.reporting import Report
from tristream.training.setup import set_up
from tristream.training.train import Trained, Trainer, parts_to_train

sys.path.append(str(Path(__file__).parent))
from fake_extraction import InlineWorkers
from made_clips import (
    OVERRIDES,
    STREAMS,
    examples_of,
    make_clips,
    quick,
    recipe_trainer,
    tiny_trainer,
    train_in_a_process,
)

FILES = {
    "README.md",
    "classifier.safetensors",
    "curves.png",
    "history.json",
    "model.json",
    "training.json",
    *(f"{stream}.safetensors" for stream in STREAMS),
}


class Told(Report):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(autouse=True)
def at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in this process, networks run on one thread."""
    torch.set_num_threads(1)
    monkeypatch.setattr(extraction, "Workers", InlineWorkers)


@pytest.fixture(scope="module")
def clips(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clips(make_video, tmp_path_factory.mktemp("data") / "clips", count=6)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Step features that the tests share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(clips: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A tiny training that nothing interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction, "Workers", InlineWorkers)
        torch.set_num_threads(1)
        return tiny(clips, tmp_path_factory.mktemp("models") / "whole", cache).run()


def tiny(clips: Path, folder: Path, cache: Path | None, report: Report | None = None, **changes: Any) -> Trainer:
    """The tiny training on the clips 0 to 3 of each class."""
    overwrite = changes.pop("overwrite", False)
    streams = changes.pop("streams", STREAMS)
    train = examples_of(clips, 0, 1, 2, 3)
    return tiny_trainer(train, folder, quick(cache, **changes), streams=streams, report=report, overwrite=overwrite)


def same(one: Path, other: Path) -> None:
    """Two model folders say the same: weights and classifier, history, metrics."""
    for name in ("classifier.safetensors", *(f"{stream}.safetensors" for stream in STREAMS)):
        ours, theirs = load_file(one / name), load_file(other / name)
        assert ours.keys() == theirs.keys()
        for tensor, values in ours.items():
            np.testing.assert_allclose(values, theirs[tensor], atol=1e-6, err_msg=f"{name}: {tensor}")
    assert (one / "history.json").read_text() == (other / "history.json").read_text()
    assert read_manifest(one).metrics == read_manifest(other).metrics


# The six recipes


@pytest.mark.parametrize("name", OVERRIDES)
def test_a_recipe_trains_evaluates_embeds_and_classifies(name: str, clips: Path, cache: Path, tmp_path: Path) -> None:
    settings = quick(cache, epochs=1)
    trained = recipe_trainer(name, examples_of(clips, 0, 1, 2, 3), tmp_path / "model", settings).run()
    assert (trained.classes, trained.left_out) == (("green", "red"), {})
    source = find_model(trained.folder)
    assert source.classes == trained.classes
    assert set(source.untrained) <= {"spatial.cnn"}
    test = examples_of(clips, 4, 5)
    evaluator = Evaluator(source, settings, FeatureCache(cache))
    evaluation = evaluator.evaluate(test, examples_of(clips, 0, 1, 2, 3))
    assert [each.path for each in evaluation.examples] == [each.path for each in test]
    assert evaluation.ablation is not None
    assert len(evaluation.ablation.rows) == 2 ** len(source.config.streams) - 1
    assert evaluation.ablation.rows[-1].top1 == evaluation.metrics.top1
    # What is evaluated from the cache is what the files themselves give.
    model = open_model(source, device="cpu", dtype="float32")
    embedded = [model.embed(str(each.path)) for each in test]
    verdicts = ModelClassifier(source, model.dims).of(embedded)
    assert [verdict.classes for verdict in verdicts] == [("green", "red")] * 4
    probabilities = np.stack([verdict.probabilities for verdict in verdicts])
    np.testing.assert_allclose(probabilities, evaluation.probabilities, atol=2e-3)  # features are kept in float16


def test_pictures_that_differ_by_class_are_told_apart(clips: Path, cache: Path, tmp_path: Path) -> None:
    settings = quick(cache, epochs=10)
    trained = recipe_trainer("lrcn2024", examples_of(clips, 0, 1, 2, 3), tmp_path / "model", settings).run()
    evaluation = Evaluator(find_model(trained.folder), settings, FeatureCache(cache)).evaluate(examples_of(clips, 4, 5))
    assert evaluation.metrics.top1 == 1


def test_where_no_network_is_to_be_trained_the_fusion_is(clips: Path, cache: Path, tmp_path: Path) -> None:
    overrides = Overrides(streams=("spatial",), backbone="test_resnet", recurrent="mean")
    train = examples_of(clips, 0, 1, 2, 3)
    trainer = set_up(train, "tkachenko2018", overrides, quick(cache), tmp_path / "model", untrained=True)
    trained = trainer.run()
    assert trained.histories == ()
    assert not (trained.folder / "curves.png").exists()
    assert "curves.png" not in (trained.folder / "README.md").read_text()
    evaluation = Evaluator(find_model(trained.folder), quick(cache), FeatureCache(cache)).evaluate(train)
    assert evaluation.metrics.top1 > 0.9


# From a trained model


def relabelled(clips: Path, *numbers: int) -> list[Example]:
    """The clips under other names of their classes."""
    return [replace(each, label={"green": "leaf", "red": "rose"}[each.label]) for each in examples_of(clips, *numbers)]


def another(whole: Trained, folder: Path) -> Path:
    """A motion CNN of the same size that is not the model's."""
    tensors = load_file(whole.folder / "temporal.safetensors")
    floats = {name: tensor * np.array(1.01, tensor.dtype) for name, tensor in tensors.items() if tensor.ndim}
    save_file(tensors | floats, folder / "other.safetensors")
    return folder / "other.safetensors"


def test_the_networks_of_a_model_are_kept(whole: Trained, clips: Path, cache: Path, tmp_path: Path) -> None:
    train = relabelled(clips, 2, 3, 4)
    settings = quick(cache, seed=5)  # no weight is drawn
    trained = set_up(train, None, Overrides(), settings, tmp_path / "new", base=find_model(whole.folder)).run()
    assert (trained.classes, trained.histories) == (("leaf", "rose"), ())
    assert set(trained.validated) == {"fusion"}
    for stream in STREAMS:
        file = f"{stream}.safetensors"
        assert (trained.folder / file).read_bytes() == (whole.folder / file).read_bytes()
    ours, theirs = find_model(trained.folder), find_model(whole.folder)
    assert ours.model_id == theirs.model_id  # so that tables and indices of the one do for the other
    evaluation = Evaluator(ours, quick(cache), FeatureCache(cache)).evaluate(relabelled(clips, 5))
    assert evaluation.top1.value == 1
    card = (trained.folder / "README.md").read_text()
    assert f"on networks of `whole` (model {theirs.model_id})" in card
    assert card.count("| those of `whole` |") == 6


def test_what_a_model_knows_the_one_that_is_made_of_it_knows(
    whole: Trained, clips: Path, cache: Path, tmp_path: Path
) -> None:
    set_up(
        relabelled(clips, 4, 5), None, Overrides(), quick(cache), tmp_path / "new", base=find_model(whole.folder)
    ).run()
    learnt = learnt_from(find_model(tmp_path / "new"))
    assert learnt is not None
    assert all(learnt(each.path) for each in examples_of(clips))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ()),
        ({"streams": ("audio",)}, ()),
        ({"recurrent": "lstm"}, tuple(f"{stream}.recurrent" for stream in STREAMS)),
        ({"audio_cnn": "yamnet"}, ("audio.cnn", "audio.recurrent")),
        ({"temporal_weights": "temporal.safetensors"}, ()),  # the very file
        ({"temporal_weights": "other.safetensors"}, ("temporal.recurrent",)),
    ],
)
def test_what_is_changed_of_a_model_is_trained(
    changes: dict[str, Any], expected: tuple[str, ...], whole: Trained, clips: Path, tmp_path: Path
) -> None:
    """An encoder reads what its CNN gives: with another CNN it is trained anew."""
    places = {
        "temporal.safetensors": whole.folder / "temporal.safetensors",
        "other.safetensors": another(whole, tmp_path),
    }
    changes = {name: places.get(value, value) if "weights" in name else value for name, value in changes.items()}
    overrides = Overrides(**changes)
    trainer = set_up(examples_of(clips), None, overrides, quick(None), tmp_path / "new", base=find_model(whole.folder))
    assert parts_to_train(trainer.source, trainer.recipe) == expected


def test_a_model_with_another_encoder(whole: Trained, clips: Path, cache: Path, tmp_path: Path) -> None:
    overrides = Overrides(streams=("spatial", "temporal"), temporal_weights=another(whole, tmp_path))
    trained = set_up(
        examples_of(clips, 0, 1, 2, 3), None, overrides, quick(cache), tmp_path / "new", base=find_model(whole.folder)
    ).run()
    assert [each.stage for each in trained.histories] == ["temporal encoder", "temporal encoder, all clips"]
    assert set(trained.validated) == {"temporal", "fusion"}


def test_what_the_kept_networks_have_learnt_from_flatters(
    whole: Trained, clips: Path, cache: Path, tmp_path: Path
) -> None:
    base = find_model(whole.folder)
    for name, numbers, warned in (("known", (0, 1, 2, 3), 1), ("fresh", (4, 5), 0)):
        told = Told()
        train = examples_of(clips, *numbers)
        made = set_up(train, None, Overrides(), quick(cache), tmp_path / name, base=base, report=told).run()
        assert sum("have learnt from 2 of those" in said for said in told.said) == warned
        assert ("so they flatter much" in (made.folder / "README.md").read_text()) == bool(warned)


def test_weights_of_another_cnn_are_refused_before_anything_is_trained(
    whole: Trained, clips: Path, tmp_path: Path
) -> None:
    overrides = Overrides(temporal_weights=whole.folder / "spatial.safetensors", audio_cnn="yamnet")
    trainer = set_up(examples_of(clips), None, overrides, quick(None), tmp_path / "new", base=find_model(whole.folder))
    with pytest.raises(ModelError, match=r"spatial\.safetensors lacks .* of another model"):
        trainer.run()
    assert not list(tmp_path.iterdir())


def test_an_encoder_is_trained_anew_where_its_cnn_was(clips: Path, cache: Path, tmp_path: Path) -> None:
    """The blocks that are fine-tuned give other features than those that the model's encoder knows."""
    few = Overrides(streams=("spatial",), backbone="test_resnet", hidden=8)
    train = examples_of(clips, 0, 1, 2, 3)
    settings = quick(cache, epochs=1)
    first = set_up(train, "tkachenko2018", few, settings, tmp_path / "first", untrained=True).run()
    told = Told()
    tuned = set_up(
        train,
        None,
        Overrides(),
        quick(cache, epochs=1, fine_tune=1),
        tmp_path / "new",
        base=find_model(first.folder),
        report=told,
    ).run()
    assert [each.stage for each in tuned.histories] == ["spatial CNN", "spatial encoder", "spatial encoder, all clips"]
    assert "warning: spatial.cnn has random weights, and is not trained" in told.said


# The model folder


def test_a_hub_gives_all_that_the_folder_holds(whole: Trained) -> None:
    for path in whole.folder.iterdir():
        assert any(fnmatch(path.name, pattern) for pattern in FOLDER_PATTERNS)


def test_the_folder_holds_all_that_a_reader_needs(whole: Trained) -> None:
    assert {path.name for path in whole.folder.parent.iterdir()} == {"whole"}
    assert {path.name for path in whole.folder.iterdir()} == FILES
    manifest = read_manifest(whole.folder)
    assert set(manifest.files) == FILES - {"model.json"}
    assert (manifest.name, manifest.classes, manifest.classifier) == ("whole", ["green", "red"], "svm")
    assert (manifest.untrained, manifest.dims) == (["spatial.cnn"], dict.fromkeys(STREAMS, 16))
    assert manifest.trained_on == "8 files of 2 classes"
    assert manifest.metrics == {
        "recipe": "tkachenko2018",
        "validation": {name: to_json(top1) for name, top1 in whole.validated.items()},
    }
    assert set(whole.validated) == {"fusion", *STREAMS}
    assert (whole.folder / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    card = (whole.folder / "README.md").read_text()
    assert "recipe `tkachenko2018`, seed 0, on\n8 files of 2 classes." in card
    assert "| the fusion of all streams |" in card
    assert "| spatial.recurrent | trained here |" in card


def test_it_tells_how_it_was_trained_but_no_name_of_a_file(whole: Trained, clips: Path) -> None:
    record = json.loads((whole.folder / "training.json").read_text())
    assert record["settings"]["seed"] == 0
    assert record["settings"]["window_seconds"] == 36.0
    assert record["recipe"]["sequence"]["fit"]["epochs"] == 2
    assert (record["files"], record["validated_on"], record["left_out"]) == (8, 2, 0)
    learnt = [sha256_of(each.path) for each in examples_of(clips, 0, 1, 2, 3)]
    assert record["contents"] == sorted(digest[:16] for digest in learnt)
    assert not [path.name for path in whole.folder.iterdir() if str(clips).encode() in path.read_bytes()]


def test_the_history_is_that_of_every_stage(whole: Trained) -> None:
    history = json.loads((whole.folder / "history.json").read_text())
    assert history == json.loads(json.dumps([each.to_json() for each in whole.histories]))
    encoders = [f"{stream} encoder{which}" for stream in STREAMS for which in ("", ", all clips")]
    assert [each.stage for each in whole.histories] == ["temporal CNN", "audio CNN", *encoders]
    for each in whole.histories:
        assert all((epoch.validation_loss is None) == each.stage.endswith("all clips") for epoch in each.epochs)


def test_a_seed_decides_the_model(clips: Path, cache: Path, tmp_path: Path) -> None:
    again = tiny(clips, tmp_path / "elsewhere" / "again", cache, streams=["spatial"]).run()
    ids = {}
    for name, seed in {"one": 0, "other": 1}.items():
        folder = tiny(clips, tmp_path / name, cache, streams=["spatial"], seed=seed).run().folder
        ids[name] = find_model(folder).model_id
        assert find_model(folder).config.seed == seed
    assert find_model(again.folder).model_id == ids["one"] != ids["other"]


# The cache


def test_a_warm_cache_computes_nothing_again(
    whole: Trained, clips: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Extracted] = []

    def counted(*arguments: Any, **named: Any) -> Extracted:
        seen.append(extract(*arguments, **named))
        return seen[-1]

    monkeypatch.setattr(train, "extract", counted)
    told = Told()
    tiny(clips, tmp_path / "model", cache, told).run()
    # The features alone: what the CNNs learnt from is not even looked for.
    assert [each.computed for each in seen] == [0]
    for stream in ("temporal", "audio"):
        assert f"{stream} CNN: trained before on the same files, taken from the cache" in told.said
    same(whole.folder, tmp_path / "model")
    assert find_model(tmp_path / "model").model_id == find_model(whole.folder).model_id
    again = tiny_trainer(examples_of(clips, 0, 1, 2), tmp_path / "other", quick(cache))
    assert again.run().left_out == {}
    assert [each.computed for each in seen[1:]] == [0, 0, 6]  # other files, another CNN


def test_without_a_cache_it_is_the_same_and_nothing_is_left(
    whole: Trained, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny(clips, Path("model"), None).run()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    same(whole.folder, tmp_path / "model")


# Files that lack something, or all


def test_a_file_without_sound_is_not_left_out(whole: Trained) -> None:
    assert whole.left_out == {}


def test_a_file_that_cannot_be_read_is_told_once_and_left_out(clips: Path, cache: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(clips, tmp_path / "clips"))
    (broken := copy / "red" / "red3.avi").write_bytes(b"RIFF of nothing" * 40)
    told = Told()
    trained = tiny(copy, tmp_path / "model", cache, told).run()
    assert trained.left_out.keys() == {str(broken)}
    assert [line.startswith("left out: ") and "red3.avi" in line for line in told.said].count(True) == 1
    assert read_manifest(trained.folder).trained_on == "7 files of 2 classes"
    assert "1 files could not be read" in (trained.folder / "README.md").read_text()


def test_a_class_of_which_nothing_can_be_read_ends_it(clips: Path, cache: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(clips, tmp_path / "clips"))
    for path in (copy / "red").iterdir():
        path.write_bytes(b"RIFF of nothing" * 40)
    with pytest.raises(UsageError, match=r"no file of class 'red' to learn from could be read: 4 failed"):
        tiny(copy, tmp_path / "model", cache, streams=["spatial"]).run()


# What is refused before a file is read


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads a file fails."""
    monkeypatch.setattr(train, "extract", None)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("recipe", "changes", "said"),
    [
        ("tkachenko2018", {"fine_tune": 99}, "--fine-tune takes 1 to .* blocks of this backbone, got 99"),
        ("lrcn2024", {"fine_tune": 1}, "--fine-tune is for the backbone of a spatial stream that is not trained whole"),
        ("konakalla", {"fine_tune": 1}, "recipe konakalla has no way to train the CNN of stream spatial"),
        ("konakalla", {"classifier": "svm"}, "konakalla has one stream and a head of its own"),
        ("lrcn2024", {"validation_share": 0.01}, "the share to hold out must be from 0.05 to 0.95, got 0.01"),
    ],
)
def test_settings_that_do_not_fit_leave_nothing(
    recipe: str, changes: dict[str, Any], said: str, clips: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        recipe_trainer(recipe, examples_of(clips, 0, 1), tmp_path / "model", quick(None, **changes)).run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("unread")
def test_a_backbone_without_blocks_is_not_fine_tuned(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--fine-tune needs a timm backbone, whose blocks timm knows"):
        tiny(clips, tmp_path / "model", None, fine_tune=1).run()


@pytest.mark.usefixtures("unread")
def test_a_stream_that_no_file_has_is_refused(make_video: Any, tmp_path: Path) -> None:
    silent = make_clips(make_video, tmp_path / "clips", count=3, sound=False)
    with pytest.raises(UsageError, match="no file to learn from has the stream audio: leave it out with --streams"):
        tiny(silent, tmp_path / "model", None).run()
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


# Stops


class Killed(BaseException):
    """Ends a training as SIGKILL does, but for what is cleaned up in memory."""


@pytest.mark.parametrize("moment", [1, 4, 7])
def test_a_training_goes_on_where_it_was_stopped(
    moment: int, whole: Trained, clips: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = Checkpoint.save_if_due
    kept = []

    def save_and_stop(self: Checkpoint, *arguments: Any, last: bool) -> None:
        self.due_seconds = 0.0
        keep(self, *arguments, last=last)
        kept.append(self.path.name)
        if len(kept) == moment:
            raise Killed

    monkeypatch.setattr(Checkpoint, "save_if_due", save_and_stop)
    features = None if moment == 1 else cache  # the CNNs are trained anew, or are there
    with pytest.raises(Killed):
        tiny(clips, tmp_path / "model", features).run()
    assert [path.name for path in tmp_path.iterdir()] == ["model.partial"]
    monkeypatch.undo()
    monkeypatch.setattr(extraction, "Workers", InlineWorkers)
    tiny(clips, tmp_path / "model", features).run()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    same(whole.folder, tmp_path / "model")


def test_a_training_that_is_killed_ends_the_same(whole: Trained, clips: Path, tmp_path: Path) -> None:
    """`kill -9` at some moment between the claim of its folder and its end, and the same training again."""
    folder, partial = tmp_path / "model", tmp_path / "model.partial"
    process = multiprocessing.get_context("spawn").Process(target=train_in_a_process, args=(clips, folder, None))
    process.start()
    deadline = time.monotonic() + 60
    while not (partial / "run.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    seconds = random.uniform(0, 3)  # noqa: S311
    print(f"killed after {seconds} s")  # pytest shows it where the test fails
    time.sleep(seconds)
    process.kill()
    process.join()
    assert partial.is_dir() != folder.is_dir()
    if partial.is_dir():
        tiny(clips, folder, None).run()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    same(whole.folder, folder)


def test_overwrite_keeps_the_old_model_until_the_new_one_is_whole(
    whole: Trained, clips: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(whole.folder, tmp_path / "model"))
    with pytest.raises(UsageError, match="model is there already: --overwrite replaces it"):
        tiny(clips, folder, cache)
    monkeypatch.setattr(train, "fuse", None)
    for _ in range(2):  # the second goes on where the first one failed
        with pytest.raises(TypeError):
            tiny(clips, folder, cache, overwrite=True, seed=1).run()
        assert find_model(folder).config.seed == 0
    monkeypatch.undo()
    monkeypatch.setattr(extraction, "Workers", InlineWorkers)
    tiny(clips, folder, cache, overwrite=True, seed=2).run()  # which drops that of the other seed
    assert find_model(folder).config.seed == 2
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_another_training_that_was_not_finished_is_not_dropped_unasked(
    clips: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "fuse", None)
    with pytest.raises(TypeError):
        tiny(clips, tmp_path / "model", cache).run()
    with pytest.raises(UsageError, match=r"model\.partial holds another training that was not finished: --overwrite"):
        tiny(clips, tmp_path / "model", cache, seed=1).run()
    assert (tmp_path / "model.partial" / "run.json").is_file()
