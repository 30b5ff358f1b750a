"""The steps of an update: rows taken over, segments merged, approximate indexes built.

table parts -> centre of each stream -> keys (id, path) that the index has not -> new segments -> segments merged
-> approximate indexes

Segments of like size are merged, as in a log-structured merge tree: adding costs in proportion to what is added, and a
search looks into few. Each of the steps ends with a manifest that is whole, so that a run that is killed has lost no
more than the step it was in.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any
from uuid import uuid4

import faiss
import numpy as np
import pyarrow as pa

from tristream.fusion.parts import batches_of, open_part, parts_of
from tristream.search.centre import GROWTH, SMALL_ROWS, find_centre
from tristream.search.kinds import Progress, build, choose_kind
from tristream.search.manifest import (
    DELETED,
    INDEX_FILE,
    IndexFormatError,
    IndexManifest,
    Kind,
    SegmentRecord,
    check_file,
    is_index,
    is_ours,
    read_manifest,
    record_of,
    write_manifest,
)
from tristream.search.rows import Key, Where, keys_of, split_rows, video_embeddings_of
from tristream.search.segment import WRITE_ROWS, Segment, SegmentWriter, sync_file
from tristream.streams.errors import SearchError

MERGE_RATIO = 2  # a segment is merged with the one before it, unless that is larger by more than this
REWRITE_SHARE = 0.25  # of deleted rows, from which a segment is written anew without them


@dataclass
class Update:
    """What came of an update."""

    rows: int = 0  # that can be found now
    added: int = 0
    removed: int = 0
    skipped: int = 0  # rows of the table without an embedding, or with one that is no finite numbers
    damaged: list[str] = field(default_factory=list)  # segments made anew
    segments: Sequence[SegmentRecord] = ()


class Writer:
    """One update of one index."""

    def __init__(
        self,
        table: Path,
        folder: Path,
        about: dict[str, Any],
        kind: str,
        memory_bytes: int,
        progress: Progress,
        overwrite: bool,
    ) -> None:
        self.table, self.folder, self.kind, self.progress = table, folder, kind, progress
        self.memory_bytes = memory_bytes
        self.update = Update()
        self.manifest = IndexManifest(
            model_id=about["model_id"],
            model=about["model"],
            asked=about.get("asked", {}),
            dims={stream: place["length"] for stream, place in about["streams"].items()},
            weights={stream: place["weight"] for stream, place in about["streams"].items()},
            window_seconds=about["window_seconds"],
            stride_seconds=about["stride_seconds"],
            table=str(table.resolve()),
            kind=kind,
        )
        before = self._before(overwrite) or self.manifest
        with ThreadPoolExecutor() as threads:  # hashing leaves the interpreter's lock
            whole = list(threads.map(self._is_whole, before.segments))
        segments = tuple(compress(before.segments, whole))
        centre, rows = before.centre, before.centre_rows
        if about["rows"] <= SMALL_ROWS or about["rows"] >= GROWTH * rows:
            found = find_centre(video_embeddings_of(table, WRITE_ROWS), self.manifest.dims)
            centre, rows = {stream: mean.tolist() for stream, mean in found.items()}, about["rows"]
        self.manifest = replace(self.manifest, segments=segments, centre=centre, centre_rows=rows)
        self.anew = centre != before.centre  # all vectors, then, are others

    def run(self) -> Update:
        """Do all that is to be done."""
        self._take_over_rows()
        self._merge_all()
        self._approximate_all()
        self.update.rows, self.update.segments = self.manifest.live, self.manifest.segments
        return self.update

    def _before(self, overwrite: bool) -> IndexManifest | None:
        """The index that is there; None where there is none, or it is damaged or to be overwritten."""
        if not (self.folder / INDEX_FILE).exists():
            if not is_index(self.folder):
                raise SearchError(
                    f"{self.folder} holds other files than a search index, so nothing is written to it: use another -o"
                )
            return None
        try:
            before = read_manifest(self.folder)
        except SearchError as error:
            if not is_index(self.folder) or (isinstance(error, IndexFormatError) and not overwrite):
                raise
            self.update.damaged.append(INDEX_FILE)
            return None
        if overwrite:
            return None
        if before.model_id != self.manifest.model_id:
            raise SearchError(
                f"the index {self.folder} is of model {before.model_id} ({before.model}), the table {self.table} of "
                f"{self.manifest.model_id} ({self.manifest.model}): use another -o, or --overwrite to begin it anew"
            )
        if before.table != self.manifest.table and Path(before.table).exists():  # and has not been moved
            raise SearchError(
                f"the index {self.folder} is of the table {before.table}, not of {self.manifest.table}: use another "
                "-o, or --overwrite to begin it anew"
            )
        return before

    def _is_whole(self, record: SegmentRecord) -> bool:
        try:
            for name, file in IndexManifest(segments=(record,)).files():
                check_file(self.folder, name, file)
        except SearchError:
            self.update.damaged.append(record.name)
            return False
        return True

    def _commit(self, segments: Sequence[SegmentRecord]) -> None:
        """Make these the index's segments; files that none of them names are deleted."""
        self.manifest = replace(self.manifest, segments=tuple(segments))
        write_manifest(self.folder, self.manifest)
        named = {name for name, _ in self.manifest.files()}
        for entry in list(self.folder.iterdir()):
            if entry.name not in named and is_ours(entry.name) and entry.name != INDEX_FILE:
                entry.unlink()

    # New and gone rows

    def _take_over_rows(self) -> None:
        """Put in the rows that only the table has, and delete those that only the index has."""
        places: dict[Key, tuple[int, int]] = {}
        for number, record in enumerate(self.manifest.segments):
            segment = self._open(record)
            for row, key in enumerate(keys_of(segment.rows)):
                if segment.live is None or segment.live[row]:
                    places[key] = number, row
        known = len(places)
        new = self._write_new(places)
        self.update.removed = len(places)
        self.update.added = sum(record.rows for record in new)
        segments = []
        if self.anew:
            self.update.added -= known - self.update.removed
        else:
            segments = [self._without(record, number, places) for number, record in enumerate(self.manifest.segments)]
        self._commit([record for record in (*segments, *new) if record.live])

    def _write_new(self, places: dict[Key, tuple[int, int]]) -> list[SegmentRecord]:
        """Segments of the rows that are not in `places` (of all rows, for an index anew); those that are, leave it."""
        dims, centre = self.manifest.dims, self.manifest.centres()
        seen: set[Key] = set()
        with ExitStack() as stack:
            writers: dict[Where, SegmentWriter] = {}
            for part in parts_of(self.table):
                for batch in self._fresh(part, places, seen):
                    self.update.skipped += len(batch)
                    for where, vectors, rows in split_rows(batch, dims, centre):
                        self.update.skipped -= len(vectors)
                        if where not in writers:
                            writer = SegmentWriter(self.folder, uuid4().hex, *where, rows.schema)
                            writers[where] = stack.enter_context(writer)
                        writers[where].add(vectors, rows)
            return [writer.finish() for _, writer in sorted(writers.items())]

    def _fresh(self, part: Path, places: dict[Key, tuple[int, int]], seen: set[Key]) -> Iterator[pa.Table]:
        """The rows of a part that are to be written; those that the index has are taken out of `places`."""
        fresh: list[list[int]] = []
        with open_part(part) as file:  # once: embed-video may put another under its name
            # What names them first: of a part that has nothing new, no vector is read.
            for batch in batches_of(file, WRITE_ROWS, ["id", "path", "status"]):
                fresh.append([])
                for row, (key, status) in enumerate(zip(keys_of(batch), batch["status"].to_pylist(), strict=True)):
                    if status != "ok":
                        self.update.skipped += 1
                    elif key not in seen and (places.pop(key, None) is None or self.anew):
                        fresh[-1].append(row)
                    seen.add(key)
            if any(fresh):
                for batch, rows in zip(batches_of(file, WRITE_ROWS), fresh, strict=True):
                    yield batch.take(pa.array(rows, pa.int64()))

    def _without(self, record: SegmentRecord, number: int, gone: dict[Key, tuple[int, int]]) -> SegmentRecord:
        """A segment with the rows deleted that are gone from the table."""
        rows = [row for at, row in gone.values() if at == number]
        if not rows:
            return record
        live = self._open(record).live
        deleted = np.zeros(record.rows, bool) if live is None else ~live
        deleted[rows] = True
        # Under a name of its own: the manifest that is there names the old one until the next is written.
        ending = f"{uuid4().hex[:8]}.{DELETED}"
        path = self.folder / record.file(ending)
        np.save(path, deleted)
        sync_file(path)
        files = {name: file for name, file in record.files.items() if not name.endswith(DELETED)}
        return replace(record, files=files | {ending: record_of(path)}, deleted=int(deleted.sum()))

    # Fewer and larger segments

    def _merge_all(self) -> None:
        """Merge segments until each is much smaller than the one before it, and write those anew that have gaps."""
        while (group := self._to_rewrite()) is not None:
            segments = list(self.manifest.segments)
            place = segments.index(group[0])
            segments[place] = self._rewritten(group)
            self._commit([segment for segment in segments if segment not in group[1:]])

    def _to_rewrite(self) -> list[SegmentRecord] | None:
        last: dict[Where, SegmentRecord] = {}
        for record in self.manifest.segments:
            if record.deleted >= REWRITE_SHARE * record.rows:
                return [record]
            before = last.get((record.level, record.streams))
            if before is not None and record.live * MERGE_RATIO >= before.live:
                return [before, record]
            last[record.level, record.streams] = record
        return None

    def _rewritten(self, records: Sequence[SegmentRecord]) -> SegmentRecord:
        """One segment of all rows of some that can be found."""
        first = self._open(records[0])
        with SegmentWriter(
            self.folder, uuid4().hex, first.record.level, first.record.streams, first.rows.schema
        ) as writer:
            for record in records:
                segment = self._open(record)
                live = segment.live_rows()
                for begin in range(0, len(live), WRITE_ROWS):
                    rows = live[begin : begin + WRITE_ROWS]
                    writer.add(segment.vectors[rows], segment.rows.take(rows))
            return writer.finish()

    # Approximate indexes

    def _approximate_all(self) -> None:
        """Give each segment the kind of index that its size asks for."""
        widths = [sum(self.manifest.dims[stream] for stream in record.streams) for record in self.manifest.segments]
        total = sum(record.rows * width for record, width in zip(self.manifest.segments, widths, strict=True))
        for record, width in zip(self.manifest.segments, widths, strict=True):
            share_bytes = self.memory_bytes * record.rows * width // total
            kind = choose_kind(self.kind, record.rows, width, share_bytes)
            if kind != record.kind:
                changed = self._with_kind(record, kind)
                self._commit([changed if each is record else each for each in self.manifest.segments])

    def _with_kind(self, record: SegmentRecord, kind: Kind) -> SegmentRecord:
        files = {ending: file for ending, file in record.files.items() if ending != record.kind}
        record = replace(record, files=files, kind="flat", effort=0, recall=1.0)
        if kind == "flat":
            return record
        segment = self._open(record)
        built = build(kind, segment.vectors, list(segment.blocks.values()), self.progress)
        path = self.folder / record.file(kind)
        try:
            faiss.write_index(built.index, str(path))
        except RuntimeError as error:  # what faiss makes of a full disk
            raise OSError(f"{path} could not be written") from error
        sync_file(path)
        return replace(
            record, files=files | {kind: record_of(path)}, kind=kind, effort=built.effort, recall=built.recall
        )

    def _open(self, record: SegmentRecord) -> Segment:
        return Segment(self.folder, record, self.manifest.dims)
