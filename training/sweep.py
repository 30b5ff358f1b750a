"""Table I of Tkachenko 2018: other recurrent encoders of the spatial stream, trained on the same step features."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tristream.fusion.source import ModelSource
from tristream.fusion.svm import FusionSVM
from tristream.streams.config import RecurrentConfig, SpatialConfig
from tristream.streams.errors import UsageError
from tristream.training.clipset import ClipSet, clip_set
from tristream.training.evaluate import Evaluator
from tristream.training.examples import Example
from tristream.training.extraction import Wanted, extract, make_job
from tristream.training.metrics import measure
from tristream.training.recipes import TKACHENKO_RECIPE
from tristream.training.sequence_stage import SequenceStage, TrainedEncoder
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
    model does not know are left out.

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
        extracted = extract(job, paths, evaluator.cache, jobs=settings.jobs, timeout_seconds=settings.timeout_seconds)
        readable = [each for each in examples if str(each.path) in extracted.keys and each.label in classes]
        return clip_set(readable, classes, extracted, evaluator.cache, evaluator.windows, only.config.sampling)

    report = evaluator.report
    learn, held_out = (clips(part) for part in part_off(train, settings.validation_share, settings.seed))
    tested = clips(test)
    results = []
    trained: dict[RecurrentConfig, tuple[TrainedEncoder, float]] = {}
    for name, config, top1, top5 in TABLE_I[rows]:
        if config not in trained:
            began = time.monotonic()
            report.say(f"{name}, {config.hidden} units")
            changed = replace(only, config=replace(only.config, spatial=replace(spatial, recurrent=config)))
            with tempfile.TemporaryDirectory() as work:
                stage = SequenceStage(
                    changed,
                    "spatial",
                    settings.of_recipe(TKACHENKO_RECIPE),
                    settings,
                    classes,
                    evaluator.cache,
                    Path(work),
                    report,
                )
                trained[config] = stage.train(learn, held_out), time.monotonic() - began
        encoder, seconds = trained[config]
        ours = _measured(encoder, [learn, held_out], tested, classes, svm=name == SVM_ROW)
        parameters = sum(each.numel() for each in encoder.final.encoder.parameters() if each.requires_grad)
        results.append(SweepRow(name, config.hidden, *ours, top1, top5, parameters, seconds))
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


def _measured(
    encoder: TrainedEncoder, known: Sequence[ClipSet], tested: ClipSet, classes: Sequence[str], *, svm: bool
) -> tuple[float, float]:
    """Top-1 and top-5 on the test clips, by the encoder's own softmax or a linear SVM on its vectors."""
    made = encoder.encode(tested.of("spatial"), final=True)
    scores = made.probabilities.astype(np.float64)
    if svm:
        X = np.concatenate([encoder.encode(each.of("spatial"), final=True).vectors for each in known])
        y = np.concatenate([[clip.label for clip in each.of("spatial")] for each in known])
        scores = FusionSVM(calibration_folds=0).fit(X, y).predict_proba(made.vectors)
    metrics = measure([clip.label for clip in tested.of("spatial")], scores, classes)
    return metrics.top1, metrics.top5
