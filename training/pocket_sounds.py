"""What the small model's audio CNN is taught with: real, made and mixed sounds, with YAMNet's features.

magnitudes (T, 64) of whole sounds, 100 a second -> examples (n, 96, 64) log-mel, YAMNet's features (n, 1024)
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tristream.streams.log_mel import (
    EXAMPLE_FRAMES,
    EXAMPLE_SAMPLES,
    LOG_OFFSETS,
    MEL_BANDS,
    log_mel_examples,
)
from tristream.training.distilling import Floats, in_batches
from tristream.training.made_sounds import made_sound

MADE_SHARE = 0.3  # of the sounds
MIXED_SHARE = 0.5  # of all, that have another in them
TINY_OFFSET = 1e-5  # before the logarithm, where the magnitudes are to be had back
Magnitudes = NDArray[np.float32]


def magnitudes(waveform: NDArray[np.floating]) -> Magnitudes:
    """The mel magnitudes (T, 64) of a sound (S,), whose examples follow without a gap."""
    return np.asarray(np.exp(log_mel_examples(waveform, TINY_OFFSET)) - TINY_OFFSET, np.float32).reshape(-1, MEL_BANDS)


def pool_part(
    sounds: Sequence[Magnitudes], teacher: Callable[[Tensor], Tensor], count: int, seed: int
) -> tuple[NDArray[np.float16], Floats]:
    """Examples for the thin network, with VGGish's offset, and what YAMNet says of them with its own."""
    generator = np.random.default_rng(seed)
    mel = np.stack([_sound(sounds, generator) for _ in range(count)])
    heard = torch.from_numpy(np.log(mel + np.float32(LOG_OFFSETS["yamnet"])))
    small = np.log(mel + np.float32(LOG_OFFSETS["small"])).astype(np.float16)
    return small, in_batches(teacher, (heard[first : first + 64] for first in range(0, count, 64)))


def as_network_hears(examples: Tensor) -> Tensor:
    """Examples (B, 96, 64) float16 as the audio CNN wants them: (B, 1, 96, 64) float32."""
    return examples.float()[:, None]


def _sound(sounds: Sequence[Magnitudes], generator: np.random.Generator) -> Magnitudes:
    mel = _one(sounds, generator)
    if generator.random() < MIXED_SHARE:
        other = _one(sounds, generator) * np.float32(10 ** generator.uniform(-1.5, 0.5))
        mel = np.hypot(mel, other)  # sounds that have nothing to do with each other add up by their powers
    return mel * np.float32(10 ** generator.uniform(-1, 0.3))


def _one(sounds: Sequence[Magnitudes], generator: np.random.Generator) -> Magnitudes:
    """One real sound's or made one's example (96, 64), at another speed, pitch and tone."""
    if generator.random() < MADE_SHARE:
        return magnitudes(made_sound(generator, EXAMPLE_SAMPLES))
    sound = sounds[int(generator.integers(len(sounds)))]
    speed = generator.uniform(0.8, 1.25)
    start = generator.uniform(0, max(0.0, len(sound) - speed * EXAMPLE_FRAMES))
    frames = np.minimum(start + speed * np.arange(EXAMPLE_FRAMES), len(sound) - 1).astype(np.intp)
    bands = np.clip(np.arange(MEL_BANDS) + generator.uniform(-3, 3), 0, MEL_BANDS - 1)
    lower = np.floor(bands).astype(np.intp)
    share = (bands - lower).astype(np.float32)
    chosen = sound[frames]
    shifted = chosen[:, lower] * (1 - share) + chosen[:, np.minimum(lower + 1, MEL_BANDS - 1)] * share
    tone = np.interp(np.arange(MEL_BANDS), np.linspace(0, MEL_BANDS - 1, 5), generator.normal(0, 0.15, 5))
    return np.asarray(shifted * np.float32(10) ** tone, np.float32)
