"""Table I of Tkachenko 2018: other recurrent encoders of the spatial stream, trained on the same step features."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tristream.fusion.source import ModelSource
from tristream.fusion.svm import FusionSVM
from tristream.streams.config import RecurrentConfig, SpatialConfig, to_json
from tristream.streams.errors import UsageError
from tristream.training.cache import key_of
from tristream.training.clipset import ClipSet, clip_set
from tristream.training.evaluate import Evaluator
from tristream.training.examples import Example
from tristream.training.extraction import Wanted, extract, make_job
from tristream.training.metrics import measure
from tristream.training.recipes import TKACHENKO_RECIPE, Recipe
from tristream.training.sequence_stage import SequenceStage
from tristream.training.splits import part_off


@dataclass(frozen=True)
class SweepRow:
    """One encoder: what it gets here (shares) and what the paper has for it on UCF101, split 1 (percent)."""

    name: str
    units: int
    top1: float
    top5: float
    paper_top1: float
    paper_top5: float
    parameters: int
    seconds: float


def _stacked(cell: str, units: int, attention_heads: int = 0) -> RecurrentConfig:
    return RecurrentConfig(cell, hidden=units, attention_heads=attention_heads)  # type: ignore[arg-type]


def _single(cell: str, units: int, bidirectional: bool = False) -> RecurrentConfig:
    return RecurrentConfig(cell, hidden=units, layers=1, bidirectional=bidirectional)  # type: ignore[arg-type]


def _one_way(cell: str, units: int) -> RecurrentConfig:
    return RecurrentConfig(cell, hidden=units, bidirectional=False)  # type: ignore[arg-type]


SVM_ROW = "S. BiGRU + SVM"  # the encoder of the row marked (*), under a linear SVM in place of the softmax
FIGURES = "figures"  # of an encoder, the name under which the cache keeps them
ATTENTION_HEADS = 8  # the paper has no number; Vaswani et al. 2017 have 8

# The rows of the table: name, encoder, top-1 and top-5 in percent.
TABLE_I: tuple[tuple[str, RecurrentConfig, float, float], ...] = (
    ("LSTM", _single("lstm", 256), 76.24, 93.49),
    ("LSTM", _single("lstm", 512), 77.09, 93.09),
    ("LSTM", _single("lstm", 1024), 77.07, 93.62),
    ("LSTM", _single("lstm", 2048), 76.22, 93.62),
    ("GRU", _single("gru", 512), 77.83, 93.88),
    ("GRU", _single("gru", 1024), 77.81, 93.17),
    ("BiLSTM", _single("lstm", 512, True), 77.36, 93.41),
    ("BiLSTM", _single("lstm", 1024, True), 75.93, 93.49),
    ("BiGRU", _single("gru", 512, True), 77.33, 93.46),
    ("BiGRU", _single("gru", 1024, True), 77.52, 93.41),
    ("S. LSTM", _one_way("lstm", 512), 74.71, 92.80),
    ("S. LSTM", _one_way("lstm", 1024), 76.80, 94.09),
    ("S. GRU", _one_way("gru", 512), 77.09, 93.03),
    ("S. GRU", _one_way("gru", 1024), 77.22, 93.25),
    ("S. BiGRU", _stacked("gru", 512), 78.34, 93.51),
    ("S. BiGRU", _stacked("gru", 1024), 77.15, 93.17),
    ("S. BiLSTM", _stacked("lstm", 512), 74.50, 92.77),
    ("S. BiGRU + attention", _stacked("gru", 512, ATTENTION_HEADS), 75.03, 92.89),
    (SVM_ROW, _stacked("gru", 512), 79.40, 90.84),
)


def sweep_recurrent(
    evaluator: Evaluator, train: Sequence[Example], test: Sequence[Example], rows: slice = slice(None)
) -> tuple[SweepRow, ...]:
    """Train each encoder of Table I on the training part's spatial features, and measure it on the test part.

    Epochs are chosen on a validation part of the training part, never on the test part. Clips of classes that the
    model does not know are left out. What an encoder got is kept in the cache, so that a sweep that was stopped goes
    on with the next.

    Raises:
        UsageError: as `check_sweepable`.
    """
    source, settings = evaluator.source, evaluator.settings
    spatial = check_sweepable(source)
    # The model's own encoder is not to be gone on from.
    weights = {part: each for part, each in source.weights.items() if part != "spatial.recurrent"}
    only = replace(source, config=source.config.with_streams(("spatial",)), weights=weights)
    wanted = [Wanted("spatial")]
    job = make_job(only, evaluator.windows, evaluator.cache, wanted, settings.device, settings.dtype)
    classes = tuple(evaluator.classifier.classes)

    def clips(examples: Sequence[Example]) -> ClipSet:
        paths = [str(example.path) for example in examples]
        with evaluator.report.files("spatial features", len(paths)) as on_file:
            extracted = extract(
                job,
                paths,
                evaluator.cache,
                jobs=settings.jobs,
                timeout_seconds=settings.timeout_seconds,
                on_file=on_file,
            )
        readable = [each for each in examples if str(each.path) in extracted.keys and each.label in classes]
        return clip_set(readable, classes, extracted, evaluator.cache, evaluator.windows, only.config.sampling)

    learn, held_out = (clips(part) for part in part_off(train, settings.validation_share, settings.seed))
    tested = clips(test)
    recipe = settings.of_recipe(TKACHENKO_RECIPE)
    facts = {
        "clips": [[(clip.key, clip.label) for clip in each.of("spatial")] for each in (learn, held_out, tested)],
        "recipe": to_json(recipe.sequence),
        "settings": [settings.seed, job.dtype_name],
    }
    results = []
    for name, config, top1, top5 in TABLE_I[rows]:
        key = key_of(sweep=facts, encoder=to_json(config))
        if not evaluator.cache.has(key):
            evaluator.report.say(f"{name}, {config.hidden} units")
            changed = replace(only, config=replace(only.config, spatial=replace(spatial, recurrent=config)))
            with_svm = (SVM_ROW, config) in ((row, encoder) for row, encoder, _, _ in TABLE_I)
            figures = _trained(changed, recipe, evaluator, classes, (learn, held_out, tested), with_svm=with_svm)
            evaluator.cache.write_arrays(key, {FIGURES: figures}, {})
        kept = evaluator.cache.read_arrays(key)[0][FIGURES].tolist()
        own_top1, own_top5, svm_top1, svm_top5, parameters, seconds = kept
        ours = (svm_top1, svm_top5) if name == SVM_ROW else (own_top1, own_top5)
        results.append(SweepRow(name, config.hidden, *ours, top1, top5, int(parameters), seconds))
    return tuple(results)


def check_sweepable(source: ModelSource) -> SpatialConfig:
    """The spatial stream of a model whose step features other encoders can be trained on.

    Raises:
        UsageError: the model has none.
    """
    spatial = source.config.spatial
    if spatial is None or spatial.backbone == "pixels":
        raise UsageError(
            f"the sweep trains encoders on the features of a spatial CNN, which model {source.name} has not"
        )
    return spatial


def _trained(
    source: ModelSource,
    recipe: Recipe,
    evaluator: Evaluator,
    classes: tuple[str, ...],
    clips: tuple[ClipSet, ClipSet, ClipSet],
    *,
    with_svm: bool,
) -> NDArray[np.float64]:
    """An encoder trained on the first of the clips, validated on the second and measured on the third.

    Top-1 and top-5 by its own softmax and by a linear SVM on its vectors (NaN without), its parameters, the seconds
    it took: (6,).
    """
    learn, held_out, tested = clips
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        stage = SequenceStage(
            source, "spatial", recipe, evaluator.settings, classes, evaluator.cache, Path(work), evaluator.report
        )
        encoder = stage.train(learn, held_out)
    seconds = time.monotonic() - began
    made, labels = encoder.encode(tested.of("spatial"), final=True), [clip.label for clip in tested.of("spatial")]
    metrics = measure(labels, made.probabilities.astype(np.float64), classes)
    figures = [metrics.top1, metrics.top5, np.nan, np.nan]
    if with_svm:
        known = [clip for each in (learn, held_out) for clip in each.of("spatial")]
        svm = FusionSVM(calibration_folds=0)
        svm.fit(encoder.encode(known, final=True).vectors, [clip.label for clip in known])
        scores = np.zeros((len(labels), len(classes)))
        scores[:, svm.classes_] = svm.predict_proba(made.vectors)  # the training part may lack a class
        metrics = measure(labels, scores, classes)
        figures[2:] = [metrics.top1, metrics.top5]
    parameters = sum(each.numel() for each in encoder.final.encoder.parameters() if each.requires_grad)
    return np.array([*figures, parameters, seconds], np.float64)
