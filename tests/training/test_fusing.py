"""A model's classifier is fitted on what its encoders make of clips, and is as sure as it is right."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from tristream.fusion.classifier import Classifier, read_classifier
from tristream.streams.config import RecurrentConfig, StreamName
from tristream.streams.recurrent import RecurrentEncoder
from tristream.training.cache import FeatureCache, StepFeatures
from tristream.training.clipset import ClipSet, Row
from tristream.training.examples import Example
from tristream.training.fusing import Fused, fuse
from tristream.training.networks import SequenceNetwork
from tristream.training.recipes import COREHAR_RECIPE, OROZCO_RECIPE, RECIPES, TKACHENKO_RECIPE, Head, Recipe
from tristream.training.reporting import Report
from tristream.training.sequence_stage import TrainedEncoder
from tristream.training.sequences import Clip, SequenceReader

CLASSES = ("calm", "loud", "wild")
SIZES: dict[StreamName, int] = {"spatial": 6, "audio": 4}
TOLD = {"spatial": 2.0, "audio": 0.0}  # how far the classes are apart, in deviations


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path)


def clips_of(cache: FeatureCache, count: int, seed: int) -> ClipSet:
    """So many clips of three steps, every third without sound; their features lie around their class's."""
    generator = np.random.default_rng(seed)
    rows, clips = [], {stream: {} for stream in SIZES}
    for number in range(count):
        label = number % len(CLASSES)
        example = Example(Path(f"{seed}-{number}.avi"), CLASSES[label], f"{seed}-{number}")
        rows.append(Row(example, label, 0.0, 3.0))
        for stream, size in SIZES.items():
            if stream == "audio" and number // len(CLASSES) % 3 == 0:
                continue
            centre = TOLD[stream] * np.eye(len(CLASSES), size)[label]
            values = (centre + generator.normal(0, 1, size) + generator.normal(0, 0.1, (3, size)))[None]
            seconds = np.arange(3.0)
            cache.write(
                key := f"{stream}{seed}{number}",
                StepFeatures(values.astype(np.float16), np.stack([seconds, seconds, seconds + 1], axis=1), 3.0),
            )
            clips[stream][number] = Clip(key, np.arange(3), label)
    return ClipSet(tuple(rows), clips)


def encoders_of(cache: FeatureCache, streams: Sequence[StreamName], head: Head) -> dict[StreamName, TrainedEncoder]:
    """Encoders that give the mean of a clip's steps, under heads that chance made."""
    made = {}
    for stream in streams:
        torch.manual_seed(0)
        encoder = RecurrentEncoder(SIZES[stream], RecurrentConfig("mean"))
        network = SequenceNetwork(None, encoder, len(CLASSES), head, 0.0).eval()
        made[stream] = TrainedEncoder(stream, network, network, SequenceReader(cache))
    return made


def fused(
    cache: FeatureCache, recipe: Recipe, streams: Sequence[StreamName] = ("spatial", "audio"), held_out: int = 60
) -> tuple[Fused, ClipSet]:
    """The classifier of a recipe, and clips that it has never seen."""
    encoders = encoders_of(cache, streams, recipe.sequence.head)
    learn, validate = clips_of(cache, 90, 1), clips_of(cache, held_out, 2)
    return fuse(recipe, encoders, learn, validate, CLASSES, 0, Report()), clips_of(cache, 120, 3)


def vectors(cache: FeatureCache, clips: ClipSet, streams: Sequence[StreamName]) -> np.ndarray:
    encoders = encoders_of(cache, streams, "softmax")
    return clips.embeddings({name: each.encode(clips.of(name), final=True).vectors for name, each in encoders.items()})


def opened(made: Fused, streams: Sequence[StreamName] = ("spatial", "audio")) -> Classifier:
    return read_classifier(made.kind, made.data, {stream: SIZES[stream] for stream in streams}, CLASSES)


# Fusions


@pytest.mark.parametrize("kind", ["svm", "softmax", "late"])
def test_a_fusion_classifies_what_it_has_not_seen(kind: str, cache: FeatureCache) -> None:
    made, unseen = fused(cache, replace(TKACHENKO_RECIPE, classifier=kind))
    assert made.kind == kind
    classifier = opened(made)
    X = vectors(cache, unseen, tuple(SIZES))
    truth = np.array(CLASSES)[unseen.labels]
    top1 = np.mean(classifier.predict(X) == truth)
    assert top1 > 0.6  # by chance 0.33
    assert abs(made.validated["fusion"].value - top1) < 0.15
    # As sure as it is right, on clips that it has not seen.
    assert abs(classifier.predict_proba(X).max(axis=1).mean() - top1) < 0.12


def test_the_figures_are_those_of_the_clips_held_out(cache: FeatureCache) -> None:
    made, _ = fused(cache, TKACHENKO_RECIPE)
    assert set(made.validated) == {"fusion", "spatial", "audio"}
    assert made.validated["fusion"].clips == 60
    assert all(0 <= top1.low <= top1.value <= top1.high <= 1 for top1 in made.validated.values())


def test_with_nothing_held_out_a_fusion_is_fitted_all_the_same(cache: FeatureCache) -> None:
    made, unseen = fused(cache, TKACHENKO_RECIPE, held_out=0)
    assert made.validated == {}
    assert opened(made).predict(vectors(cache, unseen, tuple(SIZES))).shape == (120,)


# Heads


@pytest.mark.parametrize("name", ["orozco2021", "konakalla"])
def test_a_head_is_the_one_that_its_encoder_was_trained_with(name: str, cache: FeatureCache) -> None:
    recipe = RECIPES[name]
    made, unseen = fused(cache, recipe, ["spatial"])
    assert (made.kind, set(made.validated)) == ("head", {"spatial"})
    encoder = encoders_of(cache, ["spatial"], recipe.sequence.head)["spatial"]
    expected = encoder.encode(unseen.of("spatial"), final=True).probabilities
    X = vectors(cache, unseen, ["spatial"])
    np.testing.assert_allclose(opened(made, ["spatial"]).predict_proba(X), expected, atol=1e-5)


def test_the_head_of_steps_that_vote_is_kept_as_it_is(cache: FeatureCache) -> None:
    made, _ = fused(cache, COREHAR_RECIPE, ["spatial"])
    head = encoders_of(cache, ["spatial"], "votes")["spatial"].final.head
    arrays = load(made.data)
    assert made.kind == "votes"
    assert arrays.keys() == {"weight", "bias"}
    np.testing.assert_array_equal(arrays["weight"], head.weight.detach().numpy())


def test_an_encoder_without_anything_to_learn_has_no_accuracy_of_its_own(cache: FeatureCache) -> None:
    encoders = encoders_of(cache, ["spatial"], "softmax")
    encoders = {stream: replace(each, validated=None) for stream, each in encoders.items()}
    made = fuse(TKACHENKO_RECIPE, encoders, clips_of(cache, 30, 1), clips_of(cache, 30, 2), CLASSES, 0, Report())
    assert set(made.validated) == {"fusion"}


def test_a_recipe_with_a_sigmoid_head_says_so(cache: FeatureCache) -> None:
    made, _ = fused(cache, OROZCO_RECIPE, ["spatial"])
    softmax, _ = fused(cache, replace(OROZCO_RECIPE, sequence=RECIPES["konakalla"].sequence), ["spatial"])
    assert made.data != softmax.data
