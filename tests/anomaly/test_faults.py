"""A camera with everything that can go wrong with one: it comes back, and its neighbour loses nothing."""

import os
import sys
from collections import defaultdict
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest

from tristream.anomaly.cameras import Camera
from tristream.anomaly.notes import Note, Pulse, Scored, State
from tristream.anomaly.watcher import Watcher
from tristream.tools import fit_anomaly
from tristream.tools.shell import run_command

sys.path.append(str(Path(__file__).parent))
from fake_camera import CANARY, FAULTS, PushingCamera
from fake_footage import FPS, footage

STRIDE_SECONDS = 0.5
STALL_SECONDS, COMES_BACK_SECONDS = 2.0, 20.0
TIMES = int(os.environ.get("TRISTREAM_FAULTS", "1"))  # how often each fault comes


class Diary:
    """All notes of a watcher, by camera."""

    def __init__(self) -> None:
        self.notes: defaultdict[str, list[Note]] = defaultdict(list)

    def __call__(self, note: Note) -> None:
        self.notes[note.camera].append(note)

    def of(self, camera: str, kind: type) -> list[Any]:
        return [note for note in self.notes[camera] if isinstance(note, kind)]

    def losses(self, camera: str) -> int:
        """How often it was lost."""
        return sum(state.state == "lost" for state in self.of(camera, State))

    def wait_for(self, camera: str, kind: type, count: int, seconds: float) -> float:
        """Until a camera has so many notes of a kind; how long that took."""
        began = monotonic()
        while len(self.of(camera, kind)) < count:
            assert monotonic() - began < seconds, [str(note) for note in self.of(camera, State)]
            sleep(0.02)
        return monotonic() - began


@pytest.fixture(scope="module")
def clips(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    frames = footage(20)
    options = {"fps": FPS, "codec": "libx264", "video_options": {"g": "10", "bf": "0"}}
    sound = {"sound_hz": 16_000, "sound_codec": "aac", "seconds": 20}
    return {
        "": make_video(folder / "clip.mp4", frames=frames, **options, **sound),
        "resize": make_video(folder / "resize.mp4", frames=frames[:, 16:80, :96], **options, **sound),
        "mute": make_video(folder / "mute.mp4", frames=frames, **options),
        "neighbour": make_video(folder / "neighbour.mp4", frames=np.tile(frames, (10 * TIMES, 1, 1, 1)), **options),
    }


@pytest.fixture(scope="module")
def detector(clips: dict[str, Path]) -> str:
    folder = clips[""].parent / "detector"
    options = "--streams temporal,audio --temporal-cnn histogram --recurrent mean --untrained --grid 2x2 --jobs 1"
    window = f"--model pocket --window 1 --stride {STRIDE_SECONDS} --hold-out 0 --overwrite"
    assert run_command(fit_anomaly.app, [str(clips[""]), "-o", str(folder), *options.split(), *window.split()]) == 0
    return str(folder)


@pytest.mark.slow
@pytest.mark.usefixtures("signals_kept")
def test_it_comes_back_after_every_fault_and_its_neighbour_loses_no_window(
    clips: dict[str, Path], detector: str
) -> None:
    diary, stop = Diary(), Event()
    with PushingCamera(clips[""], clips) as peer:
        cameras = [
            Camera("faulty", peer.url, detector, listen=True, stall=STALL_SECONDS, retry=1.0),
            Camera("neighbour", str(clips["neighbour"]), detector, realtime=True),
        ]
        watcher = Watcher(cameras, device="cpu")
        thread = Thread(target=watcher.run, args=(diary, stop))
        thread.start()
        try:
            diary.wait_for("neighbour", Scored, 2, 60)
            diary.wait_for("faulty", Scored, 2, 60)
            for fault in FAULTS * TIMES:
                before = diary.losses("faulty")
                peer.fault(fault)
                began = monotonic()
                while diary.losses("faulty") == before:
                    assert monotonic() - began < STALL_SECONDS + 2.0, f"{fault} is not noticed"
                    sleep(0.05)
                if fault not in ("resize", "mute"):
                    sleep(2.0)  # it meets the fault when it is tried again, too
                    peer.fault("")
                scored = len(diary.of("faulty", Scored))
                took = diary.wait_for("faulty", Scored, scored + 3, COMES_BACK_SECONDS)
                print(f"{fault}: scores again after {took:.1f} s")
        finally:
            stop.set()
            thread.join()
    check_neighbour(diary)
    states = [str(note) for note in diary.of("faulty", State)]
    assert not any(CANARY in state for state in states), states
    assert any("no answer" in state for state in states)  # refuse, silence


def check_neighbour(diary: Diary) -> None:
    """Each window once, none left out."""
    starts = [note.score.start_seconds for note in diary.of("neighbour", Scored)]
    ends = [note.score.end_seconds for note in diary.of("neighbour", Scored)]
    np.testing.assert_allclose(np.diff(ends)[:-1], STRIDE_SECONDS, atol=1e-6)
    assert len(starts) > 20
    assert diary.of("neighbour", Pulse)[-1].dropped == 0
    assert [state.state for state in diary.of("neighbour", State)] == ["connecting", "watching"]
