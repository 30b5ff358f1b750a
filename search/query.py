"""What is searched for: a row of the index, or an embedding made of a video or moment."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from tristream.fusion.embedding import ClipEmbedding, VideoEmbedding, slices_of
from tristream.fusion.rows import text_of
from tristream.search.similarity import Dims, Floats32, unit
from tristream.streams.errors import SearchError, UsageError

_TIME = r"((?:\d+:){0,2}\d+(?:\.\d+)?)"
_MOMENT = re.compile(rf"(.+)@{_TIME}-{_TIME}")
_ROW_ID = re.compile(r"[0-9a-f]{32}")
HOW = "A query is a video, a moment of one (clip.avi@12.5-17), a .npz file of embed-video, or the id of a row"
_NPZ_ARRAYS = ("embedding", "level", "status", "model_id", "path", "content_sha256", "end_seconds")


@dataclass(frozen=True, eq=False)
class Query:
    """A query.

    Attributes:
        vectors: the unit vector (D_s,) of each stream that it has, not centred: no index is part of it.
        model_id: of the model that made them.
        path, content_sha256: of the file that it is of, where that is known.
        start_seconds, end_seconds: the moment of it.
    """

    vectors: Mapping[str, Floats32]
    model_id: str
    path: str = ""
    content_sha256: str = ""
    start_seconds: float = 0.0
    end_seconds: float = float("inf")

    @classmethod
    def of_vector(cls, vector: NDArray[Any], dims: Dims, model_id: str, **about: Any) -> "Query":
        """The query of an embedding (D,), whose absent streams are zero.

        Raises:
            UsageError: another length, a value that is no finite number, or no stream at all.
        """
        vector = np.asarray(vector, np.float32)
        if vector.shape != (sum(dims.values()),):
            raise UsageError(f"a query has the {sum(dims.values())} dimensions of {dict(dims)}, got {vector.shape = }")
        if not np.isfinite(vector).all():
            raise UsageError("a query holds finite numbers, got others: its video has no embedding")
        blocks = slices_of(dims)
        vectors = {stream: unit(vector[None, block])[0] for stream, block in blocks.items() if vector[block].any()}
        if not vectors:
            raise UsageError("the query has no stream: all of its vector is zero")
        return cls(vectors, model_id, **about)

    @classmethod
    def of_embedding(
        cls, embedding: VideoEmbedding, clip: ClipEmbedding | None = None, content_sha256: str = ""
    ) -> "Query":
        """The query of what `model.embed` gives, or of one of its clips.

        Raises:
            UsageError: the video could not be embedded.
        """
        if embedding.error is not None:
            raise UsageError(f"the query has no embedding: {embedding.error}")
        clips = embedding.clips if clip is None else (clip,)
        return cls.of_vector(
            embedding.vector if clip is None else clip.vector,
            embedding.dims,  # type: ignore[arg-type]
            embedding.model_id,
            path=text_of(str(Path(embedding.path).absolute())),
            content_sha256=content_sha256,
            start_seconds=min((each.start_seconds for each in clips), default=0.0),
            end_seconds=max((each.end_seconds for each in clips), default=float("inf")),
        )


@dataclass(frozen=True)
class Asked:
    """What a user names as the query: a video or a moment of it, a row of the index, or a file of embeddings."""

    path: Path | None = None
    moment: tuple[float, float] | None = None
    row_id: str = ""

    @property
    def is_npz(self) -> bool:
        """Whether the file holds embeddings."""
        return self.path is not None and self.path.suffix == ".npz"


def parse_query(text: str) -> Asked:
    """A query as it is written: `clip.avi`, `clip.avi@12.5-17`, `clip.avi@1:02:03-1:02:10`, FILE.npz, or a row's id.

    Raises:
        UsageError: no such file, and no id either; or a moment that ends before it begins.
    """
    path = Path(text)
    if _is_file(path):
        return Asked(path)
    if (found := _MOMENT.fullmatch(text)) is not None and _is_file(Path(found[1])):
        moment = _seconds(found[2]), _seconds(found[3])
        if moment[0] >= moment[1]:
            raise UsageError(f"{text}: a moment ends after it begins")
        if Path(found[1]).suffix == ".npz":
            raise UsageError(f"{text}: a moment is one of a video; a .npz file is a query as it is")
        return Asked(Path(found[1]), moment)
    if _ROW_ID.fullmatch(text):
        return Asked(row_id=text)
    raise UsageError(f"{text} is no file, and no id of a row. {HOW}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for one
        return False


def query_of_npz(path: Path, dims: Dims, model_id: str) -> Query:
    """The query of a `.npz` file that embed-video made of one video, by the model of an index.

    Raises:
        UsageError: it is no such file, or one of several videos.
        SearchError: it is of another model.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in _NPZ_ARRAYS}
    except (OSError, EOFError, ValueError, TypeError, KeyError, BadZipFile, zlib.error) as error:
        raise UsageError(f"{path} holds no embeddings as `embed-video -o FILE.npz` writes them") from error
    rows = np.flatnonzero((arrays["level"] == "video") & (arrays["status"] == "ok"))
    if len(rows) != 1:
        raise UsageError(f"{path} holds the embeddings of {len(rows)} videos; a query is one: make a file of one")
    row = {name: array[rows[0]] for name, array in arrays.items()}
    if row["model_id"] != model_id:
        raise SearchError(
            f"{path} was embedded by model {row['model_id']}, the index is of model {model_id}: embed the query with "
            "that one"
        )
    return Query.of_vector(
        row["embedding"],
        dims,
        model_id,
        path=str(row["path"]),
        content_sha256=str(row["content_sha256"]),
        end_seconds=float(row["end_seconds"]),
    )


def _seconds(text: str) -> float:
    """A time written as seconds, m:s or h:m:s."""
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds
