"""A trained model and labelled files in, how good it is out: accuracies with intervals, and what each stream adds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tristream.fusion.classify import Verdict
from tristream.fusion.embedding import VideoEmbedding, slice_of
from tristream.fusion.model import Model, open_model
from tristream.fusion.source import ModelSource
from tristream.fusion.windows import Windows
from tristream.streams.errors import UsageError
from tristream.training.ablation import Ablation, Clips, ablate
from tristream.training.bootstrap import Interval, accuracy_interval
from tristream.training.cache import GIGABYTE, FeatureCache
from tristream.training.embeddings import embed_examples
from tristream.training.examples import Example
from tristream.training.extraction import Wanted, extract, make_job
from tristream.training.fusing import FUSIONS, new_fusion
from tristream.training.metrics import Metrics, measure
from tristream.training.record import learnt_from
from tristream.training.reporting import Report
from tristream.training.settings import TrainSettings


@dataclass(frozen=True)
class Evaluation:
    """How a model did on the files of a test part that could be read.

    `probabilities` (N, K) and `labels` (N,) are in the order of `examples`; `left_out` says why files are not
    among them.
    """

    model_id: str
    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    labels: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    metrics: Metrics
    top1: Interval
    ablation: Ablation | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    seen_in_training: int = 0  # so many of the files are among those that the model was trained on
    classifier: str = ""  # its kind

    def to_json(self) -> dict[str, Any]:
        """As plain JSON data: `top1`, `top5`, …, `ablation`."""
        data: dict[str, Any] = {"model_id": self.model_id, "classifier": self.classifier}
        data |= self.metrics.to_json() | {"top1_interval": [self.top1.low, self.top1.high]}
        data["ablation"] = self.ablation.to_json() if self.ablation else None
        return data | {"left_out": self.left_out, "seen_in_training": self.seen_in_training}


@dataclass
class Evaluator:
    """Evaluates a model; features come from the cache, where they are.

    Raises:
        ModelError: the model has no classifier, or cannot be loaded.
    """

    source: ModelSource
    settings: TrainSettings
    cache: FeatureCache
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        self.windows = Windows(self.settings.window_seconds, self.settings.window_seconds)
        self.model: Model = open_model(self.source, device=self.settings.device, dtype=self.settings.dtype)
        self.classifier = self.model.classifier
        self.left_out: dict[str, str] = {}

    def evaluate(self, test: Sequence[Example], train: Sequence[Example] | None = None) -> Evaluation:
        """How the model does on the test files; with the training files, which sets of streams do how well.

        Raises:
            UsageError: classes that the model does not know, or no file that can be read.
        """
        classes = self.classifier.classes
        if strange := sorted({example.label for example in test} - set(classes)):
            raise UsageError(f"the model knows no class {strange[0]!r}; it knows {', '.join(classes)}")
        if train is not None and len({example.label for example in train} & set(classes)) < 2:
            raise UsageError("the training part has not two classes that the model knows: nothing can be fitted anew")
        examples, results = self._embed(test)
        seen = self._seen(examples)
        labels = np.array([classes.index(example.label) for example in examples], np.intp)
        verdicts = self.classifier.of(results)
        probabilities = np.stack([verdict.probabilities for verdict in verdicts])  # (N, K)
        hits = probabilities.argmax(axis=1) == labels
        top1 = accuracy_interval(hits, [example.group for example in examples], seed=self.settings.seed)
        ablation = None
        if train is not None:
            ablation = self._ablate(train, examples, results, verdicts, labels)
        return Evaluation(
            self.model.model_id,
            classes,
            tuple(examples),
            labels,
            probabilities,
            measure(labels, probabilities, classes),
            top1,
            ablation,
            self.left_out,
            seen,
            self.classifier.kind,
        )

    def _seen(self, examples: Sequence[Example]) -> int:
        """How many of the files the model was trained on, by their content: with another split than then, many."""
        learnt = learnt_from(self.source)
        seen = sum(learnt(example.path) for example in examples) if learnt else 0
        if seen:
            self.report.say(
                f"warning: the model was trained on {seen} of these {len(examples)} files, so the figures flatter it; "
                "is it the split that it was trained with?"
            )
        return seen

    def _embed(self, examples: Sequence[Example]) -> tuple[list[Example], list[VideoEmbedding]]:
        """The files that could be read, and their embeddings."""
        wanted = [Wanted(stream) for stream in self.model.streams]
        job = make_job(self.source, self.windows, self.cache, wanted, self.settings.device, self.settings.dtype)
        with self.report.files("features", len(examples)) as on_file:
            paths = [str(example.path) for example in examples]
            timeout = self.settings.timeout_seconds
            extracted = extract(
                job, paths, self.cache, jobs=self.settings.jobs, timeout_seconds=timeout, on_file=on_file
            )
        results = embed_examples(self.model, examples, extracted, self.cache, self.windows)
        for result in results:
            if result.error is not None:
                self.left_out[result.path] = result.error
                self.report.say(f"left out: {result.error}")
        read = [pair for pair in zip(examples, results, strict=True) if pair[1].error is None]
        if not read:
            raise UsageError(f"none of the {len(examples)} files could be read")
        return [example for example, _ in read], [result for _, result in read]

    def _ablate(
        self,
        train: Sequence[Example],
        examples: list[Example],
        results: list[VideoEmbedding],
        verdicts: list[Verdict],
        labels: NDArray[np.intp],
    ) -> Ablation:
        """The fusion fitted anew on each set of streams; that of all is the model's own."""
        classes, dims = self.classifier.classes, self.model.dims
        streams = tuple(dims)
        learnt = [example for example in train if example.label in classes]
        learnt, known = self._embed(learnt)
        train_labels = np.array([classes.index(example.label) for example in learnt], np.intp)

        def fit_and_score(chosen: tuple[str, ...]) -> NDArray[np.float64]:
            if chosen == streams:
                return np.stack([verdict.probabilities for verdict in verdicts])
            columns = np.concatenate([np.arange(sum(dims.values()))[slice_of(dims, stream)] for stream in chosen])
            own = {stream: size for stream, size in dims.items() if stream in chosen}
            fusion = new_fusion(self.classifier.kind, own, self.settings.seed)
            X = np.stack([result.vector for result in known])[:, columns]
            fusion.fit(X, np.array(classes)[train_labels])
            # Of the clips that the encoders learnt from none can tell how sure a score is; the model's own is near.
            fusion.temperature_ = self.classifier.temperature
            scores = np.zeros((len(results), len(classes)))
            told = fusion.predict_proba(np.stack([each.vector for each in results])[:, columns])
            scores[:, [classes.index(name) for name in fusion.classes_]] = told
            return scores

        if len(streams) > 1 and self.classifier.kind not in FUSIONS:
            raise UsageError(f"a model with a {self.classifier.kind} classifier has no fusion to leave streams out of")
        return ablate(
            fit_and_score,
            streams,
            len(classes),
            _clips(learnt, known, train_labels, streams),
            _clips(examples, results, labels, streams),
            seed=self.settings.seed,
        )


@contextmanager
def cache_of(settings: TrainSettings, *, keep: bool = True) -> Iterator[FeatureCache]:
    """The cache that the settings name, or one that goes when this is over."""
    limit = settings.cache_gigabytes
    if keep and settings.cache is not None:
        yield FeatureCache(settings.cache, None if limit is None else int(limit * GIGABYTE))
        return
    with TemporaryDirectory(prefix="tristream-") as folder:
        yield FeatureCache(Path(folder))


def _clips(
    examples: Sequence[Example], results: Sequence[VideoEmbedding], labels: NDArray[np.intp], streams: Sequence[Any]
) -> Clips:
    groups = np.array([example.group for example in examples])
    present = np.array([[result.present[stream] for stream in streams] for result in results])
    return Clips(labels, groups, present)
