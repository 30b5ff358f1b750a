"""The search index of an embedding table, opened for searching: a query in, the best moments out.

query: unit vectors (D_s,) -> centred -> segments: inner products, the best rows -> cosines of each stream -> moments
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Literal

import pyarrow.compute as pc

from tristream.search.centre import Centre, uncentred
from tristream.search.filters import Filter
from tristream.search.hits import Moment, best_rows, mask_of, merged
from tristream.search.manifest import IndexManifest, check_file, read_manifest
from tristream.search.query import Query
from tristream.search.segment import Segment
from tristream.search.similarity import Weights, checked_weights, unit
from tristream.streams.errors import SearchError, UsageError

Level = Literal["clip", "video"]


class VideoIndex:
    """A search index; made by `index-video`, or `update_index`.

    It stays as it was when it was opened, whatever is done to the folder.

    Raises:
        SearchError: no index, or one that is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest, self.segments = _open(self.folder)
        self.centre: Centre = self.manifest.centres()

    def __len__(self) -> int:
        """How many rows can be found, clips and videos."""
        return self.manifest.live

    @property
    def dims(self) -> dict[str, int]:
        """The length of each stream's vector."""
        return self.manifest.dims

    @property
    def weights(self) -> dict[str, float]:
        """How much each stream counts where no weights are asked for: as the model says."""
        return self.manifest.weights

    @property
    def model_id(self) -> str:
        """Of the model whose embeddings these are."""
        return self.manifest.model_id

    def query_of_row(self, row_id: str) -> Query:
        """The query that a row of the index is.

        Raises:
            UsageError: no row has this id.
        """
        if (query := self._row_as_query(pc.field("id") == row_id)) is None:
            raise UsageError(f"no row of the index {self.folder} has the id {row_id!r}")
        return query

    def query_of_content(self, content_sha256: str) -> Query | None:
        """The query that a whole video of the index is; None where it holds none of this content."""
        return self._row_as_query((pc.field("level") == "video") & (pc.field("content_sha256") == content_sha256))

    def _row_as_query(self, condition: pc.Expression) -> Query | None:
        for segment in self.segments:
            for number in segment.numbers(condition):
                row = segment.row(number)
                about = {name: row[name] for name in ("path", "content_sha256", "start_seconds", "end_seconds")}
                vectors = {
                    stream: uncentred(vector, self.centre[stream])
                    for stream, vector in segment.stream_vectors(number).items()
                }
                return Query(vectors, self.model_id, **about)
        return None

    def centred(self, query: Query) -> Query:
        """The query as its vectors are compared with those of the index."""
        vectors = {stream: unit(vector[None] - self.centre[stream])[0] for stream, vector in query.vectors.items()}
        return replace(query, vectors=vectors)

    def search(
        self,
        query: Query,
        k: int = 10,
        *,
        level: Level = "clip",
        weights: Weights | None = None,
        filters: Sequence[Filter] = (),
        exclude_self: bool = False,
        merge: bool = True,
        unique: bool = False,
    ) -> list[Moment]:
        """The `k` best moments, or fewer where there are not so many.

        Args:
            level: search clips, or whole videos.
            weights: how much each stream counts; the model's own by default, and 0 for one that is not named.
            filters: conditions that all have to hold for a row.
            exclude_self: leave out rows of the query's own content that overlap it.
            merge: of windows of one video that overlap, keep the best only.
            unique: one moment a video.

        Raises:
            SearchError: the index is empty, or the query is of another model.
            UsageError: weights or filters that cannot be, or no row has a stream that the query has and that counts.
        """
        if k < 1:
            raise UsageError(f"k is a number from 1, got {k}")
        weight_of = checked_weights(weights, self.weights)
        segments = self._comparable(query, weight_of, level)
        query = self.centred(query)
        masks = [mask_of(segment, filters, query if exclude_self else None) for segment in segments]
        rows = sum(
            segment.record.rows if mask is None else int(mask.sum())
            for segment, mask in zip(segments, masks, strict=True)
        )
        count = k * (self._windows_at_once if merge and level == "clip" else 1)
        while True:
            count = min(count, rows)
            hits = [
                hit
                for segment, mask in zip(segments, masks, strict=True)
                for hit in best_rows(segment, mask, query, weight_of, count)
            ]
            hits = sorted(hits, key=lambda hit: hit.order)[:count]
            kept = merged(hits, unique) if merge or unique else hits
            if len(kept) >= k or count == rows:
                return [Moment(**vars(hit)) for hit in kept[:k]]
            count *= 4

    @property
    def _windows_at_once(self) -> int:
        """How many windows of a video overlap one of them, itself included."""
        return 2 * ceil(self.manifest.window_seconds / self.manifest.stride_seconds) - 1

    def _comparable(self, query: Query, weights: Weights, level: Level) -> list[Segment]:
        """The segments of a level whose rows have a stream that the query has and that counts.

        Raises:
            SearchError: the index is empty, or the query is of another model.
            UsageError: there are none.
        """
        if query.model_id != self.model_id:
            raise SearchError(
                f"the query was embedded by model {query.model_id}, the index {self.folder} is of model "
                f"{self.model_id} ({self.manifest.model}): embed the query with that one"
            )
        if not len(self):
            raise SearchError(f"the index {self.folder} is empty: no row of its table has an embedding")
        counting = {stream for stream, weight in weights.items() if weight}
        if not (asked := counting & query.vectors.keys()):
            raise UsageError(
                f"the query has {_listed(query.vectors)}, but what counts is {_listed(counting)}: other --weights"
            )
        segments = [each for each in self.segments if each.record.level == level and asked & set(each.record.streams)]
        if not segments:
            raise UsageError(f"no {level} in the index {self.folder} has {_listed(asked)}")
        return segments


def _open(folder: Path) -> tuple[IndexManifest, list[Segment]]:
    """The manifest and segments of an index, of one moment: where it is replaced meanwhile, the new one is opened."""
    manifest = read_manifest(folder)
    while True:
        try:
            with ThreadPoolExecutor() as threads:  # hashing leaves the interpreter's lock
                list(threads.map(lambda file: check_file(folder, *file), manifest.files()))
            return manifest, [Segment(folder, record, manifest.dims) for record in manifest.segments if record.live]
        except SearchError:
            before, manifest = manifest, read_manifest(folder)
            if manifest == before:
                raise


def _listed(streams: Iterable[str]) -> str:
    return ", ".join(sorted(streams))
