"""The files of an evaluation: figures as JSON, confusion, ROC and ablation as pictures, every clip's prediction."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tristream.fusion.folder import write_atomically
from tristream.fusion.rows import text_of
from tristream.streams.config import to_json
from tristream.streams.errors import UsageError
from tristream.training.evaluate import Evaluation
from tristream.training.pictures import confusion_csv, draw_ablation, draw_confusion, draw_roc
from tristream.training.sweep import SweepRow

NAMES = ("confusion.png", "confusion.csv", "roc.png", "predictions.csv", "ablation.png")


def check_free(output: Path | None, json_file: Path | None, overwrite: bool) -> None:
    """Refuse to write over files that are there, before any hour is spent.

    Raises:
        UsageError: a file is there, and may not be replaced.
    """
    files = [output / name for name in NAMES] if output else []
    files += [json_file] if json_file is not None and str(json_file) != "-" else []
    there = [file for file in files if file.exists()]
    if there and not overwrite:
        raise UsageError(f"{there[0]} is there already: --overwrite replaces it, or write elsewhere")
    if output is not None and (file := next((each for each in (output, *output.parents) if each.is_file()), None)):
        raise UsageError(f"{file} is a file: -o names a folder")
    if json_file is not None and json_file.is_dir():
        raise UsageError(f"{json_file} is a folder: --json names a file")
    if json_file is not None and not json_file.parent.is_dir():
        raise UsageError(f"no folder {json_file.parent} to write {json_file.name} into")


def write_files(
    evaluation: Evaluation,
    measured_on: Mapping[str, Any],
    swept: tuple[SweepRow, ...],
    output: Path | None,
    json_file: Path | None,
) -> None:
    """Write what is asked for; `measured_on` says in the JSON what the figures were measured on.

    Raises:
        UsageError: a file cannot be written.
    """
    try:
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            for name, content in _pictures(evaluation).items():
                write_atomically(output / name, content)
        if json_file is not None:
            data = {"measured_on": dict(measured_on)} | evaluation.to_json()
            data |= {"sweep": [to_json(row) for row in swept]} if swept else {}
            text = json.dumps(data, indent=1) + "\n"
            if str(json_file) == "-":
                print(text, end="")
            else:
                write_atomically(json_file, text.encode())
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or output}: {error.strerror or error}") from error


def _pictures(evaluation: Evaluation) -> dict[str, bytes]:
    matrix, classes = np.array(evaluation.metrics.confusion), evaluation.classes
    files = {
        "confusion.png": draw_confusion(matrix, classes),
        "confusion.csv": confusion_csv(matrix, classes).encode(),
        "roc.png": draw_roc(evaluation.labels, evaluation.probabilities, classes),
        "predictions.csv": _predictions(evaluation).encode(),
    }
    if evaluation.ablation is not None:
        files["ablation.png"] = draw_ablation(evaluation.ablation)
    return files


def _predictions(evaluation: Evaluation) -> str:
    """A line a clip: its file, its class, the class it was taken for, and the probability of each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "predicted", *evaluation.classes])
    for example, row in zip(evaluation.examples, evaluation.probabilities, strict=True):
        predicted = evaluation.classes[int(row.argmax())]
        writer.writerow([text_of(str(example.path)), example.label, predicted, *(f"{value:.4f}" for value in row)])
    return text.getvalue()
