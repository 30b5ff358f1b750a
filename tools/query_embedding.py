"""The query that a user has named, embedded by the model of the index where the index does not hold it already."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tristream.fusion.batch import Job, embed_files
from tristream.fusion.folder import sha256_of
from tristream.fusion.source import ModelSource, find_again, find_model
from tristream.fusion.windows import Windows
from tristream.search.index import VideoIndex
from tristream.search.query import Asked, Query, query_of_npz
from tristream.streams.errors import MediaError, ModelError, SearchError, UsageError
from tristream.tools.shell import say

if TYPE_CHECKING:
    from tristream.streams.placement import DtypeName  # needs torch


@dataclass(frozen=True)
class QueryEmbedder:
    """Makes the query of what a user has named.

    Args:
        model: where the index's model is; None for where it was when the table was made.
    """

    index: VideoIndex
    model: str | None
    device: str
    dtype: "DtypeName"
    batch_size: int
    timeout_seconds: float

    def query_of(self, asked: Asked) -> Query:
        """The query; a whole video that is in the index is not embedded again.

        Raises:
            UsageError: no such row, or a `.npz` file that is no query.
            MediaError: the video cannot be embedded.
            ModelError, SearchError: the model is not where it was, or another.
        """
        if asked.path is None:
            return self.index.query_of_row(asked.row_id)
        if asked.is_npz:
            return query_of_npz(asked.path, self.index.dims, self.index.model_id)
        content = sha256_of(asked.path)
        if asked.moment is None and (known := self.index.query_of_content(content)) is not None:
            return known
        return self._embedded(asked.path, asked.moment, content)

    def _embedded(self, file: Path, moment: tuple[float, float] | None, content: str) -> Query:
        source = self._source()
        manifest = self.index.manifest
        windows = Windows(manifest.window_seconds, manifest.stride_seconds)
        if moment is not None:  # one vector of all of it
            length_seconds = max(moment[1] - moment[0], windows.window_seconds)
            windows = Windows(length_seconds, length_seconds)
        job = Job(source, windows, self.batch_size, self.device, self.dtype, moment=moment)
        (result,) = embed_files(job, [str(file.absolute())], jobs=1, timeout_seconds=self.timeout_seconds)
        if result.error is not None:
            raise MediaError(result.error)
        for warning in result.warnings:
            say(f"warning: {file}: {warning}")
        return Query.of_embedding(result, content_sha256=content)

    def _source(self) -> ModelSource:
        """The model of the index.

        Raises:
            ModelError: it is not where it was.
            SearchError: there is another.
        """
        manifest = self.index.manifest
        try:
            source = find_again(manifest.asked) if self.model is None else find_model(self.model)
        except (ModelError, UsageError) as error:
            if self.model is not None:
                raise
            raise ModelError(
                f"the model {manifest.model} ({manifest.model_id}) of the index is needed to embed the query: {error}; "
                "--model tells where it is now"
            ) from error
        if source.model_id != manifest.model_id:
            raise SearchError(
                f"the query would be embedded by model {source.model_id} ({source.name}), but the index is of model "
                f"{manifest.model_id} ({manifest.model}): --model names that one"
            )
        return source
