"""Files in, the step features that training reads in the cache: each is computed once, in worker processes.

file -> steps -> CNN features (T, F) float16, or what a CNN that is to be trained takes -> cache
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tristream.fusion.batch import Workers
from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.folder import sha256_of
from tristream.fusion.source import ModelSource
from tristream.fusion.windows import Windows
from tristream.fusion.worker import EmbedFile, Job, bound_memory
from tristream.streams.config import RecurrentConfig, SamplingConfig, StreamName, to_json
from tristream.streams.errors import UsageError
from tristream.streams.stacks import FLOW_CENTRES
from tristream.training.cache import GIGABYTE, FeatureCache, key_of
from tristream.training.recipes import Augmentation

if TYPE_CHECKING:
    from tristream.streams.placement import DtypeName
    from tristream.training.collecting import Collector

FEATURES_VERSION = 1  # of what is kept; counted up when features of the same settings change
SEED_DIGITS = 8  # of a file's sha256, that decide how its frames are changed where they are augmented
BATCH_SIZE = 16  # steps that go through a CNN together
FIRST_ESTIMATE_FILES = 8  # so many files tell how much room all of them need
# Every frame, for a CNN that is trained on steps drawn anew in each epoch.
EVERY_FRAME = SamplingConfig("every-nth", max_steps=10**9, frame_jump=1)


@dataclass(frozen=True)
class Wanted:
    """What is to be kept of a stream: its CNN's `features`, or the `inputs` of a CNN that is to be trained.

    The inputs are pictures (T, H, W, 3) uint8, flow fields (T, 2, H, W) int8 or log-mel examples (T, 96, 64).
    """

    stream: StreamName
    kind: Literal["features", "inputs"] = "features"
    augmentation: Augmentation | None = None


@dataclass(frozen=True)
class ExtractionJob(Job):
    """A worker that puts what is wanted of a file into the cache; `path` -> a VideoEmbedding without vectors."""

    cache: Path = Path()
    wanted: tuple[Wanted, ...] = ()
    dtype_name: str = ""  # the precision that `dtype` comes to on this machine
    digests: Mapping[StreamName, str] = field(default_factory=dict)  # of the CNNs' weights
    may_lack: bool = False  # a file may have none of the streams, as other streams of it are read apart

    def keys(self, content_sha256: str) -> dict[Wanted, str]:
        """The cache key of all that is wanted of a file."""
        return {each: self._key(each, content_sha256) for each in self.wanted}

    def open(self) -> tuple[dict[str, int], EmbedFile]:
        """Load the CNNs: nothing of dims, and what extracts a file."""
        import cv2
        import torch

        from tristream.training.collecting import Collector

        torch.set_num_threads(self.threads)
        cv2.setNumThreads(self.threads)
        cache = FeatureCache(self.cache)
        collector = Collector(self)
        if self.device == "cpu":  # CUDA maps far more than it uses
            bound_memory(self.memory_bytes)

        def extract(path: str) -> VideoEmbedding:
            return self._extract(collector, cache, path)

        return {}, extract

    def _extract(self, collector: "Collector", cache: FeatureCache, path: str) -> VideoEmbedding:
        content = sha256_of(Path(path))
        keys = self.keys(content)
        missing = [wanted for wanted, key in keys.items() if not cache.has(key)]
        warnings: tuple[str, ...] = ()
        if missing:
            there = (key for wanted, key in keys.items() if wanted not in missing)
            beside = self.may_lack or any(len(cache.times(key)[0]) for key in there)
            seed = int(content[:SEED_DIGITS], 16)  # each file its own changes, the same wherever it lies
            for wanted, features in collector.collect(path, missing, seed=seed, beside=beside).items():
                cache.write(keys[wanted], features)
                warnings = features.warnings
        return VideoEmbedding(path, self.source.model_id, warnings=warnings)

    def _key(self, wanted: Wanted, content_sha256: str) -> str:
        config = self.source.config
        flow = wanted.stream == "temporal" or (wanted.stream == "spatial" and config.sampling.strategy == "adaptive")
        described = to_json(replace(getattr(config, wanted.stream), recurrent=RecurrentConfig()))
        of_features = wanted.kind == "features"
        if not of_features and wanted.stream == "temporal":
            # Flow fields are the same for any CNN, but for what is taken from each.
            described = {"centre": FLOW_CENTRES[config.temporal.cnn]} if config.temporal else {}
        return key_of(
            version=FEATURES_VERSION,
            content=content_sha256,
            stream=wanted.stream,
            kind=wanted.kind,
            settings=described,
            sampling=None if wanted.stream == "audio" else to_json(config.sampling),
            flow=to_json(config.flow) | {"weights": _origin(self.source, "flow")} if flow else None,
            window_seconds=None if wanted.stream == "audio" else self.windows.window_seconds,
            weights=self.digests[wanted.stream] if of_features else None,
            dtype=self.dtype_name if of_features else None,
            augmentation=to_json(wanted.augmentation) if wanted.augmentation else None,
        )


def _origin(source: ModelSource, part: str) -> str:
    weights = source.weights.get(part)
    return weights.origin if weights else ""


@dataclass
class Extracted:
    """Where what was wanted of each file is, and which files gave nothing."""

    keys: dict[str, dict[Wanted, str]] = field(default_factory=dict)  # path -> what is wanted -> key
    failed: dict[str, str] = field(default_factory=dict)  # path -> why
    computed: int = 0  # files that were not in the cache before


def extract(
    job: ExtractionJob,
    paths: Sequence[str],
    cache: FeatureCache,
    *,
    jobs: int,
    timeout_seconds: float | None = None,
    on_file: Callable[[int, int], None] = lambda _done, _total: None,
) -> Extracted:
    """See to it that what is wanted of every file is in the cache.

    Args:
        on_file: is told how many of the files are done.

    Raises:
        ModelError, UsageError: the CNNs cannot be loaded, or the cache is too small for these files.
    """
    extracted, room = Extracted(), _Room(cache, len(paths))
    to_do = _not_there(job, paths, cache, extracted, room)
    done = len(paths) - len(to_do)
    on_file(done, len(paths))
    with Workers[str](job, jobs=min(jobs, max(1, len(to_do))), timeout_seconds=timeout_seconds) as workers:
        waiting = deque(to_do)
        while waiting or len(workers):
            while waiting and workers.free:
                path = waiting.popleft()
                workers.start(path, path)
            done += _collect(workers, extracted, room)
            on_file(done, len(paths))
    cache.trim({key for keys in extracted.keys.values() for key in keys.values()})
    return extracted


class _Room:
    """How much room the files that are done take in the cache, and so all of them will."""

    def __init__(self, cache: FeatureCache, files: int) -> None:
        self._cache = cache
        self._files = files  # that can be read, as far as is known
        self._done = 0
        self._seen: set[str] = set()  # files of the same content share their keys
        self._bytes = 0

    def leave_out(self) -> None:
        """A file takes no room."""
        self._files -= 1

    def take(self, keys: Iterable[str]) -> None:
        """A file is in the cache, under these keys.

        Raises:
            UsageError: all will need more than the cache may hold, as soon as that can be told.
        """
        fresh = set(keys) - self._seen
        self._seen |= fresh
        self._bytes += self._cache.bytes_of(fresh)
        self._done += 1
        limit_bytes = self._cache.limit_bytes
        if limit_bytes is None or self._done < min(FIRST_ESTIMATE_FILES, self._files):
            return
        needed_bytes = self._bytes * self._files / self._done
        if needed_bytes > limit_bytes:
            raise UsageError(
                f"the features of {self._files} files need about {needed_bytes / GIGABYTE:.3g} GB and the cache may "
                f"hold {limit_bytes / GIGABYTE:.3g}: --cache-size GB gives it more, --cache DIR another disk"
            )


def _not_there(
    job: ExtractionJob, paths: Iterable[str], cache: FeatureCache, extracted: Extracted, room: _Room
) -> list[str]:
    """The files of which something is missing in the cache."""
    to_do = []
    for path in paths:
        try:
            keys = job.keys(sha256_of(Path(path)))
        except OSError as error:
            extracted.failed[path] = f"{path}: {error.strerror or error}"
            room.leave_out()
            continue
        extracted.keys[path] = keys
        if all([cache.has(key) for key in keys.values()]):  # each is asked, which marks it as used
            room.take(keys.values())
        else:
            to_do.append(path)
    extracted.computed = len(to_do)
    return to_do


def _collect(workers: Workers[str], extracted: Extracted, room: _Room) -> int:
    """Take in the files that are done; how many."""
    results = workers.collect()
    for path, result in results:
        if result.error is not None:
            extracted.failed[path] = result.error
            extracted.keys.pop(path, None)
            room.leave_out()
        else:
            room.take(extracted.keys[path].values())
    return len(results)


def make_job(
    source: ModelSource,
    windows: Windows,
    cache: FeatureCache,
    wanted: Sequence[Wanted],
    device: str = "auto",
    dtype: "DtypeName" = "auto",
) -> ExtractionJob:
    """The job that keeps what is wanted of files; loads the CNNs once, to know their weights by their content.

    Raises:
        ModelError: weights that are missing, damaged or of another architecture.
        UsageError: a device that is not there.
    """
    from tristream.fusion.assemble import cnn_digests
    from tristream.streams.placement import select_device, select_dtype

    device = select_device(device)
    chosen = select_dtype(device, dtype)  # which `auto` may leave in some layers; see `place`
    return ExtractionJob(
        source,
        windows,
        BATCH_SIZE,
        device,
        dtype,
        cache=cache.folder,
        wanted=tuple(wanted),
        dtype_name=str(chosen) if dtype == "auto" or chosen.itemsize == 4 else f"{chosen} throughout",
        digests=cnn_digests(source, [each.stream for each in wanted if each.kind == "features"]),
    )
