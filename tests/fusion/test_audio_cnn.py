"""A model with another audio CNN: its log-mel, its weights, and what it makes of a file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import tristream
from tristream.fusion.assemble import build_parts
from tristream.fusion.config import TKACHENKO2018
from tristream.fusion.overrides import Overrides
from tristream.fusion.plan import step_plan
from tristream.fusion.source import find_model
from tristream.fusion.windows import Windows
from tristream.streams.audio import SmallAudioCNN
from tristream.streams.config import AudioCNNName
from tristream.streams.errors import ModelError, UsageError
from tristream.streams.log_mel import log_mel_examples
from tristream.streams.media import AudioBlock, MediaReader
from tristream.streams.yamnet import YAMNet

MakeVideo = Callable[..., Path]


@pytest.fixture(scope="module")
def yamnet() -> YAMNet:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return YAMNet().eval()


@pytest.fixture(scope="module")
def yamnet_file(yamnet: YAMNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "yamnet.safetensors"
    save_file({**yamnet.state_dict(), "dense.bias": torch.zeros(521)}, path)
    return path


def hearing(cnn: str, **more: Any) -> Overrides:
    """Overrides for a model that is an audio CNN and a mean."""
    return Overrides(streams=("audio",), audio_cnn=cnn, recurrent="mean", **more)  # type: ignore[arg-type]


def test_the_choice_changes_the_audio_cnn_alone() -> None:
    config, own = (
        find_model("pocket", Overrides(audio_cnn="yamnet"), untrained=True).config,
        find_model("pocket").config,
    )
    assert config.audio is not None and own.audio is not None
    assert config == replace(own, audio=replace(own.audio, cnn="yamnet")).with_new_encoder("audio")
    ids = {find_model("tkachenko2018", hearing(cnn), untrained=True).model_id for cnn in ("vggish", "yamnet", "small")}
    assert len(ids) == 3


def test_a_choice_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="must be one of vggish, yamnet, small, got 'wav2vec'"):
        find_model("pocket", Overrides(audio_cnn="wav2vec"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="an audio CNN was given, but the model has no audio stream"):
        find_model("pocket", Overrides(streams=("spatial",), audio_cnn="yamnet"))


@pytest.mark.parametrize("cnn", ["vggish", "yamnet", "small"])
def test_without_weights_it_is_untrained_and_never_in_silence(cnn: AudioCNNName) -> None:
    with pytest.raises(ModelError, match=r"no trained weights for audio\.cnn.*--audio-weights FILE.*--audio-cnn"):
        find_model("tkachenko2018", hearing(cnn))
    assert find_model("tkachenko2018", hearing(cnn), untrained=True).untrained == ("audio.cnn",)


def test_with_a_file_it_needs_no_training(yamnet_file: Path) -> None:
    assert find_model("tkachenko2018", hearing("yamnet", audio_weights=yamnet_file)).untrained == ()


def test_weights_of_another_audio_cnn_name_both(yamnet_file: Path) -> None:
    source = find_model("tkachenko2018", hearing("small", audio_weights=yamnet_file))
    with pytest.raises(
        ModelError, match=r"yamnet\.safetensors holds the weights of yamnet, but the audio CNN is small"
    ):
        build_parts(source)


@pytest.mark.parametrize(("cnn", "log_offset"), [("vggish", 0.01), ("yamnet", 0.001), ("small", 0.01)])
def test_the_log_mel_is_that_of_the_cnn(cnn: AudioCNNName, log_offset: float) -> None:
    assert step_plan(TKACHENKO2018.with_audio_cnn(cnn), None, Windows()).log_offset == log_offset


def test_a_model_hears_with_yamnet(yamnet: YAMNet, yamnet_file: Path, make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(tmp_path / "tone.wav", seconds=3, sound_hz=16_000, video=False)
    with MediaReader(path, video=False) as reader:
        samples = np.concatenate([block.samples for block in reader if isinstance(block, AudioBlock)])
    model = tristream.load_model(
        "tkachenko2018",
        device="cpu",
        dtype="float32",
        streams=("audio",),
        audio_cnn="yamnet",
        audio_weights=yamnet_file,
        recurrent="mean",
    )
    result = model.embed(path)
    assert model.dims == {"audio": 1024}
    assert result.warnings == ()
    with torch.inference_mode():
        features = yamnet(torch.from_numpy(log_mel_examples(samples, 0.001))).numpy()  # (3, 1024)
        of_vggish = yamnet(torch.from_numpy(log_mel_examples(samples, 0.01))).numpy()
    np.testing.assert_allclose(result.vector, features.mean(axis=0), rtol=0, atol=1e-5 * features.max())
    assert np.abs(result.vector - of_vggish.mean(axis=0)).max() > 1e-3 * features.max()
    model.save(tmp_path / "model")
    again = tristream.load_model(tmp_path / "model", device="cpu", dtype="float32").embed(path)
    np.testing.assert_array_equal(again.vector, result.vector)


def test_the_small_one_has_its_place(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = SmallAudioCNN().eval()
    save_file(small.state_dict(), tmp_path / "small.safetensors")
    source = find_model("tkachenko2018", hearing("small", audio_weights=tmp_path / "small.safetensors"))
    loaded, _ = build_parts(source)["audio"]
    assert isinstance(loaded, SmallAudioCNN)
    assert torch.equal(loaded.layers.layer14.pointwise.weight, small.layers.layer14.pointwise.weight)
