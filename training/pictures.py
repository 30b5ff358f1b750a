"""Pictures of a training and an evaluation: figures in, PNG bytes out; matplotlib without its global state."""

import csv
import io
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import auc, roc_curve

from tristream.streams.errors import UsageError
from tristream.training.ablation import Ablation, AblationRow
from tristream.training.bootstrap import Interval
from tristream.training.history import Epoch, StageHistory
from tristream.training.metrics import checked

DOTS_PER_INCH = 150
COUNTED_CLASSES = 20  # a confusion matrix of more has no numbers in its cells
NAMED_CLASSES = 120  # and of more than this, no class names
LEGEND_CLASSES = 10  # ROC curves of more classes have no legend of their own, and no colours
LONGEST_NAME = 28
LEARNING_RATE_MARKS = 8
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")  # Tol's bright, safe for the colour-blind


def confusion_csv(matrix: ArrayLike, classes: Sequence[str]) -> str:
    """A confusion matrix (K, K) as CSV: a line a true class, a column a class it was taken for."""
    counts = _square(matrix, classes)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true class", *classes])
    writer.writerows([name, *row] for name, row in zip(classes, counts.tolist(), strict=True))
    return text.getvalue()


def draw_confusion(matrix: ArrayLike, classes: Sequence[str]) -> bytes:
    """A confusion matrix (K, K) of clip counts as PNG, coloured by each row's shares; a class of no clips is grey.

    Colour goes with the square root of the share, so that rare mistakes among many classes can be seen.

    Raises:
        UsageError: another shape than (K, K).
    """
    counts = _square(matrix, classes)
    clips = counts.sum(axis=1, keepdims=True)
    shares = np.ma.masked_invalid(np.where(clips > 0, counts / np.maximum(clips, 1), np.nan))
    side_inches = float(np.clip(2.6 + 0.45 * len(classes), 4.5, 15.0))
    figure = Figure(figsize=(side_inches + 1.2, side_inches), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("0.9")
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set(xlabel="taken for", ylabel="true class")
    size_points = float(np.clip(0.75 * 72 * side_inches / (len(classes) + 5), 5, 10))
    _name_classes(axes, classes, size_points)
    if len(classes) <= COUNTED_CLASSES:
        for row, column in np.argwhere(counts > 0):
            colour = "white" if shares[row, column] > 0.35 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, size=size_points)
    return _png(figure)


def _name_classes(axes: Axes, classes: Sequence[str], size_points: float) -> None:
    """Names on both axes; where there are too many, matplotlib's ticks: the index of a class now and then."""
    if len(classes) > NAMED_CLASSES:
        return
    ticks, names = range(len(classes)), [plain(name) for name in classes]
    axes.set_xticks(ticks, names, rotation=90 if len(classes) > COUNTED_CLASSES else 40, size=size_points)
    if len(classes) <= COUNTED_CLASSES:  # slanted names end at their ticks
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names, size=size_points)


def draw_roc(labels: ArrayLike, scores: ArrayLike, classes: Sequence[str]) -> bytes:
    """The ROC curve of each class against the rest, and their mean (macro), as PNG.

    `labels` (N,) are indices into `classes`, `scores` (N, K). A class without clips has no curve.

    Raises:
        UsageError: as `metrics.measure` says.
    """
    truth, values = checked(labels, scores, len(classes))
    figure = Figure(figsize=(5.8, 5.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":", linewidth=1)
    grid = np.linspace(0, 1, 501)
    few = len(classes) <= LEGEND_CLASSES
    curves, areas = [], []
    for index, name in enumerate(classes):
        is_class = truth == index
        if is_class.all() or not is_class.any():
            continue
        false_rate, true_rate, _ = roc_curve(is_class, values[:, index])
        curves.append(np.interp(grid, false_rate, true_rate))
        areas.append(auc(false_rate, true_rate))
        label = f"{areas[-1]:.3f}  {plain(name)}" if few else None
        colour, width = (f"C{index}", 1.2) if few else ("0.6", 0.5)
        axes.plot(false_rate, true_rate, color=colour, linewidth=width, label=label)
    if curves:
        mean = [0.0, *np.mean(curves, axis=0)]
        label = f"{np.mean(areas):.3f}  mean of {len(areas)} classes"
        # Under the curves of the classes, which it would hide where they are all good.
        axes.plot([0.0, *grid], mean, color="black", linewidth=3, zorder=1, label=label)
        axes.legend(title="area under the curve", loc="lower right", fontsize=8, title_fontsize=8)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1), ylim=(0, 1.01))
    axes.set_aspect("equal")
    return _png(figure)


def draw_curves(stages: Sequence[StageHistory]) -> bytes:
    """Loss (left) and accuracy (right) of each stage (a line of panels) over its epochs, as PNG.

    The epoch whose weights were kept is marked, and where the learning rate changes.

    Raises:
        UsageError: no stage.
    """
    if not stages:
        raise UsageError("curves need at least one stage of training, got none")
    figure = Figure(figsize=(10, 0.4 + 2.8 * len(stages)), layout="constrained")
    for (left, right), history in zip(figure.subplots(len(stages), 2, squeeze=False), stages, strict=True):
        epochs = history.epochs
        _draw_pair(left, "loss", [e.train_loss for e in epochs], [e.validation_loss for e in epochs])
        _draw_pair(right, "accuracy", [e.train_accuracy for e in epochs], [e.validation_accuracy for e in epochs])
        left.set_title(plain(history.stage), loc="left", weight="bold")
        right.set_title(_kept(history), loc="right", size=9)
        left.margins(y=0.12)  # room for the learning rates under the curves
        right.set_ylim(0, 1.02)
        right.axison = bool(right.lines)  # an accuracy that nothing measured has no panel
        for axes in (left, right):
            axes.set_xlim(0.5, max(len(epochs), 1) + 0.5)
            if axes.lines and history.best is not None:
                axes.axvline(history.best + 1, color="0.3", linewidth=1, linestyle="--", label="kept")
        _mark_learning_rate(left, epochs)
        if left.lines:
            left.legend(fontsize=8, loc="upper right")
    return _png(figure)


def _draw_pair(axes: Axes, what: str, train: Sequence[float | None], validation: Sequence[float | None]) -> None:
    """A figure of the training and of the validation part over the epochs, counted from 1; None is a gap."""
    for values, name, colour in ((train, "training", COLOURS[0]), (validation, "validation", COLOURS[1])):
        if any(value is not None for value in values):
            heights = [np.nan if value is None else value for value in values]
            marker = "." if len(values) <= 30 else None
            axes.plot(range(1, len(values) + 1), heights, color=colour, marker=marker, linewidth=1.3, label=name)
    axes.set(xlabel="epoch", ylabel=what)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25)


def _kept(history: StageHistory) -> str:
    """What the epoch that was kept got."""
    if history.best is None:
        return ""
    epoch = history.epochs[history.best]
    accuracy = "" if epoch.validation_accuracy is None else f": validation accuracy {epoch.validation_accuracy:.3f}"
    return f"kept epoch {history.best + 1} of {len(history.epochs)}{accuracy}"


def _mark_learning_rate(axes: Axes, epochs: Sequence[Epoch]) -> None:
    """The learning rate at the first epoch, and where it changes; none where it changes all the time."""
    rates = [epoch.learning_rate for epoch in epochs]
    changes = [index for index in range(1, len(rates)) if rates[index] != rates[index - 1]]
    if not rates or len(changes) > LEARNING_RATE_MARKS:
        return
    for index in changes:
        axes.axvline(index + 0.5, color="0.6", linewidth=0.8, linestyle=":")
    for index in (0, *changes):
        axes.annotate(
            f"learning rate {rates[index]:g}" if index == 0 else f"{rates[index]:g}",
            (index + 0.5, 0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(2, 3),
            textcoords="offset points",
            size=7,
            color="0.35",
        )


def draw_ablation(ablation: Ablation) -> bytes:
    """Top-1 of every set of streams with its interval as bars, and as dots on the clips that have them all, as PNG.

    The bare presence of streams comes last, in grey: what a bar is above it is knowledge.
    """
    rows = [*ablation.rows, ablation.presence_only]
    figure = Figure(figsize=(8, 1.3 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    heights = range(len(rows))
    for height, row in zip(heights, rows, strict=True):
        colour = COLOURS[(len(row.streams) - 1) % len(COLOURS)] if row.streams else "0.6"
        axes.barh(height, row.top1, color=colour, height=0.62)
        axes.errorbar(row.top1, height, xerr=_arms(row.interval), color="black", capsize=3, linewidth=1.2)
        axes.text(1.03, height, f"{row.top1:.3f}", va="center", size=9)
    partial = [(height, row.on_present) for height, row in zip(heights, rows, strict=True) if row.on_present]
    partial = [(height, interval) for height, interval in partial if interval.clips < ablation.presence_only.clips]
    if partial:
        axes.plot(
            [interval.value for _, interval in partial],
            [height for height, _ in partial],
            "D",
            color="white",
            markeredgecolor="black",
            markersize=5,
            label="only clips that have all these streams",
        )
        figure.legend(loc="outside lower right", fontsize=8, frameon=False)
    axes.axvline(ablation.presence_only.top1, color="0.6", linestyle=":", linewidth=1)
    axes.set_yticks(heights, [_row_name(row) for row in rows], size=9)
    axes.set(xlim=(0, 1.12), ylim=(len(rows) - 0.4, -0.6), xlabel="top-1, with 95 % interval")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def _arms(interval: Interval) -> NDArray[np.float64]:
    """How far an interval reaches below and above its figure (2, 1)."""
    return np.array([[interval.value - interval.low], [interval.high - interval.value]])


def _row_name(row: AblationRow) -> str:
    return plain(" + ".join(row.streams), 60) if row.streams else "presence of streams only"


def plain(name: str, longest: int = LONGEST_NAME) -> str:
    """A name as matplotlib may show it: cut if it is long, on one line, and `$` no formula."""
    short = " ".join(name.split())
    short = short if len(short) <= longest else short[: longest - 1] + "…"
    return short.replace("$", r"\$")


def _square(matrix: ArrayLike, classes: Sequence[str]) -> NDArray[np.int64]:
    counts = np.asarray(matrix, dtype=np.int64)
    if counts.shape != (len(classes), len(classes)) or len(classes) == 0:
        raise UsageError(f"a confusion matrix of {len(classes)} classes must be square, got {counts.shape = }")
    return counts


def _png(figure: Figure) -> bytes:
    """The figure as PNG; a letter that the font lacks shows as a box, and is no reason to warn."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return file.getvalue()
