"""What a classifier says of a file and, clip by clip, along it: as plain JSON data, or joined for a reader.

VideoEmbedding -> spans: the video, then its clips -> a JSON object each, or the timeline of a table; needs no torch
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tristream.fusion.classify import ModelClassifier, Verdict
from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.rows import text_of
from tristream.streams.config import StreamName

SAME_MOMENT_SECONDS = 1e-6  # ends and starts of clips are sums and products of the same seconds, rounded


@dataclass(frozen=True)
class Span:
    """What a classifier says of [start_seconds, end_seconds) of a file: of the whole, of a clip, or of several."""

    level: Literal["video", "clip"]
    start_seconds: float
    end_seconds: float
    present: Mapping[StreamName, bool]
    verdict: Verdict


def spans_of(classifier: ModelClassifier, result: VideoEmbedding, *, clips: bool) -> list[Span]:
    """What it says of a video and, with `clips`, of each of its clips, in their order.

    Raises:
        UsageError: a result of another model, or without an embedding.
    """
    parts = result.clips if clips else ()
    whole, *others = classifier.of([result, *parts])
    spans = [Span("video", 0.0, result.duration_seconds or 0.0, result.present, whole)]
    for clip, verdict in zip(parts, others, strict=True):
        spans.append(Span("clip", clip.start_seconds, clip.end_seconds, clip.present, verdict))
    return spans


def lines_of(result: VideoEmbedding, spans: Sequence[Span], top: int) -> list[dict[str, Any]]:
    """What is said of a file as plain JSON data: an object a span or, where the file failed, one with its error.

    `classes` has the `top` most probable ones, each with its probability, score, and the streams' shares of that.
    """
    common = {
        "warning": text_of("; ".join(result.warnings)) or None,
        "error": None if result.error is None else text_of(result.error),
        "model_id": result.model_id,
    }
    path = text_of(result.path)
    if result.error is not None:
        span = {"start_seconds": 0.0, "end_seconds": result.duration_seconds}
        return [{"path": path, "level": "video", **span, "present": [], "classes": [], **common}]
    return [
        {
            "path": path,
            "level": span.level,
            "start_seconds": span.start_seconds,
            "end_seconds": span.end_seconds,
            "present": [stream for stream, there in span.present.items() if there],
            "classes": span.verdict.to_json(top),
            **common,
        }
        for span in spans
    ]


def timeline_of(spans: Sequence[Span]) -> list[Span]:
    """A video's spans for a reader: the whole, then its clips, neighbours of one class joined.

    A joined span has the mean of its clips, by their length. Clips that all say what the whole says are left out.
    """
    whole, *clips = spans
    runs: list[list[Span]] = []
    for clip in clips:
        if runs and _continues(runs[-1][-1], clip):
            runs[-1].append(clip)
        else:
            runs.append([clip])
    if len(runs) == 1 and _best(runs[0][0]) == _best(whole):
        return [whole]
    return [whole, *map(_mean, runs)]


def _continues(before: Span, clip: Span) -> bool:
    return _best(before) == _best(clip) and clip.start_seconds <= before.end_seconds + SAME_MOMENT_SECONDS


def _best(span: Span) -> int:
    return span.verdict.order[0]


def _mean(run: Sequence[Span]) -> Span:
    lengths = [clip.end_seconds - clip.start_seconds for clip in run]
    said = [clip.verdict for clip in run]
    verdict = Verdict(
        said[0].classes,
        np.average([each.probabilities for each in said], axis=0, weights=lengths),
        np.average([each.scores for each in said], axis=0, weights=lengths),
        {
            stream: np.average([each.shares[stream] for each in said], axis=0, weights=lengths)
            for stream in said[0].shares
        },
    )
    present = {stream: any(clip.present[stream] for clip in run) for stream in run[0].present}
    return Span("clip", run[0].start_seconds, run[-1].end_seconds, present, verdict)
