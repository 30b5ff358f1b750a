"""What a model folder says of its training: `training.json`; needs no torch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tristream.fusion.folder import sha256_of
from tristream.fusion.source import ModelSource
from tristream.streams.errors import ModelError

TRAINING_FILE = "training.json"
CONTENT_DIGITS = 16  # of a file's sha256, which tell a million files apart
DEFAULT_WINDOW_SECONDS = 36.0


def training_record(source: ModelSource) -> dict[str, Any]:
    """How a model was trained, `settings` and `contents` among it; both are empty where it does not say.

    Raises:
        ModelError: the record in its folder is damaged.
    """
    path = source.classifier_path.parent / TRAINING_FILE if source.classifier_path else None
    if path is None or not path.is_file():
        return {"settings": {}, "contents": []}
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record | {"settings": dict(record["settings"]), "contents": list(record.get("contents", []))}
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is damaged: {error}") from error


def learnt_from(source: ModelSource) -> Callable[[Path], bool] | None:
    """Whether a model was trained on a file, known by its content; None where the model does not say.

    Raises:
        ModelError: as `training_record`.
    """
    contents = set(training_record(source)["contents"])

    def learnt(path: Path) -> bool:
        try:
            return sha256_of(path)[:CONTENT_DIGITS] in contents
        except OSError:  # whoever reads the file will tell
            return False

    return learnt if contents else None


def trained_window_seconds(source: ModelSource) -> float:
    """The seconds of a clip that a model was trained on.

    Raises:
        ModelError: as `training_record`.
    """
    seconds: float = training_record(source)["settings"].get("window_seconds", DEFAULT_WINDOW_SECONDS)
    return seconds
