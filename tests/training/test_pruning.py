"""Thinner networks that begin where whole ones are."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

from tristream.streams.mobilenet import MobileNet
from tristream.streams.yamnet import YAMNet
from tristream.training.pruning import folded_convolutions, pruned, with_inputs


def pictures(count: int, channels: int = 3, seed: int = 0) -> Tensor:
    """Smooth pictures, as photographs are and noise is not."""
    generator = torch.Generator().manual_seed(seed)
    return nn.functional.interpolate(torch.randn(count, channels, 8, 8, generator=generator), 64, mode="bilinear")


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv1_100", pretrained=False, num_classes=0, pad_type="same")
    with torch.no_grad():
        for _ in range(20):
            network.train()(pictures(32, seed=1))
    return network.eval()


def cosine(ours: Tensor, theirs: Tensor) -> float:
    ours, theirs = (each - theirs.mean(dim=0) for each in (ours, theirs))
    return float(nn.functional.cosine_similarity(ours, theirs).mean())


def test_at_full_width_it_is_the_teacher(teacher: nn.Module) -> None:
    thin = pruned(folded_convolutions(teacher), pictures(16), width=1.0, features=1024)
    with torch.inference_mode():
        torch.testing.assert_close(thin.means(pictures(4, seed=2)), teacher(pictures(4, seed=2)), atol=2e-3, rtol=2e-2)


def test_training_begins_at_the_same_function(teacher: nn.Module) -> None:
    seen = pictures(64)
    thin = pruned(folded_convolutions(teacher), seen, width=0.5, features=1024)
    with torch.no_grad():
        torch.testing.assert_close(thin.train().means(seen), thin.eval().means(seen), atol=1e-2, rtol=1e-2)


@pytest.mark.reference
def test_thinner_it_stays_near_and_nearer_than_without_the_fit(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = timm.create_model("mobilenetv1_100", pretrained=False, num_classes=0, pad_type="same").eval()
    network.load_state_dict(load_file(shared / "weights" / "mobilenetv1_100.safetensors"), strict=False)
    flowers = load_sample_image("flower.jpg"), load_sample_image("china.jpg")
    pieces = [torch.from_numpy(p.copy()).permute(2, 0, 1).float().unfold(1, 96, 48).unfold(2, 96, 48) for p in flowers]
    cut = torch.cat([each.permute(1, 2, 0, 3, 4).flatten(0, 1) for each in pieces]) / 127.5 - 1  # (N, 3, 96, 96)
    known, unseen = cut[::2], cut[1::2]
    convolutions = folded_convolutions(network)
    with torch.inference_mode():
        expected = network(unseen)
        fitted = pruned(convolutions, known, width=0.75, features=1024).means(unseen)
        monkeypatch.setattr("tristream.training.pruning._fitted", lambda plain, *_: plain)
        unfitted = pruned(convolutions, known, width=0.75, features=1024).means(unseen)
    assert cosine(fitted, expected) > max(0.6, cosine(unfitted, expected) + 0.1)


def test_a_network_on_pictures_reads_grey_ones(teacher: nn.Module) -> None:
    convolutions = with_inputs(folded_convolutions(teacher), 1)
    grey = pictures(8, channels=1)
    thin = pruned(convolutions, grey, width=1.0, features=1024)
    with torch.inference_mode():
        expected = teacher(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(thin.means(grey), expected, atol=2e-3, rtol=2e-2)


def test_yamnets_convolutions_are_found_in_their_order() -> None:
    found = folded_convolutions(YAMNet())
    assert len(found) == 27
    assert [len(each.weight) for each in found[:3]] == [32, 32, 64]
    thin = pruned(found, torch.randn(8, 1, 96, 64), 0.25, 1024, nn.ReLU)
    assert isinstance(thin, MobileNet)
    assert not any(isinstance(module, nn.ReLU6) for module in thin.modules())
