"""Made pictures and sounds: of the right form, the same for the same seed, and no two alike."""

import numpy as np
import pytest
import torch

from tristream.training import pocket_motions, pocket_pictures, pocket_sounds
from tristream.training.made_pictures import made_picture
from tristream.training.made_sounds import made_sound


@pytest.mark.parametrize("seed", range(8))
def test_a_made_picture_is_one(seed: int) -> None:
    picture = made_picture(np.random.default_rng(seed), 64)
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 5
    np.testing.assert_array_equal(picture, made_picture(np.random.default_rng(seed), 64))
    assert (picture != made_picture(np.random.default_rng(seed + 100), 64)).any()


@pytest.mark.parametrize("seed", range(12))
def test_a_made_sound_is_one(seed: int) -> None:
    sound = made_sound(np.random.default_rng(seed), 15_600)
    assert sound.shape == (15_600,)
    assert np.isfinite(sound).all()
    assert 1e-3 < np.abs(sound).max() < 1.2
    np.testing.assert_array_equal(sound, made_sound(np.random.default_rng(seed), 15_600))


def test_pictures_of_a_pool_are_seen_by_both_and_the_same_again() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 60, 80, 3), np.uint8)
    seen = []

    def teacher(batch):  # type: ignore[no-untyped-def]
        seen.append(batch.shape)
        return batch.float().mean(dim=(1, 2))

    small, features = pocket_pictures.pool_part(frames, teacher, 20, seed=3)
    assert small.shape == (20, 160, 160, 3)
    assert seen == [(20, 224, 224, 3)]
    np.testing.assert_allclose(small.mean(axis=(1, 2)), features, atol=4)  # the same pictures, in two sizes
    again, _ = pocket_pictures.pool_part(frames, teacher, 20, seed=3)
    np.testing.assert_array_equal(small, again)


def test_pictures_of_motion_are_seen_by_both_in_their_sizes() -> None:
    flows = np.random.default_rng(0).normal(size=(3, 2, 12, 16)).repeat(10, axis=2).repeat(10, axis=3)
    seen = []

    def teacher(batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch.shape)
        torch.testing.assert_close(batch[..., 0], batch[..., 2])  # grey
        return batch[..., 0].float().mean(dim=(1, 2))[:, None]

    small, features = pocket_motions.pool_part(flows.astype(np.float16), teacher, 20, seed=3)
    assert small.shape == (20, 120, 160)
    assert seen == [(20, 168, 224, 3)]
    np.testing.assert_allclose(small.mean(axis=(1, 2)), features[:, 0], atol=2)
    assert small[0::2].mean() > 1.2 * small[1::2].mean()  # what moves, then its outline
    again, _ = pocket_motions.pool_part(flows.astype(np.float16), teacher, 20, seed=3)
    np.testing.assert_array_equal(small, again)
    shown = pocket_motions.as_network_sees(pocket_motions.as_bytes(torch.linspace(-1, 1, 256)[None, None]))
    torch.testing.assert_close(shown.flatten(), torch.linspace(-1, 1, 256))


def test_sounds_of_a_pool_are_heard_by_both_each_with_its_offset() -> None:
    tone = np.sin(np.arange(80_000) * 0.3).astype(np.float32)
    sounds = [pocket_sounds.magnitudes(tone)]
    assert sounds[0].shape == (480, 64)
    small, heard = pocket_sounds.pool_part(sounds, lambda batch: batch.flatten(1), 24, seed=1)
    assert small.shape == (24, 96, 64)
    heard = heard.reshape(small.shape).astype(np.float64)
    np.testing.assert_allclose(np.exp(heard) - 0.001, np.exp(small.astype(np.float64)) - 0.01, atol=0.02, rtol=0.02)
