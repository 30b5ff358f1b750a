"""What every kind of classifier promises its readers, and that it comes back from bytes as it was."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save

from tristream.fusion.classifier import CLASSIFIERS, Classifier, read_classifier, write_classifier
from tristream.fusion.head import HeadClassifier
from tristream.fusion.svm import FusionSVM
from tristream.streams.errors import ModelError, UsageError

sys.path.append(str(Path(__file__).parent))
from fake_clips import DIMS, NAMES, made_clips

pytestmark = pytest.mark.usefixtures("one_thread")


WIDTH = sum(DIMS.values())
EVERY = [(kind, count) for kind in (*CLASSIFIERS, "sigmoid head") for count in (2, 4)]


@cache
def classifier(kind: str, count: int) -> Classifier:
    """A fitted classifier of made clips, or a head of random weights."""
    if kind.endswith("head"):
        generator = np.random.default_rng(0)
        activation: Any = "sigmoid" if kind.startswith("sigmoid") else "softmax"
        weight, bias = generator.normal(size=(count, WIDTH)) / 50, generator.normal(size=count)
        return HeadClassifier(weight, bias, list(NAMES[:count]), DIMS, activation)
    clips = made_clips(80, count)
    fusion: Any = CLASSIFIERS[kind]
    fitted: Classifier = fusion(dims=DIMS).fit(clips.X, clips.y, clips.groups)
    return fitted


def rows(count: int) -> NDArray[np.float64]:
    """Clips that were not fitted on: whole, silent, of one stream, of none."""
    X = made_clips(40, count, seed=1).X
    X[0, 12:], X[1, :20], X[2] = 0.0, 0.0, 0.0
    return X


@pytest.mark.parametrize(("kind", "count"), EVERY)
def test_contributions_add_up_exactly_and_the_absent_give_nothing(kind: str, count: int) -> None:
    told, X = classifier(kind, count), rows(count)
    shares, scores = told.contributions(X), told.decision_function(X)
    assert shares.shape == (40, 3, count)
    assert scores.shape == ((40,) if count == 2 else (40, count))
    np.testing.assert_array_equal(shares.sum(axis=1)[:, 1] if count == 2 else shares.sum(axis=1), scores)
    if count == 2:
        np.testing.assert_array_equal(shares.sum(axis=1)[:, 0], -scores)
    assert not shares[0, 1:].any()
    assert not shares[1, :2].any()
    np.testing.assert_array_equal(shares[2, 0], shares[2, 1])  # of a clip without streams, each has as much
    silent = ~X[:, -6:].any(axis=1)
    silent[2] = False
    assert silent.any()
    assert not shares[silent, 2].any()


@pytest.mark.parametrize(("kind", "count"), EVERY)
def test_the_class_is_the_highest_score_and_the_highest_probability(kind: str, count: int) -> None:
    told, X = classifier(kind, count), rows(count)
    probabilities = told.predict_proba(X)
    best = told.contributions(X).sum(axis=1).argmax(axis=1)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    assert (probabilities >= 0).all()
    np.testing.assert_array_equal(told.predict(X), told.classes_[best])
    np.testing.assert_array_equal(probabilities.argmax(axis=1)[3:], best[3:])  # a clip of few streams may be a tie
    assert told.dims_ == DIMS


@pytest.mark.parametrize(("kind", "count"), EVERY)
def test_it_comes_back_from_bytes_as_it_was(kind: str, count: int) -> None:
    told, X = classifier(kind, count), rows(count)
    written, data = write_classifier(told)
    read = read_classifier(written, data, DIMS, [str(name) for name in told.classes_])
    assert type(read) is type(told)
    assert written == kind.split()[-1]
    for method in ("contributions", "decision_function", "predict_proba", "predict"):
        np.testing.assert_array_equal(getattr(read, method)(X), getattr(told, method)(X))
    assert read.dims_ == told.dims_
    assert write_classifier(read) == (written, data)


@pytest.mark.parametrize("kind", ["svm", "softmax", "late"])
def test_what_was_read_is_calibrated_by_the_names_of_its_classes(kind: str) -> None:
    (_, data), clips = write_classifier(classifier(kind, 4)), made_clips(100, seed=2)
    read: Any = read_classifier(kind, data, DIMS, list(NAMES))
    turned: Any = read_classifier(kind, data, DIMS, list(NAMES[::-1]))  # as the classes of a head may stand
    opposite = NAMES[3 - np.searchsorted(NAMES, clips.y)]
    assert read.calibrate(clips.X, clips.y).temperature_ == turned.calibrate(clips.X, opposite).temperature_ != 1.0


def test_classes_of_any_kind_of_label_are_kept() -> None:
    clips = made_clips(80)
    numbers = np.searchsorted(NAMES, clips.y) * 10
    fusion = FusionSVM(calibration_folds=0).fit(clips.X, numbers)
    assert fusion.classes_.tolist() == [0, 10, 20, 30]
    assert set(fusion.predict(clips.X).tolist()) == {0, 10, 20, 30}


# Damage


def changed(kind: str, **arrays: Any) -> bytes:
    """The bytes of a classifier in which arrays are others; None leaves one out."""
    held = load(write_classifier(classifier(kind, 4))[1]) | arrays
    return save({name: np.asarray(array) for name, array in held.items() if array is not None})


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("cut", [0, 7, 40, -8])
def test_damaged_bytes_are_refused(kind: str, cut: int) -> None:
    _, data = write_classifier(classifier(kind, 4))
    with pytest.raises(ModelError, match=f"{kind} classifier is damaged"):
        read_classifier(kind, data[:cut], DIMS, list(NAMES))


@pytest.mark.parametrize(
    ("kind", "arrays", "message"),
    [
        ("svm", {"coef": None}, "has the arrays"),
        ("svm", {"extra": [1.0]}, "has the arrays"),
        ("svm", {"coef": np.zeros((4, 25))}, r"'coef'.*must be \(4, 26\)"),
        ("svm", {"coef": np.full((4, WIDTH), np.nan)}, "'coef'.*finite"),
        ("svm", {"scale": np.zeros(WIDTH)}, "'scale'.*positive"),
        ("softmax", {"temperature": -1.0}, "'temperature'.*positive"),
        ("softmax", {"mean": np.zeros(3)}, r"'mean'.*must be \(26,\)"),
        ("late", {"known": np.ones((4, 4))}, r"'known'.*must be \(3, 4\)"),
        ("late", {"prior": np.full(4, np.inf)}, "'prior'.*finite"),
        ("head", {"bias": np.zeros(3)}, r"'bias'.*must be \(4,\)"),
        ("head", {"weight": np.zeros((4, WIDTH), np.complex64)}, "'weight'.*finite"),
    ],
)
def test_arrays_that_no_classifier_has_are_refused(kind: str, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_classifier(kind, changed(kind, **arrays), DIMS, list(NAMES))


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_dims_and_classes_of_another_model_are_refused(kind: str) -> None:
    _, data = write_classifier(classifier(kind, 4))
    for dims, classes in (({"spatial": 25}, list(NAMES)), (DIMS, list(NAMES[:3])), (DIMS, ["one"]), ({}, list(NAMES))):
        with pytest.raises(ModelError):
            read_classifier(kind, data, dims, classes)


def test_another_kind_is_refused() -> None:
    with pytest.raises(ModelError, match="svm, softmax, late, head; this one says 'forest'"):
        read_classifier("forest", b"", DIMS, list(NAMES))
    with pytest.raises(ModelError, match="has the arrays"):
        read_classifier("head", write_classifier(classifier("svm", 4))[1], DIMS, list(NAMES))
    with pytest.raises(UsageError, match="svm, softmax, late, head classifier, got a dict"):
        write_classifier({})  # type: ignore[arg-type]


def test_it_needs_no_torch() -> None:
    code = "import sys; import tristream.fusion.classifier; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
