"""`make demo`: makes a short video with sound, embeds it with `embed-video`, and shows what the embedding sees.

The picture that it writes has a thumbnail a clip and, for each stream, how alike the clips are: a block of
light squares along the diagonal is a scene that the stream tells from the others.
"""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray

FPS, HEIGHT, WIDTH, SCENE_SECONDS, SAMPLE_RATE_HZ = 25, 240, 320, 4, 16_000
CELL_PIXELS, MARGIN_PIXELS = 40, 24
Picture = NDArray[np.uint8]


def scenes() -> list[tuple[str, list[Picture], NDArray[np.float64]]]:
    """Three scenes that differ in look, motion and sound: (name, frames, waveform)."""
    generator = np.random.default_rng(0)
    count, times = SCENE_SECONDS * FPS, np.arange(SCENE_SECONDS * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    noise = generator.integers(0, 256, (12, 40, 3), np.uint8)
    meadow = cv2.resize(noise, (WIDTH * 3, HEIGHT), interpolation=cv2.INTER_CUBIC)
    meadow = (meadow * (0.3, 0.9, 0.4)).astype(np.uint8)
    pan = [np.ascontiguousarray(meadow[:, 4 * i : 4 * i + WIDTH]) for i in range(count)]
    discs, storm = [], []
    for i in range(count):
        disc = np.full((HEIGHT, WIDTH, 3), (40, 40, 120), np.uint8)
        angle = 2 * np.pi * i / 25
        centre = (int(WIDTH / 2 + 80 * np.cos(angle)), int(HEIGHT / 2 + 60 * np.sin(angle)))
        discs.append(cv2.circle(disc, centre, 30, (250, 220, 60), -1))
        grain = generator.integers(0, 256, (HEIGHT // 6, WIDTH // 6, 1), np.uint8)
        storm.append(cv2.cvtColor(cv2.resize(grain, (WIDTH, HEIGHT)), cv2.COLOR_GRAY2RGB))
    chirp = 0.3 * np.sin(2 * np.pi * (1500 + 500 * np.sin(2 * np.pi * 3 * times)) * times)
    hum = 0.3 * sum(np.sin(2 * np.pi * 110 * k * times) / k for k in range(1, 6))
    hiss = 0.2 * generator.standard_normal(len(times))
    return [("meadow", pan, chirp), ("disc", discs, np.asarray(hum)), ("storm", storm, hiss)]


def make_sample(path: Path) -> None:
    """Write the scenes, the first one twice, as an mp4 with sound."""
    order = [0, 1, 2, 0]
    made = scenes()
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.height, video.width, video.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        for picture in (picture for scene in order for picture in made[scene][1]):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        waveform = np.concatenate([made[scene][2] for scene in order]).astype(np.float32)
        for first in range(0, len(waveform), 1024):
            frame = av.AudioFrame.from_ndarray(waveform[None, first : first + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, first, Fraction(1, SAMPLE_RATE_HZ)
            container.mux(audio.encode(frame))
        container.mux(audio.encode())


def thumbnails(path: Path, seconds: list[float]) -> list[Picture]:
    """The frames at these times, small."""
    capture = cv2.VideoCapture(str(path))
    pictures = []
    for second in seconds:
        capture.set(cv2.CAP_PROP_POS_MSEC, second * 1000)
        found, picture = capture.read()
        blank = np.zeros((CELL_PIXELS, CELL_PIXELS, 3), np.uint8)
        pictures.append(
            cv2.resize(picture, (CELL_PIXELS, CELL_PIXELS), interpolation=cv2.INTER_AREA) if found else blank
        )
    return pictures


def likeness(vectors: NDArray[np.float32], has: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Cosines (N, N) between the clips that have a stream, of what sets each apart from their mean; 0 for others."""
    centred = np.where(has[:, None], vectors - vectors[has].mean(axis=0), 0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    cosines: NDArray[np.float64] = unit @ unit.T
    return cosines


def draw(strip: list[Picture], tables: dict[str, NDArray[np.float64]]) -> Picture:
    """Thumbnails above a map of likeness for each stream, (H, W, 3) BGR."""
    side = CELL_PIXELS * len(strip)
    panels = []
    for name, cosines in tables.items():
        shades = ((cosines + 1) * 127.5).clip(0, 255).astype(np.uint8)
        squares = cv2.resize(shades, (side, side), interpolation=cv2.INTER_NEAREST)
        title = np.full((MARGIN_PIXELS, side, 3), 255, np.uint8)
        cv2.putText(title, name, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        row = np.concatenate(strip, axis=1)
        panels.append(np.concatenate([title, row, cv2.applyColorMap(squares, cv2.COLORMAP_VIRIDIS)]))
        panels.append(np.full((len(panels[-1]), MARGIN_PIXELS, 3), 255, np.uint8))
    return np.concatenate(panels[:-1], axis=1)


def main() -> None:
    """Make, embed, show."""
    folder = Path("demo")
    folder.mkdir(exist_ok=True)
    video = Path(sys.argv[1]) if len(sys.argv) > 1 else folder / "sample.mp4"
    if len(sys.argv) == 1:
        make_sample(video)
    table = folder / "embeddings"
    command = ["embed-video", str(video), "-o", str(table), "--overwrite", "--window", "1", "--jobs", "1"]
    command[0] = str(Path(sys.executable).with_name(command[0]))
    if code := subprocess.run(command, check=False).returncode:
        sys.exit(code)
    rows = [row for row in ds.dataset(table).to_table().to_pylist() if row["level"] == "clip"]
    rows.sort(key=lambda row: row["start_seconds"])
    rows = rows[:: -(-len(rows) // 24)]  # what fits into a picture
    vectors = np.array([row["embedding"] for row in rows], np.float32)
    print(f"{video}: {len(rows)} clips, {vectors.shape[1]} numbers each, in {table}/")
    present = {name: np.array([row[f"has_{name}"] for row in rows]) for name in ("spatial", "temporal", "audio")}
    parts = np.split(vectors, len(present), axis=1)
    streams = zip(present.items(), parts, strict=True)
    tables = {name: likeness(part, has) for (name, has), part in streams if has.any()}
    for row, *cosines in zip(rows, *(table[0] for table in tables.values()), strict=True):
        alike = "  ".join(f"{name} {cosine:+.2f}" for name, cosine in zip(tables, cosines, strict=True))
        print(f"  {row['start_seconds']:6.2f}-{row['end_seconds']:6.2f} s   like the first clip: {alike}")
    picture = folder / "likeness.png"
    middles = [(row["start_seconds"] + row["end_seconds"]) / 2 for row in rows]
    cv2.imwrite(str(picture), draw(thumbnails(video, middles), tables))
    print(f"{picture} shows how alike the clips are in each stream")


if __name__ == "__main__":
    main()
