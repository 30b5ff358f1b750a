"""Changed copies of frames: of the same size, the same every time, and each frame changed anew."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tristream.training.augmentation import FrameAugmenter
from tristream.training.recipes import Augmentation

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    """One frame, six times: (6, 48, 64, 3), brighter to the right and red below."""
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :, 1] = np.linspace(40, 240, 64)
    frame[24:, :, 0] = 255
    return np.repeat(frame[None], 6, axis=0)


def test_each_frame_is_changed_anew_and_the_size_stays(frames: NDArray[np.uint8]) -> None:
    changed = FrameAugmenter(Augmentation(), 48, 64, seed=0)(frames, 0)
    assert (changed.shape, changed.dtype) == (frames.shape, np.uint8)
    for number, frame in enumerate(changed):
        assert (frame != frames[0]).any()
        assert all((frame != other).any() for other in changed[:number])
        assert np.abs(frame.mean(axis=(0, 1)) - frames[0].mean(axis=(0, 1))).max() < 30  # much the same picture


def test_it_is_the_same_in_any_batches_and_leaves_the_random_state_alone(frames: NDArray[np.uint8]) -> None:
    augmenter = FrameAugmenter(Augmentation(), 48, 64, seed=1)
    torch.manual_seed(7)
    whole = augmenter(frames, 0)
    drawn = torch.rand(3)
    np.testing.assert_array_equal(np.concatenate([augmenter(frames[:2], 0), augmenter(frames[2:], 2)]), whole)
    torch.manual_seed(7)
    torch.testing.assert_close(torch.rand(3), drawn, rtol=0, atol=0)
    assert (FrameAugmenter(Augmentation(), 48, 64, seed=2)(frames, 0) != whole).any()


def test_what_is_turned_off_changes_nothing(frames: NDArray[np.uint8]) -> None:
    still = Augmentation(rotation_degrees=0, crop_share=1, flip_probability=0)
    np.testing.assert_array_equal(FrameAugmenter(still, 48, 64, 0)(frames, 0), frames)
    mirrored = Augmentation(rotation_degrees=0, crop_share=1, flip_probability=1)
    np.testing.assert_array_equal(FrameAugmenter(mirrored, 48, 64, 0)(frames, 0), frames[:, :, ::-1])


def test_half_of_the_frames_are_mirrored(frames: NDArray[np.uint8]) -> None:
    config = Augmentation(rotation_degrees=0, crop_share=1)
    many = np.repeat(frames[:1], 200, axis=0)
    changed = FrameAugmenter(config, 48, 64, 0)(many, 0)
    mirrored = (changed[:, 0, 0, 1] > changed[:, 0, -1, 1]).mean()
    assert 0.4 < mirrored < 0.6
