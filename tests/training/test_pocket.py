"""The training of the model that ships, on next to nothing: all stages, a stop, and what comes out."""

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import tristream
from tristream.streams.yamnet import YAMNet
from tristream.training import pocket as script
from tristream.training.pocket import Sources, Workshop

MakeVideo = Callable[..., Path]
LITTLE = {
    "PICTURE_PARTS": 6, "PICTURE_PART": 12, "SOUND_PARTS": 6, "SOUND_PART": 24, "CALIBRATION": 60,
    "PICTURE_EPOCHS": 2, "SOUND_EPOCHS": 2, "ENCODER_EPOCHS": 2,
    "PICTURE_BATCHES": 1, "SOUND_BATCHES": 1, "ENCODER_BATCHES": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def sources(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Four clips, three with sound, four sounds, and networks with random weights."""
    folder = tmp_path_factory.mktemp("sources")
    torch.manual_seed(0)
    mobilenet = timm.create_model("mobilenetv1_100", pretrained=False, num_classes=0, pad_type="same")
    save_file(mobilenet.state_dict(), folder / "mobilenet.safetensors")
    save_file(YAMNet().state_dict(), folder / "yamnet.safetensors")
    clips = [
        make_video(folder / f"clip-{seed}.mkv", seconds=2, fps=25, sound_hz=16_000 if seed else None, seed=seed)
        for seed in range(4)
    ]
    sounds = [folder / f"sound-{number}.wav" for number in range(4)]
    for number, path in enumerate(sounds):
        waveform = np.sin(np.arange(32_000) * (0.1 + 0.2 * number)) * 20_000
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(waveform.astype("<i2").tobytes())
    return Sources(tuple(clips), tuple(sounds), folder / "mobilenet.safetensors", folder / "yamnet.safetensors")


def test_it_goes_on_where_it_was_stopped_and_gives_a_model(
    sources: Sources, tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LITTLE.items():
        monkeypatch.setattr(script, name, value)
    work = tmp_path / "work"
    with monkeypatch.context() as stopped:
        stopped.setattr(Workshop, "_make_temporal_cnn", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Workshop(sources, work).write(tmp_path / "model")
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.npy")}
    kept = load_file(work / "spatial-cnn.safetensors")
    Workshop(sources, work).write(tmp_path / "model")
    assert before
    assert {path: path.stat().st_mtime_ns for path in before} == before
    written = load_file(tmp_path / "model" / "spatial.safetensors")
    torch.testing.assert_close(written["cnn.layer3.pointwise.weight"], kept["layer3.pointwise.weight"].half())
    assert written["recurrent.centre"].shape == (256,)
    model = tristream.load_model(tmp_path / "model")
    assert model.source.untrained == ()
    result = model.embed(sources.clips[1])
    assert result.present == {"spatial": True, "temporal": True, "audio": True}
