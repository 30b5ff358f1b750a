"""Of each file what is wanted is computed once, under a key that all it depends on decides, and nothing else."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tristream.fusion.config import ModelConfig
from tristream.fusion.folder import sha256_of
from tristream.fusion.source import Weights
from tristream.fusion.windows import Windows
from tristream.streams.config import RecurrentConfig, SamplingConfig, SpatialConfig
from tristream.streams.errors import UsageError
from tristream.training import extraction
from tristream.training.cache import GIGABYTE, FeatureCache
from tristream.training.extraction import Extracted, ExtractionJob, Wanted, extract, make_job
from tristream.training.recipes import Augmentation

sys.path.append(str(Path(__file__).parent))
from fake_extraction import FEATURES, TINY, InlineWorkers, tiny_job, tiny_source

MakeVideo = Callable[..., Path]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def media(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with sound, one without, one that is none, and a sound."""
    folder = tmp_path_factory.mktemp("media")
    make_video(folder / "loud.mkv", seconds=1.2, fps=10, sound_hz=16_000)
    make_video(folder / "silent.avi", seconds=1, fps=10, seed=1)
    make_video(folder / "sound.wav", seconds=1.2, sound_hz=16_000, video=False)
    (folder / "broken.avi").write_bytes(b"RIFF of nothing" * 40)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "Workers", InlineWorkers)


def steps_of(extracted: Extracted, cache: FeatureCache, path: Path) -> dict[str, int]:
    """How many steps are kept of each stream of a file."""
    return {wanted.stream: len(cache.times(key)[0]) for wanted, key in extracted.keys[str(path)].items()}


# What is done, and what is not done again


def test_in_processes_all_is_computed_once_and_a_broken_file_costs_only_itself(
    media: Path, cache: FeatureCache
) -> None:
    paths = [str(media / name) for name in ("loud.mkv", "silent.avi", "broken.avi", "sound.wav", "absent.avi")]
    told: list[tuple[int, int]] = []
    extracted = extract(tiny_job(cache), paths, cache, jobs=1, on_file=lambda done, total: told.append((done, total)))
    assert extracted.computed == 4
    assert extracted.failed.keys() == {paths[2], paths[4]}
    assert "broken.avi" in extracted.failed[paths[2]]
    assert extracted.failed[paths[4]] == f"{paths[4]}: No such file or directory"
    assert extracted.keys.keys() == set(paths) - extracted.failed.keys()
    assert told[0] == (1, 5)  # the one that is not there takes no time
    assert told[-1] == (5, 5)
    assert steps_of(extracted, cache, media / "loud.mkv") == {"spatial": 12, "temporal": 6, "audio": 1}
    assert steps_of(extracted, cache, media / "silent.avi") == {"spatial": 10, "temporal": 5, "audio": 0}
    assert steps_of(extracted, cache, media / "sound.wav") == {"spatial": 0, "temporal": 0, "audio": 1}
    again = extract(tiny_job(cache), [path for path in paths if path in extracted.keys], cache, jobs=1)
    assert again.computed == 0
    assert again.keys == extracted.keys


@pytest.mark.usefixtures("inline")
def test_a_copy_under_another_name_is_the_same_file(media: Path, cache: FeatureCache, tmp_path: Path) -> None:
    job = tiny_job(cache, Wanted("spatial"))
    extract(job, [str(media / "loud.mkv")], cache, jobs=1)
    copy = shutil.copy(media / "loud.mkv", tmp_path / "copy.mkv")
    assert extract(job, [str(copy)], cache, jobs=1).computed == 0
    copy.write_bytes(copy.read_bytes() + b"\0")
    assert extract(job, [str(copy)], cache, jobs=1).computed == 1


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(
    ("name", "first", "steps"),
    [
        ("silent.avi", "spatial", {"spatial": 10, "temporal": 5, "audio": 0}),
        ("sound.wav", "audio", {"spatial": 0, "temporal": 0, "audio": 1}),
        ("loud.mkv", "audio", {"spatial": 12, "temporal": 6, "audio": 1}),
    ],
)
def test_streams_that_are_wanted_later_join_those_that_are_there(
    media: Path, cache: FeatureCache, name: str, first: Any, steps: dict[str, int]
) -> None:
    """A file is not left out for want of a stream, whichever were asked for first."""
    path = media / name
    one = extract(tiny_job(cache, Wanted(first)), [str(path)], cache, jobs=1)
    before = cache.path_of(one.keys[str(path)][Wanted(first)]).stat().st_ino
    extracted = extract(tiny_job(cache), [str(path)], cache, jobs=1)
    assert extracted.failed == {}
    assert steps_of(extracted, cache, path) == steps
    assert cache.path_of(one.keys[str(path)][Wanted(first)]).stat().st_ino == before  # not computed again
    assert extract(tiny_job(cache), [str(path)], cache, jobs=1).computed == 0


@pytest.mark.usefixtures("inline")
def test_a_file_without_any_of_the_streams_is_left_out(media: Path, cache: FeatureCache) -> None:
    extracted = extract(tiny_job(cache, Wanted("audio")), [str(media / "silent.avi")], cache, jobs=1)
    assert "silent.avi" in extracted.failed[str(media / "silent.avi")]
    assert extracted.keys == {}
    # A file of which nothing but the lack of a stream is known is not excused by that.
    sound = str(media / "sound.wav")
    extract(tiny_job(cache, Wanted("audio"), Wanted("spatial")), [sound], cache, jobs=1)
    cache.path_of(tiny_job(cache).keys(sha256_of(Path(sound)))[Wanted("audio")]).unlink()
    assert extract(tiny_job(cache, Wanted("spatial"), Wanted("temporal")), [sound], cache, jobs=1).failed.keys() == {
        sound
    }


# Room


@pytest.mark.usefixtures("inline")
def test_a_cache_that_is_too_small_is_refused_early(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "FIRST_ESTIMATE_FILES", 2)
    paths = [str(make_video(tmp_path / f"{seed}.avi", seconds=0.8, fps=10, seed=seed)) for seed in range(6)]
    job = tiny_job(FeatureCache(tmp_path / "cache"), Wanted("spatial"))
    one = extract(job, paths[:1], FeatureCache(tmp_path / "cache"), jobs=1)
    size = FeatureCache(tmp_path / "cache").bytes_of(one.keys[paths[0]].values())
    cache = FeatureCache(tmp_path / "cache", int(5.5 * size))  # enough for five
    with pytest.raises(UsageError, match=r"the features of 6 files need about [\d.e-]+ GB .*--cache-size GB") as held:
        extract(job, paths, cache, jobs=1)
    files = list(cache.folder.glob("*/*.safetensors"))
    assert len(files) == 2
    needed = 3 * sum(file.stat().st_size for file in files)
    assert f"about {needed / GIGABYTE:.3g} GB" in str(held.value)
    # Those that are there already say it at once.
    with pytest.raises(UsageError, match="the cache may hold"):
        extract(job, paths, cache, jobs=1)
    assert len(list(cache.folder.glob("*/*.safetensors"))) == 2
    # Fewer files than the first estimate takes are enough for it.
    with pytest.raises(UsageError, match="the features of 1 files"):
        extract(job, paths[:1], FeatureCache(cache.folder, 100), jobs=1)


@pytest.mark.usefixtures("inline")
def test_a_cache_that_holds_all_is_enough(make_video: MakeVideo, media: Path, tmp_path: Path) -> None:
    paths = [str(make_video(tmp_path / f"{seed}.avi", seconds=0.8, fps=10, seed=seed)) for seed in range(3)]
    shutil.copy(paths[0], tmp_path / "twin.avi")
    paths += [str(tmp_path / "twin.avi"), str(media / "broken.avi")]
    cache = FeatureCache(tmp_path / "cache")
    job = tiny_job(cache, Wanted("spatial"))
    extracted = extract(job, paths, cache, jobs=1)
    needed = cache.bytes_of({key for keys in extracted.keys.values() for key in keys.values()})
    assert len(extracted.keys) == 4
    exact = FeatureCache(cache.folder, needed)
    assert len(extract(job, paths, exact, jobs=1).keys) == 4
    assert len(extract(job, paths[:1], exact, jobs=1).keys) == 1
    extract(job, paths[:1], FeatureCache(cache.folder, needed // 2), jobs=1)  # which the others had to leave
    assert len(list(cache.folder.glob("*/*.safetensors"))) == 1


# Keys

CONTENT = "0" * 64


def with_job(config: ModelConfig = TINY, **changes: Any) -> ExtractionJob:
    """A job of which no CNN has to be loaded; by default of all features."""
    given = {"windows": Windows(), "wanted": FEATURES, "dtype_name": "torch.float32", "batch_size": 16}
    given["digests"] = dict.fromkeys(TINY.streams, "weights")
    return ExtractionJob(tiny_source(config), **(given | changes))


def with_origin(job: ExtractionJob, part: str, sha256: str) -> ExtractionJob:
    weights = {**job.source.weights, part: Weights(Path("file"), sha256)}
    return replace(job, source=replace(job.source, weights=weights))


INPUTS = tuple(replace(each, kind="inputs") for each in FEATURES)
UNIFORM = replace(TINY, sampling=replace(TINY.sampling, strategy="uniform"))
OTHER_FLOW = replace(TINY.flow, engine="farneback")
BASE = with_job()

# What is changed -> the streams whose features have another key then
FEATURE_CASES: dict[str, tuple[ExtractionJob, str]] = {
    "nothing": (with_job(), ""),
    "weights of one CNN": (with_job(digests={**BASE.digests, "audio": "others"}), "audio"),
    "precision": (with_job(dtype_name="torch.bfloat16"), "spatial temporal audio"),
    "window": (with_job(windows=Windows(10.0, 10.0)), "spatial temporal"),
    "stride": (with_job(windows=Windows(36.0, 9.0)), ""),
    "sampling": (with_job(replace(TINY, sampling=SamplingConfig(max_steps=13))), "spatial temporal"),
    "encoders": (
        with_job(
            replace(
                TINY,
                spatial=replace(TINY.spatial, recurrent=RecurrentConfig(hidden=7)),
                audio=replace(TINY.audio, recurrent=RecurrentConfig("lstm")),
            )
        ),
        "",
    ),
    "backbone": (with_job(replace(TINY, spatial=SpatialConfig("pixels"))), "spatial"),
    "pairs": (with_job(replace(TINY, temporal=replace(TINY.temporal, pairs=6))), "temporal"),
    "stride of stacks": (with_job(replace(TINY, temporal=replace(TINY.temporal, stride=3))), "temporal"),
    "audio CNN": (with_job(replace(TINY, audio=replace(TINY.audio, cnn="yamnet"))), "audio"),
    "flow": (with_job(replace(TINY, flow=OTHER_FLOW)), "spatial temporal"),  # by which adaptive sampling goes
    "seed": (with_job(replace(TINY, seed=9)), ""),  # the weights it makes are known by their digest
    "augmentation": (with_job(wanted=(Wanted("spatial", "features", Augmentation()), *FEATURES[1:])), "spatial"),
    "more of it": (
        with_job(wanted=(Wanted("spatial", "features", Augmentation(copies=4)), *FEATURES[1:])),
        "spatial",
    ),
    "where and how it runs": (with_job(batch_size=3, device="cuda", threads=7, cache=Path("elsewhere")), ""),
    "name of the model": (replace(BASE, source=replace(BASE.source, name="other")), ""),
    "encoder weights": (with_origin(BASE, "spatial.recurrent", "abc"), ""),
}


def keys_of(job: ExtractionJob, content: str = CONTENT) -> dict[str, str]:
    return {wanted.stream: key for wanted, key in job.keys(content).items()}


@pytest.mark.parametrize("case", FEATURE_CASES)
def test_what_features_depend_on_gives_another_key_and_nothing_else_does(case: str) -> None:
    job, changed = FEATURE_CASES[case]
    base, keys = keys_of(BASE), keys_of(job)
    assert {stream for stream in TINY.streams if keys[stream] != base[stream]} == set(changed.split())


def test_every_file_stream_and_kind_has_keys_of_its_own() -> None:
    jobs = (BASE, with_job(wanted=INPUTS))
    keys = [key for job in jobs for content in (CONTENT, "1" * 64) for key in keys_of(job, content).values()]
    assert len(set(keys)) == len(keys) == 12


def test_inputs_depend_on_no_weights_and_flow_on_what_is_taken_from_it() -> None:
    base = keys_of(with_job(wanted=INPUTS))
    others = {
        "": with_job(wanted=INPUTS, digests={}, dtype_name="torch.bfloat16"),
        "spatial": with_job(replace(TINY, spatial=SpatialConfig("pixels", size_pixels=32)), wanted=INPUTS),
        "audio": with_job(replace(TINY, audio=replace(TINY.audio, cnn="yamnet")), wanted=INPUTS),  # its log offset
    }
    others[" "] = with_job(replace(TINY, temporal=replace(TINY.temporal, pairs=10)), wanted=INPUTS)
    # Its own mean, of each field.
    others["temporal"] = with_job(replace(TINY, temporal=replace(TINY.temporal, cnn="motion")), wanted=INPUTS)
    for changed, job in others.items():
        keys = keys_of(job)
        assert {stream for stream in TINY.streams if keys[stream] != base[stream]} == set(changed.split())


def test_flow_weights_count_where_flow_does() -> None:
    raft = replace(TINY, flow=replace(TINY.flow, engine="raft"))
    for config, changed in ((raft, {"spatial", "temporal"}), (replace(raft, sampling=UNIFORM.sampling), {"temporal"})):
        one, other = (keys_of(with_origin(with_job(config), "flow", sha256)) for sha256 in ("a", "b"))
        assert {stream for stream in TINY.streams if one[stream] != other[stream]} == changed
    one, other = keys_of(with_job(UNIFORM)), keys_of(with_job(replace(UNIFORM, flow=OTHER_FLOW)))
    assert one["spatial"] == other["spatial"]
    assert one["temporal"] != other["temporal"]


def test_a_precision_is_that_of_all_layers_or_of_those_where_it_does_no_harm(cache: FeatureCache) -> None:
    """`place` leaves some in float32 with `auto`; where that comes to float32, it is the same as asking for it."""
    names = {}
    for dtype in ("auto", "float32", "bfloat16"):
        names[dtype] = make_job(tiny_source(), Windows(), cache, INPUTS, "cpu", dtype).dtype_name
    assert names["auto"] in ("torch.bfloat16", "torch.float32")
    assert (names["float32"], names["bfloat16"]) == ("torch.float32", "torch.bfloat16 throughout")


def test_weights_are_known_by_their_content(cache: FeatureCache) -> None:
    digests = tiny_job(cache).digests
    assert digests == tiny_job(cache).digests
    others = tiny_job(cache, config=replace(TINY, seed=1)).digests
    assert all(digests[stream] != others[stream] for stream in TINY.streams)
    assert tiny_job(cache, *INPUTS).digests == {}
