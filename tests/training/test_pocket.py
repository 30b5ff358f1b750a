"""The training of the model that ships, on next to nothing: all stages, a stop, and what comes out."""

import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import tristream
from tristream.streams import temporal
from tristream.streams.errors import ModelError
from tristream.streams.log_mel import LOG_OFFSETS
from tristream.streams.media import AudioBlock
from tristream.streams.sound import SoundSteps
from tristream.streams.yamnet import YAMNet
from tristream.training import pocket as script
from tristream.training import pocket_cnns, pocket_motions
from tristream.training.pocket import Workshop
from tristream.training.pocket_cnns import ThinCNNs
from tristream.training.pocket_sources import Sources
from tristream.training.pocket_steps import CUTS, PIECE_SPEED, PIECES, PIECES_OF_STEP, _Changes, versions_of

MakeVideo = Callable[..., Path]
LITTLE = {"epochs": 2, "batches": 1, "parts": 6}


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
    for name, part_size in (("PICTURES", 12), ("SOUNDS", 24), ("MOTIONS", 12)):
        course = replace(getattr(pocket_cnns, name), part_size=part_size, **LITTLE)
        monkeypatch.setattr(pocket_cnns, name, course)
    monkeypatch.setattr(pocket_cnns, "CALIBRATION", 60)
    monkeypatch.setattr(script, "ENCODER_EPOCHS", 2)
    monkeypatch.setattr(script, "ENCODER_BATCHES", 2)
    work = tmp_path / "work"
    with monkeypatch.context() as stopped:
        teach = ThinCNNs._teach
        stopped.setattr(
            ThinCNNs, "_teach", lambda self, name, *how: teach(self, name, *how) if name == "spatial" else 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            Workshop(sources, work).write(tmp_path / "model")
    assert {path.parent.name for path in work.rglob("*.npy")} == {"work", "pictures", "motions"}
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.npy")}
    kept = load_file(work / "spatial-cnn.safetensors")
    Workshop(sources, work).write(tmp_path / "model")
    assert (work / "temporal-checkpoint.safetensors").is_file()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    written = load_file(tmp_path / "model" / "spatial.safetensors")
    torch.testing.assert_close(written["cnn.layer3.pointwise.weight"], kept["layer3.pointwise.weight"].half())
    assert written["recurrent.centre"].shape == (256,)
    steps = load_file(work / "steps" / "clip-1.safetensors")
    assert {"spatial.encoding", "temporal.encoding", "audio.encoding"} <= steps.keys()
    assert len(steps[PIECES]) == PIECES_OF_STEP * len(steps["temporal.plain"])
    versions = versions_of({name: tensor.numpy() for name, tensor in steps.items()}, "temporal")
    assert len(versions) == CUTS + 2
    np.testing.assert_array_equal(versions[0], steps["temporal.plain"])
    model = tristream.load_model(tmp_path / "model")
    assert model.source.untrained == ()
    weights = model.config.stream_weights
    assert max(weights.values()) == 1
    result = model.embed(sources.clips[1])
    assert result.present == {"spatial": True, "temporal": True, "audio": True}
    lengths = [np.linalg.norm(result.stream(stream)) for stream in weights]
    assert lengths == pytest.approx([16 * weight**0.5 for weight in weights.values()])


def test_a_folder_of_other_settings_or_nothing_to_learn_from_is_refused(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Workshop(sources, tmp_path / "work")
    Workshop(sources, tmp_path / "work")
    with monkeypatch.context() as other:
        other.setattr(script, "ENCODER_EPOCHS", 1)
        with pytest.raises(ModelError, match=r"begun with other pocket\.ENCODER_EPOCHS: use another folder"):
            Workshop(sources, tmp_path / "work")
    for module, name, value in (
        (pocket_cnns, "MOTIONS", replace(pocket_cnns.MOTIONS, rate=1e-3)),
        (pocket_motions, "MIXED_SHARE", 0.1),
        (temporal, "STILL", 0.2),
    ):
        with monkeypatch.context() as other:
            other.setattr(module, name, value)
            with pytest.raises(ModelError, match=rf"begun with other \w+\.{name}: use another folder"):
                Workshop(sources, tmp_path / "work")
    with pytest.raises(ModelError, match="is no folder"):
        Workshop(sources, sources.mobilenet)
    with pytest.raises(ModelError, match="two files are called clip-0"):
        Workshop(replace(sources, sounds=(*sources.sounds, tmp_path / "clip-0.wav")), tmp_path / "other")
    (tmp_path / "work" / "facts.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"facts\.json is damaged"):
        Workshop(sources, tmp_path / "work")
    with pytest.raises(ModelError, match="no sounds to learn from"):
        Workshop(replace(sources, sounds=()), tmp_path / "other")
    with pytest.raises(ModelError, match=r"no .*nothing\.safetensors"):
        Workshop(replace(sources, yamnet=tmp_path / "nothing.safetensors"), tmp_path / "other")


@pytest.mark.reference
def test_nothing_that_is_measured_on_is_learned_from(shared: Path) -> None:
    sources = Sources.below(shared / "data", shared / "weights")
    test = {path.resolve() for path in (shared / "data/ucf101-6c/test").rglob("*.avi")}
    assert len(sources.clips) == 108
    assert not test & {path.resolve() for path in sources.clips}
    assert len(sources.sounds) == 160
    assert {path.name[:2] for path in sources.sounds} == {"1-", "2-"}


def test_changed_copies_are_what_they_are_said_to_be() -> None:
    generator = np.random.default_rng(0)
    changes = _Changes(generator)
    frames = generator.integers(0, 256, (2, 40, 60, 3), np.uint8)
    plain, *cut, mirrored = (inputs for _, inputs in changes.versions("spatial", frames))
    np.testing.assert_array_equal(plain, frames)
    assert len(cut) == CUTS
    assert all(each.shape == frames.shape for each in cut)
    np.testing.assert_allclose(mirrored[:, :, ::-1], np.clip(frames * changes._light, 0, 255).astype(np.uint8))
    flow = np.full((2, 20, 40, 60), 3.0, np.float16)  # all that moves is nearer, and so faster
    of_flow = dict(changes.versions("temporal", flow))
    for number in range(CUTS):
        np.testing.assert_allclose(of_flow[f"cut{number}"], 3 / 0.9, rtol=1e-3)
    pieces = of_flow["pieces"]
    assert pieces.shape == (4, 20, 40, 60)
    slowest, fastest = (3 * speed for speed in PIECE_SPEED)
    assert np.all((pieces >= 0.99 * slowest) & (pieces <= 1.01 * fastest))
    assert len(np.unique(pieces)) == 4
    waveform = generator.standard_normal(16_000).astype(np.float32) * np.linspace(0, 0.1, 16_000, dtype=np.float32)
    quiet = next(iter(SoundSteps(LOG_OFFSETS["small"]).add(AudioBlock(0.0, waveform)))).take(slice(None))
    louder = AudioBlock(0.0, waveform * np.float32(changes._gain))
    expected = next(iter(SoundSteps(LOG_OFFSETS["small"]).add(louder))).take(slice(None))
    np.testing.assert_allclose(dict(changes.versions("audio", quiet))["louder"], expected, atol=1e-2)
