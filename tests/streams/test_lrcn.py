"""The LRCN recipe's convolutions: the paper's parameters and shapes, layer by layer."""

import pytest
import torch
from torch import nn

from tristream.streams.config import RecurrentConfig
from tristream.streams.errors import UsageError
from tristream.streams.lrcn import FrameCNN
from tristream.streams.picture import PictureFormat
from tristream.streams.placement import place
from tristream.streams.recurrent import RecurrentEncoder

pytestmark = pytest.mark.usefixtures("one_thread")


def some_frames(count: int, side: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator)


def trainable(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def test_the_papers_parameters_layer_by_layer_and_73060_with_four_classes() -> None:
    cnn = FrameCNN()
    assert [trainable(layer) for layer in cnn.layers if trainable(layer)] == [448, 4640, 18_496, 36_928]
    lstm = RecurrentEncoder(cnn.feature_size, RecurrentConfig("lstm", hidden=32, layers=1, bidirectional=False))
    head = nn.Linear(lstm.vector_size, 4)
    assert [trainable(lstm), trainable(head)] == [12_416, 132]
    assert sum(map(trainable, (cnn, lstm, head))) == 73_060


def test_the_papers_shapes_layer_by_layer() -> None:
    maps, shapes = torch.zeros(1, 3, 64, 64), []
    for layer in FrameCNN().layers:
        maps = layer(maps)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            shapes.append(tuple(maps.shape[1:]))
    assert shapes == [
        *((16, 64, 64), (16, 16, 16), (32, 16, 16), (32, 4, 4)),
        *((64, 4, 4), (64, 2, 2), (64, 2, 2), (64, 1, 1)),
    ]


@pytest.mark.parametrize(("side", "features"), [(None, 64), (64, 64), (127, 64), (128, 256)])
def test_feature_size_follows_the_pictures(side: int | None, features: int) -> None:
    cnn = FrameCNN(side).eval()
    assert cnn.picture == PictureFormat(side or 64, side or 64, "rgb24", None, "bilinear")
    assert cnn(some_frames(2, side or 64)).shape == (2, features)
    assert cnn.feature_size == features


def test_dropout_follows_each_pool_but_the_last_in_training_only() -> None:
    cnn = FrameCNN()
    kinds = [type(layer) for layer in cnn.layers if not isinstance(layer, nn.Conv2d | nn.ReLU)]
    assert kinds == [nn.MaxPool2d, nn.Dropout] * 3 + [nn.MaxPool2d]
    assert {layer.p for layer in cnn.layers if isinstance(layer, nn.Dropout)} == {0.25}
    frames = some_frames(2)
    assert not torch.equal(cnn(frames), cnn(frames))
    cnn.eval()
    assert torch.equal(cnn(frames), cnn(frames))


def test_pixels_count_from_0_to_1() -> None:
    cnn = FrameCNN().eval()
    white = torch.full((1, 64, 64, 3), 255, dtype=torch.uint8)
    torch.testing.assert_close(cnn(white), cnn.layers(torch.ones(1, 3, 64, 64)).flatten(1))


@pytest.mark.parametrize(("dtype", "nearest"), [("float32", 0.99999), ("bfloat16", 0.999)])
def test_placed_for_inference_it_gives_the_same(dtype: str, nearest: float) -> None:
    torch.manual_seed(0)
    cnn, frames = FrameCNN().eval(), some_frames(4)
    with torch.inference_mode():
        expected = cnn(frames)
        features = place(cnn, "cpu", dtype)(frames)  # type: ignore[arg-type]
    assert features.dtype == torch.float32
    assert nn.functional.cosine_similarity(features, expected).min() >= nearest


def test_what_it_cannot_see_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 64 pixels a side, got 63"):
        FrameCNN(63)
    with pytest.raises(UsageError, match=r"\(1, 65, 64, 3\)"):
        FrameCNN()(torch.zeros(1, 65, 64, 3, dtype=torch.uint8))
