"""Clips for benchmarks: one of the real ones beside the checkout, or one that is made."""

import csv
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

SHARED = Path(__file__).resolve().parents[2] / "shared"
LOOP_SECONDS = 10


def real_clip(frames: int = 175, *, sound: bool = False) -> Path | None:
    """A UCF101 clip of about so many frames, with sound where asked for; None where there is no data."""
    folder = SHARED / "data" / "ucf101-6c"
    if not (folder / "labels.csv").is_file():
        return None
    with (folder / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if not sound or row["audio"] != "none"]
    return folder / min(rows, key=lambda row: abs(int(row["frames"]) - frames))["path"]


def make_clip(path: Path, seconds: float, height: int = 720, width: int = 1280, fps: int = 25) -> Path:
    """Write a clip of moving texture with a tone: ten seconds are encoded and then repeated packet by packet."""
    loop = path.with_name(f"loop-{height}.mkv")
    _write_loop(loop, min(seconds, LOOP_SECONDS), height, width, fps)
    with av.open(str(loop)) as source, av.open(str(path), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        length_seconds = min(seconds, LOOP_SECONDS)
        for turn in range(max(1, round(seconds / length_seconds))):
            source.seek(0)
            for packet in source.demux():
                if packet.dts is None:
                    continue
                shift = round(turn * length_seconds / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    loop.unlink()
    return path


def _write_loop(path: Path, seconds: float, height: int, width: int, fps: int) -> None:
    generator = np.random.default_rng(0)
    texture = cv2.resize(generator.integers(0, 256, (height // 20, width // 10, 3), np.uint8), (2 * width, height))
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "bf": "0"})
        video.height, video.width, video.pix_fmt = height, width, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for index in range(round(seconds * fps)):
            left = round(abs(np.sin(index / 40)) * (width - 1))
            picture = np.ascontiguousarray(texture[:, left : left + width])
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        tone = (np.sin(np.arange(round(seconds * 16_000)) * 0.17) * 8000).astype(np.int16)
        for first in range(0, len(tone), 1600):
            frame = av.AudioFrame.from_ndarray(tone[None, first : first + 1600], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, first, Fraction(1, 16_000)
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
