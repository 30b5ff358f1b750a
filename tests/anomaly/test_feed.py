"""The process behind a camera: whatever becomes of it, the camera comes back, and nothing is left behind."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import active_count

import psutil
import pytest

from tristream.anomaly import feed as module
from tristream.anomaly.feed import Feed, Inbox, Lost, Message, pause_of
from tristream.streams.live_source import Address
from tristream.streams.live_steps import Piece, Watched
from tristream.streams.steps import StepPlan

sys.path.append(str(Path(__file__).parent))
from fake_camera import free_port

PLAN = StepPlan(None, None, None, False, None, 1.0)  # type: ignore[arg-type]
WATCHED = Watched(
    Address("rtsp://u:secret@host/x", open_seconds=0.5, stall_seconds=0.5), PLAN, type(None)
)  # an engine that is none
BEGIN = """
import os, signal, sys, time
from multiprocessing.connection import Connection
from tristream.streams.live_steps import Closed, Opened, Piece
from tristream.streams.media_info import MediaInfo
line = Connection(int(sys.argv[1]))
watched = line.recv()
line.send(Opened(MediaInfo("x", "rtsp", None, None, None)))
piece = lambda n: line.send(Piece(None, float(n), 0.0, 1, n, 0, (), ()))
"""


@pytest.fixture
def feeds() -> Iterator[list[Feed]]:
    made: list[Feed] = []
    yield made
    for feed in made:
        feed.stop()
        feed.join()


def begin(feeds: list[Feed], program: str, retry: float = 0.2) -> tuple[Feed, Inbox]:
    inbox = Inbox()
    feed = Feed(7, WATCHED, retry, inbox, (sys.executable, "-c", BEGIN + program))
    feeds.append(feed)
    feed.start()
    return feed, inbox


def messages(inbox: Inbox, count: int, feed: Feed, seconds: float = 20.0) -> list[Message]:
    found: list[Message] = []
    deadline = time.monotonic() + seconds
    while len(found) < count:
        assert time.monotonic() < deadline, found
        feed.check()
        for number, message in inbox.take(0.1):
            assert number == 7
            found.append(message)
    return found


def kinds(found: list[Message]) -> list[str]:
    return [type(each).__name__ for each in found]


def test_a_reader_that_dies_is_begun_anew(feeds: list[Feed]) -> None:
    feed, inbox = begin(feeds, "piece(1); os.kill(os.getpid(), signal.SIGSEGV)")
    found = messages(inbox, 6, feed)
    assert kinds(found)[:6] == ["Opened", "Piece", "Lost"] * 2
    assert found[2].error == "rtsp://***@host/x: its reader died with exit code -11"  # type: ignore[union-attr]


def test_a_reader_that_hangs_is_ended_and_begun_anew(feeds: list[Feed], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANG_SECONDS", 0.5)
    feed, inbox = begin(feeds, "piece(1); os.kill(os.getpid(), signal.SIGSTOP)")
    found = messages(inbox, 4, feed)
    assert kinds(found)[:4] == ["Opened", "Piece", "Lost", "Opened"]
    assert found[2].error == "rtsp://***@host/x: its reader hung and was ended"  # type: ignore[union-attr]


def test_one_that_stops_in_the_middle_of_a_message_holds_nothing_up(
    feeds: list[Feed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HANG_SECONDS", 0.5)
    feed, inbox = begin(feeds, "os.write(int(sys.argv[1]), b'\\0\\0\\1\\0' + b'x' * 20); time.sleep(100)")
    assert kinds(messages(inbox, 2, feed))[:2] == ["Opened", "Lost"]
    began = time.monotonic()
    feed.stop()
    feed.join()
    assert time.monotonic() - began < 6


def test_one_that_cannot_be_started_is_tried_again(feeds: list[Feed], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(module.subprocess, "Popen", no_more)
    feed, inbox = begin(feeds, "")
    lost = messages(inbox, 2, feed)[0]
    assert isinstance(lost, Lost)
    assert lost.error == "rtsp://***@host/x: its reader cannot be started: Too many open files"


def test_one_that_is_at_its_end_is_not_begun_anew(feeds: list[Feed]) -> None:
    feed, inbox = begin(feeds, "line.send(Closed(None, final=True))")
    assert messages(inbox, 2, feed)[1] == Lost(None, None)
    feed.join()
    feed, inbox = begin(feeds, "line.send(Closed('gone', final=False))", retry=0)
    assert messages(inbox, 2, feed)[1] == Lost("gone", None)


def test_who_sends_more_than_is_taken_has_to_wait(feeds: list[Feed]) -> None:
    feed, inbox = begin(feeds, "[piece(n) for n in range(10_000)]; time.sleep(100)")
    time.sleep(2.0)
    assert len(inbox.take(0.0)) <= 2 * module.SLOTS
    found = messages(inbox, 50, feed)
    assert all(isinstance(each, Piece) for each in found)
    newest = [each.newest_seconds for each in found if isinstance(each, Piece)]
    assert newest == sorted(newest)


def test_nothing_is_left_behind_by_many_connections(feeds: list[Feed], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.0)
    here = psutil.Process()
    descriptors, threads = here.num_fds(), active_count()
    feed, inbox = begin(feeds, "line.send(Closed('gone', final=False)); time.sleep(100)")
    messages(inbox, 16, feed, 60)
    feed.stop()
    feed.join()
    assert here.num_fds() == descriptors
    assert active_count() == threads
    assert not [child for child in here.children() if "Connection" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_readers_end_with_who_began_them() -> None:
    program = """
import sys, time
from functools import partial
from tristream.anomaly.feed import Feed, Inbox
from tristream.streams.live_source import Address
from tristream.streams.live_steps import Watched
from tristream.streams.steps import StepPlan
plan = StepPlan(None, None, None, False, None, 1.0)
feed = Feed(0, Watched(Address(f"rtsp://127.0.0.1:{sys.argv[1]}/x", listen=True), plan, type(None)), 1.0, Inbox())
feed.start()
time.sleep(1.5)
print(feed._process.pid, flush=True)
time.sleep(100)
"""
    words = [sys.executable, "-c", program, str(free_port())]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=3)  # though it would wait for a camera for ten seconds
    assert not alive


def test_pauses_double_up_to_the_longest_with_some_chance() -> None:
    for failures, seconds in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (1000, 30)]:
        pauses = [pause_of(failures, 30.0) for _ in range(50)]
        assert 0.75 * seconds <= min(pauses) < max(pauses) <= seconds
