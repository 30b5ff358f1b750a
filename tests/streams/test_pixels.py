"""Frames as their own features: the whole frame, in [0, 1], without a parameter."""

import numpy as np
import pytest
import torch

from tristream.streams.errors import UsageError
from tristream.streams.picture import PictureFormat
from tristream.streams.pixels import PixelCNN
from tristream.streams.placement import place


def test_a_frame_is_squashed_to_64_pixels_a_side_whatever_its_shape() -> None:
    cnn = PixelCNN()
    assert cnn.picture == PictureFormat(64, 64, "rgb24", None, "bilinear")
    assert cnn.picture.scaled_size(240, 320) == (64, 64)  # nothing is cut off
    assert cnn.feature_size == 12_288
    assert list(cnn.parameters()) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_features_are_the_pixels_from_0_to_1_row_by_row(dtype: str) -> None:
    cnn = place(PixelCNN(5), "cpu", dtype)  # type: ignore[arg-type]
    frames = torch.randint(0, 256, (3, 5, 5, 3), dtype=torch.uint8)
    features = cnn(frames)
    assert features.dtype == torch.float32
    np.testing.assert_allclose(features.numpy(), frames.numpy().reshape(3, 75) / 255, rtol=1e-6)


def test_frames_of_another_kind_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\(1, 32, 64, 3\) torch\.uint8"):
        PixelCNN()(torch.zeros(1, 32, 64, 3, dtype=torch.uint8))
    with pytest.raises(UsageError, match=r"torch\.float32"):
        PixelCNN()(torch.zeros(1, 64, 64, 3))
    with pytest.raises(UsageError, match="at least one pixel"):
        PixelCNN(0)
