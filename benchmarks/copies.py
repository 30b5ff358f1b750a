"""Is a re-encoded clip found by its original, and a moment where it was cut from?

    python benchmarks/copies.py [DATASET] [--work DIR] [--json FILE]

copies   Every clip is encoded anew: another container and codec, 4/5 of its size, 15 frames a second. Each copy
         searches the originals, and each original all other originals and all copies; and all of them together are
         looked through for duplicates, at several thresholds: pairs of clip and copy that are found, and pairs that are
         none. The default threshold was chosen by the train part of DATASET; the figures are of the test part.
moments  Clips are joined to videos of three minutes, which are indexed by windows of 5 s, one every second. 5 s are cut
         out of them at random, encoded anew likewise, and searched for.

MobileNetV1 with ImageNet's weights and YAMNet with AudioSet's, each the mean over its steps.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from clips import SHARED
from numpy.typing import NDArray
from retrieval import embed, published_networks

from tristream.fusion.folder import write_atomically
from tristream.fusion.parts import read_rows
from tristream.fusion.source import ModelSource, find_model
from tristream.fusion.windows import Windows
from tristream.search.duplicates import THRESHOLD, find_duplicates
from tristream.search.filters import parse_filter
from tristream.search.index import VideoIndex
from tristream.search.query import Query
from tristream.search.update import update_index
from tristream.training.datasets import Example, read_dataset
from tristream.training.splits import train_and_test

COPY_FPS, COPY_SIZE, COPY_CRF = 15, (256, 192), 28
JOINED_FPS, JOINED_SIZE = 25, (320, 240)
SAMPLE_RATE_HZ = 44_100
Floats = NDArray[np.float32]
THRESHOLDS = (0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
JOINED_SECONDS, MOMENT_SECONDS = 180, 5.0
JOINED, MOMENTS = 2, 30  # videos, and moments cut out of each


@dataclass(frozen=True)
class Span:
    """A part of a file."""

    path: Path
    begin_seconds: float = 0.0
    end_seconds: float = float("inf")


def pictures(span: Span, fps: int) -> Iterator[av.VideoFrame]:
    """The pictures shown at every 1/fps of a span."""
    with av.open(str(span.path)) as container:
        stream = container.streams.video[0]
        start, shown, wanted = None, None, 0
        for frame in container.decode(stream):
            start = frame.time if start is None else start
            while shown is not None and (at := span.begin_seconds + wanted / fps) < frame.time - start:
                if at >= span.end_seconds:
                    return
                yield shown
                wanted += 1
            shown = frame
        if shown is not None and span.begin_seconds + wanted / fps < span.end_seconds:
            yield shown


def waveform(span: Span, seconds: float) -> Floats:
    """The sound of a span, mono, exactly so long; silence where the file has none."""
    samples = round(seconds * SAMPLE_RATE_HZ)
    with av.open(str(span.path)) as container:
        pieces = [np.zeros(0, np.float32)]
        if container.streams.audio:
            resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE_HZ)
            for frame in container.decode(container.streams.audio[0]):
                pieces += [each.to_ndarray()[0] for each in resampler.resample(frame)]
    first = round(span.begin_seconds * SAMPLE_RATE_HZ)
    own = np.concatenate(pieces)[first : first + samples]
    return np.pad(own, (0, samples - len(own)))


def has_sound(path: Path) -> bool:
    """Whether a file has an audio stream."""
    with av.open(str(path)) as container:
        return bool(container.streams.audio)


def encode(spans: Sequence[Span], target: Path, fps: int, size: tuple[int, int], crf: int) -> list[float]:
    """Write spans one after the other as H.264, with AAC where one of them has sound; the time that each begins."""
    shown: list[int] = []  # pictures of each span

    def frames() -> Iterator[av.VideoFrame]:
        for span in spans:
            shown.append(0)
            for picture in pictures(span, fps):
                shown[-1] += 1
                yield picture.reformat(*size, "yuv420p")

    def sound() -> Floats:
        return np.concatenate([waveform(span, count / fps) for span, count in zip(spans, shown, strict=True)])

    write_clip(target, frames(), Fraction(fps), crf, sound if any(has_sound(span.path) for span in spans) else None)
    return [sum(shown[:number]) / fps for number in range(len(spans))]


def write_clip(
    target: Path,
    frames: Iterable[av.VideoFrame],
    rate: Fraction,
    crf: int,
    sound: Callable[[], Floats] | None,
    sound_bits_a_second: int = 128_000,
) -> None:
    """Write pictures of one size as H.264, and after them their sound, if there is one, as AAC."""
    with av.open(str(target), "w") as container:
        video = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast"})
        video.pix_fmt = "yuv420p"
        audio = None
        if sound is not None:
            audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono", bit_rate=sound_bits_a_second)
        for number, frame in enumerate(frames):
            if not number:
                video.width, video.height = frame.width, frame.height
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None and sound is not None:
            samples = sound()
            for first in range(0, len(samples), 1024):
                block = av.AudioFrame.from_ndarray(samples[None, first : first + 1024], format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = SAMPLE_RATE_HZ, first, Fraction(1, SAMPLE_RATE_HZ)
                container.mux(audio.encode(block))
            container.mux(audio.encode())


def path_of(example: Example) -> Path:
    """The file of an example, as a table names it."""
    return example.path.resolve()


def copies(examples: Sequence[Example], source: ModelSource, work: Path) -> dict[str, object]:
    """The figures of copies of these clips."""
    work.mkdir(parents=True, exist_ok=True)
    originals = [path_of(one) for one in examples]
    copy_of = {path: (work / f"{path.stem}.mp4").resolve() for path in originals}
    for path, copy in copy_of.items():
        if not copy.exists():
            encode([Span(path)], copy, COPY_FPS, COPY_SIZE, COPY_CRF)
    embed([*originals, *copy_of.values()], source, work / "table")
    update_index(work / "table", work / "index")
    index = VideoIndex(work / "index")
    vectors = {row["path"]: row["embedding"] for row in read_rows(work / "table") if row["level"] == "video"}
    expected = {frozenset(map(str, pair)) for pair in copy_of.items()}
    recording = {str(name): one.group for one in examples for name in (path_of(one), copy_of[path_of(one)])}
    among_originals = [parse_filter(f"path ~ {originals[0].parents[1]}/*")]
    by_copy, by_original, of_recording, own, other = 0, 0, 0, [], []
    for path, copy in copy_of.items():
        query = Query.of_vector(vectors[str(copy)], index.dims, index.model_id)
        by_copy += index.search(query, 1, level="video", filters=among_originals)[0].path == str(path)
        query = Query.of_vector(vectors[str(path)], index.dims, index.model_id, path=str(path))
        best = index.search(query, len(index), level="video", exclude_self=True)
        by_original += best[0].path == str(copy)
        of_recording += recording[best[0].path] == recording[str(path)]
        own += [moment.score for moment in best if moment.path == str(copy)]
        other.append(next(moment.score for moment in best if moment.path != str(copy)))
    found = {}
    for threshold in THRESHOLDS:
        groups = [{video.row["path"] for video in group.videos} for group in find_duplicates(index, threshold)]
        whole = sum(pair <= group for pair in expected for group in groups)
        found[threshold] = {
            "pairs found": whole / len(expected),
            "groups that hold other clips, too": sum(group not in expected for group in groups),
            "groups of several recordings": sum(len({recording[path] for path in group}) > 1 for group in groups),
            "groups": len(groups),
        }
    return {
        "clips": len(examples),
        "copies that find their original first, among originals": by_copy,
        "originals that find their copy first, among all": by_original,
        "originals that find a clip of their recording first": of_recording,
        "least score of a copy and its original": min(own),
        "largest of an original and another clip": max(other),
        "duplicates": found,
    }


def moments(examples: Sequence[Example], source: ModelSource, work: Path) -> dict[str, float]:
    """The figures of moments cut out of joined clips."""
    work.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    order = [examples[i].path.resolve() for i in generator.permutation(len(examples))]
    wanted = {}
    joined = [work / f"joined-{number}.mp4" for number in range(JOINED)]
    for number, target in enumerate(joined):
        begins, spans = 0.0, []
        while begins < JOINED_SECONDS:
            spans.append(Span(order.pop()))
            with av.open(str(spans[-1].path)) as container:
                begins += container.duration / av.time_base
        encode(spans, target, JOINED_FPS, JOINED_SIZE, 20)
        for cut in range(MOMENTS):
            at = float(generator.uniform(0, JOINED_SECONDS - MOMENT_SECONDS))
            moment = work / f"moment-{number}-{cut}.mp4"
            encode([Span(target, at, at + MOMENT_SECONDS)], moment, COPY_FPS, COPY_SIZE, COPY_CRF)
            wanted[str(moment.resolve())] = str(target.resolve()), at
    embed(joined, source, work / "table", Windows(MOMENT_SECONDS, 1.0))
    embed([Path(path) for path in wanted], source, work / "moments")
    update_index(work / "table", work / "index")
    index = VideoIndex(work / "index")
    rows = [row for row in read_rows(work / "moments") if row["level"] == "video"]
    figures: dict[str, float] = {"moments": len(rows)}
    for name, weights in (("all streams", None), ("by look alone", {"spatial": 1.0})):
        errors = []
        for row in rows:
            query = Query.of_vector(row["embedding"], index.dims, index.model_id)
            best = index.search(query, 1, weights=weights)[0]
            path, at = wanted[row["path"]]
            errors.append(abs(best.start_seconds - at) if best.path == path else float("inf"))
        figures |= {
            f"{name}: within 1 s": float(np.mean(np.array(errors) <= 1.0)),
            f"{name}: median error in seconds": float(np.median(errors)),
            f"{name}: largest error in seconds": float(np.max(errors)),
        }
    return figures


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?", default=SHARED / "data" / "ucf101-6c")
    parser.add_argument("--train", action="store_true", help="copies of the train part, by which a threshold is chosen")
    parser.add_argument("--model", help="MobileNetV1 and YAMNet if not given")
    parser.add_argument("--work", type=Path, help="keep what is made there, and go on from what is there")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    train, test = train_and_test(read_dataset(arguments.dataset))
    source = find_model(arguments.model) if arguments.model else published_networks()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        if arguments.train:
            figures = {"copies": copies(train, source, work / "train")}
        else:
            figures = {
                "copies": copies(test, source, work / "test"),
                "moments": moments(test, source, work / "moments"),
            }
    print(json.dumps(figures, indent=1))
    print(f"the default threshold of duplicates is {THRESHOLD}")
    if arguments.json is not None:
        write_atomically(arguments.json, (json.dumps(figures, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
