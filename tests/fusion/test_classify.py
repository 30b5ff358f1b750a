"""What a model's classifier says of embeddings, and what a model without one is told."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save

from tristream.fusion.classifier import write_classifier
from tristream.fusion.classify import ModelClassifier, Verdict, find_classifying_model
from tristream.fusion.config import POCKET
from tristream.fusion.embedding import ClipEmbedding, VideoEmbedding, join_clips
from tristream.fusion.folder import CLASSIFIER_FILE, ModelManifest, write_manifest
from tristream.fusion.source import ModelSource
from tristream.fusion.svm import FusionSVM
from tristream.streams.config import StreamName
from tristream.streams.errors import ModelError, UsageError

sys.path.append(str(Path(__file__).parent))
from fake_clips import NAMES, made_clips

DIMS: dict[StreamName, int] = {"spatial": 12, "temporal": 8, "audio": 6}


def source(folder: Path, kind: str, data: bytes) -> ModelSource:
    (folder / CLASSIFIER_FILE).write_bytes(data)
    return ModelSource("fake", POCKET, {}, tuple(NAMES.tolist()), kind, folder / CLASSIFIER_FILE)


@pytest.fixture
def svm(tmp_path: Path) -> ModelClassifier:
    clips = made_clips(80)
    fitted = FusionSVM(dims=DIMS, calibration_folds=0).fit(clips.X, clips.y)
    return ModelClassifier(source(tmp_path, *write_classifier(fitted)), DIMS)


@pytest.fixture
def voting(tmp_path: Path) -> ModelClassifier:
    head = {"weight": np.zeros((4, 12), np.float32), "bias": np.zeros(4, np.float32)}
    return ModelClassifier(source(tmp_path, "votes", save(head)), {"spatial": 12})


def clip_of(vector: NDArray[np.float64], begin_seconds: float = 0.0, end_seconds: float = 2.0) -> ClipEmbedding:
    present = {
        stream: bool(vector[begin:end].any()) for stream, begin, end in (("spatial", 0, 12), ("temporal", 12, 20))
    }
    present["audio"] = bool(vector[20:].any())
    return ClipEmbedding(begin_seconds, end_seconds, vector.astype(np.float32), present, DIMS)


def voted(*votes: float, begin_seconds: float = 0.0, end_seconds: float = 1.0) -> ClipEmbedding:
    vector = np.zeros(12, np.float32)
    return ClipEmbedding(
        begin_seconds, end_seconds, vector, {"spatial": True}, {"spatial": 12}, np.array(votes, np.float32)
    )


def of_clips(*clips: ClipEmbedding) -> VideoEmbedding:
    vector, present = join_clips(clips)
    return VideoEmbedding("/a.avi", "0123456789ab", vector, present, clips[0].dims, clips, duration_seconds=4.0)


def test_the_shares_of_the_streams_are_the_score_and_an_absent_one_has_none(svm: ModelClassifier) -> None:
    X = made_clips(12, seed=1).X
    X[0, -6:] = 0.0
    for row, verdict in zip(X, svm.of([clip_of(row) for row in X]), strict=True):
        np.testing.assert_allclose(sum(verdict.shares.values()), verdict.scores, rtol=1e-12)
        assert verdict.probabilities.sum() == pytest.approx(1.0)
        assert list(verdict.shares) == list(DIMS)
        assert verdict.shares["audio"].any() == row[-6:].any()


def test_the_classes_are_told_as_they_were_learnt(svm: ModelClassifier) -> None:
    clips = made_clips(40, noise=0.5, seed=1)
    assert [verdict.top(1)[0][0] for verdict in svm.of([clip_of(row) for row in clips.X])] == clips.y.tolist()
    assert svm.of([]) == []


def test_a_video_is_told_by_its_own_vector(svm: ModelClassifier) -> None:
    video = of_clips(*(clip_of(row) for row in made_clips(3, seed=1).X))
    (alone,) = svm.of([ClipEmbedding(0.0, 4.0, video.vector, video.present, DIMS)])
    (whole,) = svm.of([video])
    np.testing.assert_array_equal(whole.probabilities, alone.probabilities)


def test_the_top_is_in_order_and_as_long_as_there_are_classes() -> None:
    shares = np.array([1.0, 3.0, 2.0])
    verdict = Verdict(("a", "b", "c"), np.array([0.2, 0.5, 0.3]), shares * 2, {"spatial": shares, "audio": shares})
    assert verdict.order == [1, 2, 0]
    assert verdict.top(2) == [("b", 0.5), ("c", 0.3)]
    assert len(verdict.to_json(9)) == 3
    assert verdict.to_json(1) == [
        {"class": "b", "probability": 0.5, "score": 6.0, "streams": {"spatial": 3.0, "audio": 3.0}}
    ]


def test_an_embedding_of_another_model_is_refused(svm: ModelClassifier, voting: ModelClassifier) -> None:
    with pytest.raises(UsageError, match=r"needs embeddings of {'spatial': 12, 'temporal': 8, 'audio': 6}"):
        svm.of([voted(1, 0, 0, 0)])
    with pytest.raises(UsageError, match="vote on 4 classes; the embedding has no such votes"):
        voting.of([clip_of(made_clips(1).X[0])])


def test_votes_survive_the_way_from_a_worker_and_are_weighed_by_length(voting: ModelClassifier) -> None:
    video = of_clips(voted(1, 0, 0, 0), voted(0, 0.5, 0.5, 0, begin_seconds=1.0, end_seconds=4.0))
    whole, first, second = voting.of([pickle.loads(pickle.dumps(each)) for each in (video, *video.clips)])  # noqa: S301
    np.testing.assert_allclose(whole.probabilities, [0.25, 0.375, 0.375, 0.0])
    np.testing.assert_allclose(whole.shares["spatial"], whole.scores)
    assert (first.top(1), second.top(1)) == ([("archery", 1.0)], [("diving", 0.5)])


@pytest.mark.parametrize("name", ["pocket", "tkachenko2018", "corehar2020"])
def test_a_model_that_was_not_trained_with_classes_is_refused_by_name(name: str) -> None:
    with pytest.raises(ModelError, match=f"model {name} has no classifier: train one with train-video"):
        find_classifying_model(name)


def test_a_folder_without_its_weights_or_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a model folder: it has no model\.json"):
        find_classifying_model(tmp_path)
    (tmp_path / CLASSIFIER_FILE).write_bytes(save({"weight": np.zeros(1)}))
    write_manifest(tmp_path, ModelManifest(name="half", trained=True, classes=["a", "b"], classifier="svm"), "")
    with pytest.raises(ModelError, match=r"model half has no weights for spatial\.cnn, .*; copy its whole folder"):
        find_classifying_model(tmp_path)
    with pytest.raises(ModelError, match="fake has no classifier"):
        ModelClassifier(ModelSource("fake", POCKET, {}), DIMS)
