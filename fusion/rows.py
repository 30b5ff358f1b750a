"""A VideoEmbedding as rows of the embedding table: the video's, then one a clip."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tristream.fusion.embedding import VideoEmbedding
from tristream.streams.config import STREAM_NAMES


def text_of(path: str) -> str:
    r"""A path as text that any file can hold; bytes of a name that are no UTF-8 come out as `\udcff`."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def rows_of(result: VideoEmbedding, path: str, content_sha256: str) -> list[dict[str, Any]]:
    """The rows of a file, its clips' after its own; one row with `status` error where it failed."""
    common = {
        "path": text_of(path),
        "content_sha256": content_sha256,
        "model_id": result.model_id,
        "status": "ok" if result.error is None else "error",
        "error": None if result.error is None else text_of(result.error),
        "warning": text_of("; ".join(result.warnings)) or None,
        "duration_seconds": result.duration_seconds,
        "fps": result.fps,
        "width": result.width,
        "height": result.height,
        "decode_seconds": result.decode_seconds,
        "flow_seconds": result.flow_seconds,
        "model_seconds": result.model_seconds,
    }
    if result.error is not None:
        return [_row(common, "video", 0.0, result.duration_seconds or 0.0, None, {})]
    end_seconds = result.duration_seconds or 0.0
    video = _row(common, "video", 0.0, end_seconds, result.vector, result.present)
    clips = [
        _row(common, "clip", clip.start_seconds, clip.end_seconds, clip.vector, clip.present, clip.tile)
        for clip in result.clips
    ]
    return [video, *clips]


def moved(rows: list[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    """The rows of the same content under another path, which an error then names as well."""
    there = text_of(path)
    return [row | {"path": there, "error": _about(row["error"], row["path"], there)} for row in rows]


def _about(error: str | None, path: str, other: str) -> str | None:
    return None if error is None else error.replace(path, other)


def _row(
    common: dict[str, Any],
    level: str,
    start_seconds: float,
    end_seconds: float,
    vector: NDArray[np.float32] | None,
    present: Mapping[Any, bool],
    tile: int = 0,
) -> dict[str, Any]:
    # The content names a row, not the file's name; a file that could not be read has only its path.
    named = common["content_sha256"] or common["path"]
    identity = f"{named}|{common['model_id']}|{level}|{start_seconds:.3f}|{end_seconds:.3f}"
    if tile:
        identity += f"|{tile}"
    return {
        "id": hashlib.sha256(identity.encode()).hexdigest()[:32],
        "embedding": vector,
        "level": level,
        "start_seconds": start_seconds,
        "end_seconds": end_seconds,
        "tile": tile,
        **{f"has_{stream}": bool(present.get(stream, False)) for stream in STREAM_NAMES},
        **common,
    }
