"""A camera that pushes a file over RTSP to whoever listens, with all that can go wrong with one."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from threading import Event, Thread

import imageio_ffmpeg

CANARY = "sw0rdf1sh"
FAULTS = ("refuse", "silence", "garbage", "stall", "drop", "resize", "mute")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether a socket listens there; not by connecting, which would take the one place."""
    wanted = f":{port:04X} "
    return any(wanted in line and " 0A " in line for line in Path("/proc/net/tcp").read_text().splitlines())


class PushingCamera:
    """Pushes `clip` again and again, each time that somebody listens at `url`, unless told otherwise by `fault`.

    `resize` and `mute` push another clip. The faults of a running camera (stall, drop) come at once.
    """

    def __init__(self, clip: Path, others: dict[str, Path] | None = None) -> None:
        self.port = free_port()
        self.url = f"rtsp://admin:{CANARY}@127.0.0.1:{self.port}/cam"
        self._clips = {"": clip} | (others or {})
        self._fault = ""
        self._peer: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> "PushingCamera":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._hang_up()

    def fault(self, kind: str) -> None:
        """From now on, that; "" is none."""
        if kind == "stall" and self._peer is not None:
            os.kill(self._peer.pid, signal.SIGSTOP)
            self._fault = "refuse"
            return
        self._fault = "" if kind == "drop" else kind
        self._hang_up()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            if not listens(self.port):
                continue
            fault, host = self._fault, ("127.0.0.1", self.port)
            self._hang_up()
            if fault in ("silence", "garbage"):
                self._line = socket.create_connection(host)
                if fault == "garbage":
                    self._line.sendall(os.urandom(5000))
            elif fault != "refuse":
                clip = self._clips.get(fault, self._clips[""])
                command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "quiet", "-re", "-stream_loop", "-1"]
                command += ["-i", str(clip), "-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp"]
                self._peer = subprocess.Popen([*command, f"rtsp://127.0.0.1:{self.port}/cam"])
            while listens(self.port) and not self._stop.is_set():
                time.sleep(0.02)

    def _hang_up(self) -> None:
        if self._peer is not None:
            self._peer.kill()
            self._peer.wait()
            self._peer = None
        if self._line is not None:
            self._line.close()
            self._line = None
