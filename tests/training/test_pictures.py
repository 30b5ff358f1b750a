"""Pictures: what is drawn is what was measured, for two classes and for a hundred and one."""

import csv
import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tristream.streams.errors import UsageError
from tristream.training.ablation import Ablation, AblationRow
from tristream.training.bootstrap import Interval
from tristream.training.history import Epoch, StageHistory
from tristream.training.pictures import (
    COLOURS,
    confusion_csv,
    draw_ablation,
    draw_confusion,
    draw_curves,
    draw_roc,
    plain,
)

ODD_NAMES = ["$x^{", "_hidden", "走る", 'a, "b"', "one\nline", "a name that is longer than a picture has room for"]


def pixels(png: bytes) -> NDArray[np.uint8]:
    """A PNG as (H, W, 3) RGB."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)


def rgb(colour: str) -> list[int]:
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]


def of_colour(picture: NDArray[np.uint8], colour: str) -> NDArray[np.bool_]:
    """Which pixels (H, W) have exactly this colour."""
    return np.asarray((picture == rgb(colour)).all(axis=2))


def names(count: int) -> list[str]:
    return [f"FrontCrawl{index}" for index in range(count)]


# Confusion matrix


def test_csv_has_a_line_a_true_class_and_a_column_a_class_it_was_taken_for() -> None:
    text = confusion_csv([[3, 1], [0, 2]], ["run, fast", "swim"])
    assert list(csv.reader(io.StringIO(text))) == [
        ["true class", "run, fast", "swim"],
        ["run, fast", "3", "1"],
        ["swim", "0", "2"],
    ]


@pytest.mark.parametrize("count", [2, 6, 20, 130])
def test_a_confusion_matrix_is_as_large_as_its_classes_need_and_no_larger(count: int) -> None:
    height, width, _ = pixels(draw_confusion(np.eye(count, dtype=int), names(count))).shape
    assert 600 <= height <= width <= 2500
    assert height >= 16 * min(count, 120)  # pixels for a line of text


def test_cells_are_coloured_by_share_and_classes_without_clips_are_grey() -> None:
    full, none, grey = "#08306b", "#f7fbff", "#e6e6e6"  # the ends of Blues, and a grey
    perfect = pixels(draw_confusion([[10, 0], [0, 2]], ["a", "b"]))
    empty = pixels(draw_confusion([[10, 0], [0, 0]], ["a", "b"]))
    # Two of four cells are full, however many clips a class has; the colour bar has some of each colour.
    assert of_colour(perfect, full).sum() == pytest.approx(of_colour(perfect, none).sum(), rel=0.1)
    assert of_colour(empty, full).sum() == pytest.approx(of_colour(perfect, full).sum() / 2, rel=0.1)
    assert of_colour(perfect, grey).sum() < 100
    assert of_colour(empty, grey).sum() == pytest.approx(of_colour(perfect, none).sum(), rel=0.1)


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (0, 0)])
def test_a_matrix_of_other_classes_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=r"of 2 classes must be square, got counts\.shape"):
        draw_confusion(np.zeros(shape), ["a", "b"])


# ROC


@pytest.mark.parametrize("count", [2, 6, 40])
def test_the_curve_of_a_perfect_classifier_leaves_the_lower_triangle_empty(count: int) -> None:
    labels = np.repeat(np.arange(count), 2)
    perfect = pixels(draw_roc(labels, np.eye(count)[labels], names(count)))
    wrong = pixels(draw_roc(labels, 1 - np.eye(count)[labels], names(count)))
    height, width, _ = perfect.shape
    black_inside = np.s_[height // 3 : height * 2 // 3, width // 3 : width * 2 // 3]
    assert not of_colour(perfect, "#000000")[black_inside].any()
    # The mean of one that is always wrong runs along the lower right edges instead of the upper left ones.
    left = np.s_[height // 3 : height * 2 // 3, : width // 5]
    assert of_colour(perfect, "#000000")[left].sum() > of_colour(wrong, "#000000")[left].sum()


def test_classes_without_clips_have_no_curve_and_clips_of_one_class_draw_none() -> None:
    scores = np.random.default_rng(0).dirichlet(np.ones(3), size=8)
    for labels, drawn in (([0, 2] * 4, [True, False, True]), ([0, 1, 2, 2] * 2, [True] * 3), ([1] * 8, [False] * 3)):
        picture = pixels(draw_roc(labels, scores, names(3)))
        of_classes = ["#1f77b4", "#ff7f0e", "#2ca02c"]  # matplotlib's first colours
        assert [bool(of_colour(picture, colour).any()) for colour in of_classes] == drawn


# Training curves


def epochs(count: int, best: int | None = 1) -> StageHistory:
    made = [Epoch(2 / (n + 1), 0.01 if n < 3 else 0.001, 2.2 / (n + 1), 1 - 1 / (n + 2), None) for n in range(count)]
    return StageHistory("spatial", tuple(made), best)


def test_each_stage_has_a_line_of_panels() -> None:
    one, three = pixels(draw_curves([epochs(5)])), pixels(draw_curves([epochs(5), epochs(40), epochs(2)]))
    assert one.shape[1] == three.shape[1] == 1500
    assert three.shape[0] > 2.5 * one.shape[0]


def test_validation_is_drawn_where_there_is_any() -> None:
    with_validation = pixels(draw_curves([epochs(8)]))
    bare = StageHistory("motion CNN", tuple(Epoch(1 / (n + 1), 0.1 * 0.9**n) for n in range(60)))
    without = pixels(draw_curves([bare]))
    assert of_colour(with_validation, COLOURS[0]).any()
    assert of_colour(with_validation, COLOURS[1]).any()
    assert of_colour(without, COLOURS[0]).any()
    assert not of_colour(without, COLOURS[1]).any()


@pytest.mark.parametrize("history", [StageHistory("none yet", ()), epochs(1, best=0), epochs(3, best=None)])
def test_short_histories_are_drawn(history: StageHistory) -> None:
    assert pixels(draw_curves([history])).shape[1] == 1500


def test_curves_of_no_stage_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one stage"):
        draw_curves([])


# Ablation


def row(streams: tuple[str, ...], top1: float, present: int = 80) -> AblationRow:
    interval = Interval(top1, max(0.0, top1 - 0.1), min(1.0, top1 + 0.1), 80, 40)
    on_present = Interval(top1, 0.0, 1.0, present, present // 2) if present else None
    return AblationRow(streams, 80, 80 - present, top1, interval, 1.0, top1, on_present)


def test_bars_are_as_long_as_their_accuracies() -> None:
    rows = (row(("spatial",), 0.4), row(("spatial", "temporal"), 0.8))
    picture = pixels(draw_ablation(Ablation(rows, (), row((), 0.2))))
    lengths = [of_colour(picture, colour).sum(axis=1).max() for colour in COLOURS[:2]]
    grey = (picture == 153).all(axis=2).sum(axis=1).max()
    assert lengths[1] / lengths[0] == pytest.approx(2.0, rel=0.02)
    assert lengths[1] / grey == pytest.approx(4.0, rel=0.05)


def test_accuracy_on_clips_that_have_the_streams_is_shown_where_some_do_not() -> None:
    whole = Ablation((row(("spatial",), 0.9), row(("audio",), 0.5)), (), row((), 0.2))
    part = Ablation((row(("spatial",), 0.9), row(("audio",), 0.5, present=40)), (), row((), 0.2))
    none = Ablation((row(("spatial",), 0.9), row(("audio",), 0.5, present=0)), (), row((), 0.2))
    assert draw_ablation(whole) != draw_ablation(part)
    assert draw_ablation(whole) == draw_ablation(none)


# All of them


def test_odd_names_are_shown_as_they_are() -> None:
    labels = np.arange(6)
    assert pixels(draw_confusion(np.eye(6), ODD_NAMES)).size
    assert pixels(draw_roc(labels, np.eye(6), ODD_NAMES)).size
    assert plain("$5 and $6") == r"\$5 and \$6"
    assert plain("one\nline") == "one line"
    assert len(plain("long " * 20)) == 28
    many = [f"{name} {index}" for index, name in enumerate(ODD_NAMES * 4)]
    assert pixels(draw_confusion(np.eye(24), many)).size


def test_the_same_figures_give_the_same_bytes() -> None:
    assert draw_confusion(np.eye(3), names(3)) == draw_confusion(np.eye(3), names(3))


def test_no_global_state_of_matplotlib_is_touched() -> None:
    code = "import sys, numpy, tristream.training.pictures as p; p.draw_confusion(numpy.eye(2), 'ab'); "
    code += "print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
