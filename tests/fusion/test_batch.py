"""Workers that crash, loop, hoard or raise cost the one file they had, and the caller nothing."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

from tristream.fusion import worker
from tristream.fusion.batch import Workers, embed_files, memory_share_bytes
from tristream.fusion.embedding import VideoEmbedding
from tristream.fusion.source import Weights
from tristream.streams.errors import ModelError, UsageError

sys.path.append(str(Path(__file__).parent))  # the workers are given this path, and import `faults` from it
from faults import FaultyJob


@pytest.fixture
def workers() -> Iterator[Workers[str]]:
    with Workers[str](FaultyJob(), jobs=1, timeout_seconds=30) as workers:
        yield workers


def _one(workers: Workers[str], path: str) -> VideoEmbedding:
    """The result of one file."""
    workers.start(path, path)
    return _next(workers)


def _next(workers: Workers[str]) -> VideoEmbedding:
    while not (results := workers.collect()):
        pass
    (key, result), *others = results
    assert (key, others) == (result.path, [])
    return result


def _wait_until(true: Callable[[], bool], seconds: float) -> float:
    """How long it took until something came true, or an error."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("fault", "said", "timeout_seconds"),
    [
        ("segfault", "the worker process was ended by SIGSEGV", 30),
        ("loop", "not done after 0.2 s; --timeout gives it more", 0.2),
        ("hog", "needs more memory than the ", 30),
    ],
)
def test_a_fault_costs_its_one_file_ten_times_over(fault: str, said: str, timeout_seconds: float) -> None:
    with Workers[str](FaultyJob(), jobs=1, timeout_seconds=timeout_seconds) as workers:
        for round_ in range(10):
            failed = _one(workers, fault)
            assert failed.error is not None
            assert said in failed.error
            assert (failed.path, failed.model_id) == (fault, workers.job.source.model_id)
            good = _one(workers, f"good-{round_}.avi")
            assert good.error is None


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("exit:0", "the worker process ended with exit code 0"),
        ("exit:7", "the worker process ended with exit code 7"),
        ("kill", "the worker process was ended by SIGKILL (out of memory?)"),
        ("system-exit", "SystemExit: 3"),
        ("strange", "StrangeError: "),
    ],
)
def test_other_ends_are_told_and_survived(workers: Workers[str], fault: str, said: str) -> None:
    assert said in str(_one(workers, fault).error)
    assert _one(workers, "good.avi").error is None


def test_a_worker_killed_while_idle_costs_nothing(workers: Workers[str]) -> None:
    pid = int(_one(workers, "first.avi").vector[0])
    os.kill(pid, signal.SIGKILL)
    _wait_until(lambda: not psutil.pid_exists(pid), 10)
    second = _one(workers, "second.avi")
    assert second.error is None
    assert second.vector[0] != pid


def test_what_would_befall_every_file_is_raised(workers: Workers[str]) -> None:
    with pytest.raises(ModelError, match="no RAFT weights"):
        _one(workers, "model-error")


@pytest.mark.parametrize(
    ("load_fault", "said"),
    [
        ("error", "weights are missing"),
        ("strange", "could not be loaded: StrangeError"),
        ("kill", "could not be loaded: its process was ended by SIGKILL"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_an_error(load_fault: str, said: str) -> None:
    with (
        pytest.raises(ModelError, match=said),
        Workers[str](FaultyJob(load_fault=load_fault), jobs=1, timeout_seconds=None) as workers,
    ):
        _one(workers, "good.avi")
    assert not multiprocessing.active_children()


def test_the_timeout_counts_the_file_and_not_the_loading() -> None:
    with Workers[str](FaultyJob(load_seconds=1.0), jobs=1, timeout_seconds=0.5) as workers:
        assert _one(workers, "good.avi").error is None
        assert "not done after 0.5 s" in str(_one(workers, "sleep:30").error)
        assert _one(workers, "good.avi").error is None  # in a new worker, that loads again


def test_a_fault_leaves_the_neighbours_alone() -> None:
    with Workers[str](FaultyJob(), jobs=2, timeout_seconds=30) as workers:
        workers.start("sleep:2", "sleep:2")
        began = time.monotonic()
        for _ in range(2):
            assert "SIGSEGV" in str(_one(workers, "segfault").error)
        assert time.monotonic() - began < 30
        assert not workers.free or len(workers) == 1
        assert _next(workers).error is None


def test_results_come_in_the_order_of_the_files_and_memory_stays_bounded() -> None:
    paths = ["sleep:1.5", *(f"{i}.avi" for i in range(20)), "segfault", "last.avi"]
    taken = []

    def taking() -> Iterator[str]:
        for path in paths:
            taken.append(path)
            yield path

    results = embed_files(FaultyJob(), taking(), jobs=2, timeout_seconds=30)
    first = next(results)
    assert first.path == "sleep:1.5"
    assert len(taken) <= 2 * 4 + 1  # not all of them while the first was slow
    rest = list(results)
    assert [result.path for result in rest] == paths[1:]
    assert [result.path for result in rest if result.error] == ["segfault"]


def test_an_abandoned_run_ends_its_workers() -> None:
    results = embed_files(FaultyJob(), ["a.avi", "loop", "loop"], jobs=2, timeout_seconds=None)
    assert next(results).error is None
    began = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 5
    assert not multiprocessing.active_children()


def test_a_killed_parent_leaves_no_worker_behind(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "from faults import FaultyJob\n"
        "from tristream.fusion.batch import embed_files\n"
        "if __name__ == '__main__':\n"
        f"    list(embed_files(FaultyJob(), ['pid-loop:{tmp_path}/1', 'pid-loop:{tmp_path}/2'],"
        " jobs=2, timeout_seconds=None))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment)
    try:
        notes = [tmp_path / "1", tmp_path / "2"]
        _wait_until(lambda: all(note.exists() and note.read_text() for note in notes), 60)
        pids = [int(note.read_text()) for note in notes]
        assert all(psutil.pid_exists(pid) for pid in pids)
    finally:
        parent.kill()
        parent.wait()
    assert _wait_until(lambda: not any(map(psutil.pid_exists, pids)), 10) < 3


def test_arguments_that_cannot_be_are_refused() -> None:
    for jobs, timeout_seconds in [(0, None), (1, 0.0), (1, -1.0), (1, float("nan"))]:
        with pytest.raises(UsageError, match="must be"):
            Workers[str](FaultyJob(), jobs=jobs, timeout_seconds=timeout_seconds)


def test_each_worker_may_take_its_share_of_the_memory_but_never_too_little() -> None:
    total_bytes = psutil.virtual_memory().total
    one, many = memory_share_bytes(1), memory_share_bytes(1000)
    assert one is not None
    assert 0 < one <= max(0.9 * total_bytes, 2 << 30)
    assert many == 2 << 30


def test_any_library_s_want_of_memory_is_told_in_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_job", FaultyJob(memory_bytes=3 << 29), raising=False)
    for error in (
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried …"),
        ValueError("OpenCV(5.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 800 bytes"),
    ):
        monkeypatch.setattr(worker, "_embed_file", Mock(side_effect=error), raising=False)
        assert worker.embed("x.avi").error == (
            "needs more memory than the 1.5 GiB of this worker; fewer --jobs give each worker more"
        )


@pytest.mark.parametrize("dims", [(("spatial", 2),), ()])
def test_one_worker_fetches_what_a_hub_gives_and_then_all_work(dims: tuple[tuple[str, int], ...]) -> None:
    source = replace(FaultyJob().source, weights={"spatial.cnn": Weights(hub="resnet18")})
    with Workers[str](FaultyJob(source, dims=dims), jobs=2, timeout_seconds=30) as workers:
        workers.start("first.avi", "first.avi")
        assert not workers.free
        _next(workers)
        workers.start("second.avi", "second.avi")
        assert workers.free
