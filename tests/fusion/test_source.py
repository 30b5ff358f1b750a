"""A model by name or folder, with a user's overrides, before anything is loaded."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tristream.fusion.config import POCKET, TKACHENKO2018, ModelConfig
from tristream.fusion.folder import read_manifest
from tristream.fusion.overrides import Overrides
from tristream.fusion.source import SHIPPED, find_model
from tristream.streams.config import STREAM_NAMES
from tristream.streams.errors import ModelError, UsageError


def weights_file(folder: Path, value: float = 0.0) -> Path:
    path = folder / f"weights-{value}.npz"
    np.savez(path, a=np.full(3, value))
    return path


def test_pocket_ships_trained() -> None:
    source = find_model("pocket")
    assert source.config == POCKET.with_stream_weights(source.config.stream_weights)
    assert source.config.streams == STREAM_NAMES
    assert source.warning == ""
    assert read_manifest(SHIPPED / "pocket").trained is True


def test_the_papers_model_is_never_random_in_silence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--untrained"):
        find_model("tkachenko2018")
    source = find_model("tkachenko2018", Overrides(spatial_weights=weights_file(tmp_path)), untrained=True)
    assert source.config == TKACHENKO2018
    assert "temporal.cnn" in source.untrained
    assert "spatial.cnn" not in source.untrained
    assert "temporal.cnn" in source.warning


def test_a_backbone_with_its_weights_and_a_mean_needs_no_training(tmp_path: Path) -> None:
    overrides = Overrides(
        streams=("spatial",), backbone="resnet18", recurrent="mean", spatial_weights=weights_file(tmp_path)
    )
    source = find_model("tkachenko2018", overrides)
    assert source.untrained == ()
    assert source.warning == ""
    assert source.config.streams == ("spatial",)


def test_without_a_file_the_backbone_is_the_hubs() -> None:
    source = find_model("tkachenko2018", Overrides(streams=("spatial",), recurrent="mean"))
    assert source.weights["spatial.cnn"].hub == "inception_resnet_v2.tf_in1k"


def test_the_model_id_names_architecture_and_weights(tmp_path: Path) -> None:
    one, other = weights_file(tmp_path, 1.0), weights_file(tmp_path, 2.0)
    variants = [
        Overrides(),
        Overrides(streams=("spatial", "audio")),
        Overrides(flow="codec"),
        Overrides(sampling="uniform"),
        Overrides(recurrent="mean"),
        Overrides(spatial_weights=one),
        Overrides(spatial_weights=other),
        Overrides(temporal_weights=one),
        Overrides(audio_weights=one),
    ]
    ids = [find_model("pocket", variant, untrained=True).model_id for variant in variants]
    assert len(set(ids)) == len(ids)
    assert ids == [find_model("pocket", variant, untrained=True).model_id for variant in variants]
    assert all(len(name) == 12 and int(name, 16) >= 0 for name in ids)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (Overrides(streams=("spatial", "smell")), "no stream 'smell'.*spatial, temporal, audio"),
        (Overrides(streams=()), "no stream left"),
        (Overrides(streams=("audio",), backbone="resnet18"), "spatial stream is left out"),
        (Overrides(hidden=0), "units from 1.*got 0 for gru"),
        (Overrides(hidden=64, recurrent="mean"), "got 64 for mean"),
        (Overrides(frame_jump=2), "every-nth sampling, got 2 for per-second"),
        (Overrides(frame_jump=0, sampling="every-nth"), "a number from 1.*got 0"),
    ],
)
def test_overrides_that_do_not_fit(overrides: Overrides, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_model("pocket", overrides)


def test_units_and_frame_jumps_are_those_asked_for() -> None:
    source = find_model("pocket", Overrides(hidden=32, sampling="every-nth", frame_jump=8), untrained=True)
    assert {getattr(source.config, stream).recurrent.hidden for stream in source.config.streams} == {32}
    assert source.config.sampling.frame_jump == 8


def test_a_trained_model_that_is_changed_keeps_what_was_not() -> None:
    overrides = Overrides(streams=("spatial",), backbone="resnet18", recurrent="mean")
    assert find_model("pocket", overrides).warning == ""
    with pytest.raises(ModelError, match=r"spatial\.recurrent, .* are not for the model as it is changed"):
        find_model("pocket", Overrides(recurrent="lstm"))
    changed = find_model("pocket", Overrides(recurrent="lstm"), untrained=True)
    assert changed.untrained == ("spatial.recurrent", "temporal.recurrent", "audio.recurrent")
    mean = find_model("pocket", Overrides(recurrent="mean"))
    assert mean.untrained == ()
    assert set(mean.weights) == {"spatial.cnn", "temporal.cnn", "audio.cnn"}


def test_an_encoder_that_is_to_be_trained_anew_has_no_centre_or_weight_of_another() -> None:
    kept = find_model("pocket").config
    assert kept.temporal.recurrent.centred
    assert kept.stream_weights["temporal"] < 1
    for overrides, changed in (
        (Overrides(hidden=64), {"spatial", "temporal", "audio"}),
        (Overrides(backbone="resnet18"), {"spatial"}),
        (Overrides(audio_cnn="yamnet"), {"audio"}),
        (Overrides(temporal_cnn="motion"), {"temporal"}),
        (Overrides(recurrent="mean"), {"spatial", "temporal", "audio"}),
        (Overrides(streams=("audio",)), set()),
    ):
        config = find_model("pocket", overrides, untrained=True).config
        for stream in config.streams:
            recurrent = getattr(config, stream).recurrent
            before = kept.stream_weights[stream]
            assert (recurrent.centred, recurrent.weight) == ((False, 1) if stream in changed else (True, before))


def test_random_weights_are_no_news_where_they_are_not_used(tmp_path: Path) -> None:
    """Untrained is what is used, not where the architecture came from."""
    partly = find_model("pocket", Overrides(spatial_weights=weights_file(tmp_path)), untrained=True)
    assert partly.warning == "untrained weights (spatial.recurrent)"


@pytest.mark.parametrize(
    "overrides",
    [
        Overrides(sampling="psychic"),  # type: ignore[arg-type]
        Overrides(recurrent="transformer"),  # type: ignore[arg-type]
        Overrides(flow="magic"),  # type: ignore[arg-type]
    ],
)
def test_names_that_are_none(overrides: Overrides) -> None:
    with pytest.raises(UsageError, match="must be one of"):
        find_model("pocket", overrides)


def test_streams_given_as_one_word() -> None:
    with pytest.raises(UsageError, match=r"streams must be a sequence of names, as in \('spatial',\)"):
        find_model("pocket", Overrides(streams="spatial"))  # type: ignore[arg-type]


def test_a_hub_repository_is_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repository: str, **_: object) -> str:
        asked.append(repository)
        if repository != "owner/name":
            raise OSError("no network")
        return str(SHIPPED / "pocket")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_model("hf:owner/name").model_id == find_model("pocket").model_id
    with pytest.raises(ModelError, match=r"hf:other/name cannot be downloaded: no network"):
        find_model("hf:other/name")
    assert asked == ["owner/name", "other/name"]


def test_a_weights_file_for_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="given for flow, which this model has not"):
        find_model("pocket", Overrides(flow_weights=weights_file(tmp_path)))
    with pytest.raises(UsageError, match=r"given for audio\.cnn"):
        find_model("pocket", Overrides(streams=("spatial",), audio_weights=weights_file(tmp_path)))


def test_no_such_model_or_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model 'nonsense'.*pocket.*tkachenko2018|tkachenko2018.*pocket"):
        find_model("nonsense")
    with pytest.raises(ModelError, match=r"no model\.json"):
        find_model(tmp_path)
    with pytest.raises(ModelError, match="no weights file at"):
        find_model("pocket", Overrides(spatial_weights=tmp_path / "none.safetensors"))


def test_streams_can_be_named_in_any_order() -> None:
    config = ModelConfig().with_streams(("audio", "spatial"))
    assert config.streams == ("spatial", "audio")


def test_finding_a_model_imports_no_torch() -> None:
    code = "import sys, tristream.fusion.source as s; s.find_model('pocket'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
