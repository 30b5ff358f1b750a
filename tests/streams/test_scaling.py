"""Pictures are scaled as Pillow scales them."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tristream.streams.scaling import scale


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise of medium contrast: where bicubic overshoots black or white, both libraries cut off between their two
    passes, which they do in another order.
    """
    return np.random.default_rng(seed).integers(80, 176, (height, width, 3), np.uint8)


@settings(deadline=None, max_examples=40)
@example(8, 8, 15, 122, "bicubic")
@given(
    st.integers(8, 150),
    st.integers(8, 150),
    st.integers(8, 150),
    st.integers(8, 150),
    st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
)
def test_as_pillow_to_a_level(height: int, width: int, new_height: int, new_width: int, how: str) -> None:
    source = picture(height, width)
    expected = Image.fromarray(source).resize((new_width, new_height), Image.Resampling[how.upper()])
    ours = scale(source, new_height, new_width, how)  # type: ignore[arg-type]
    assert ours.shape == (new_height, new_width, 3)
    assert ours.dtype == np.uint8
    difference = np.abs(ours.astype(int) - np.asarray(expected))
    # Both round between their two passes; where both roundings fall out otherwise, a pixel in thousands is off by 2.
    assert difference.max() <= 2
    assert np.mean(difference > 1) < 1e-3


def test_area_is_the_mean_of_the_pixels_covered() -> None:
    source = picture(40, 60)[..., 0]
    expected = source.reshape(10, 4, 20, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(scale(source, 10, 20, "area"), expected, atol=0.51)


@pytest.mark.parametrize("how", ["nearest", "bilinear", "bicubic", "lanczos", "area"])
def test_gray_pictures_and_the_same_size(how: str) -> None:
    gray = picture(30, 50)[..., 1]
    assert scale(gray, 15, 20, how).shape == (15, 20)  # type: ignore[arg-type]
    assert scale(gray, 30, 50, how) is gray  # type: ignore[arg-type]
