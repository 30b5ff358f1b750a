"""Sounds of nothing, with the build of sounds of something: waveforms (S,) float64 at 16 kHz in [-1, 1].

What makes a sound hum, whistle, knock, hiss or call, drawn at random: harmonics with a gliding pitch, bands of noise,
struck resonators, trains of pulses, each under an envelope that swells, decays or repeats. A network learns from them,
and from mixtures with real sounds, what to answer where its few real sounds say nothing.
"""

import numpy as np
from numpy.typing import NDArray

from tristream.streams.log_mel import SAMPLE_RATE_HZ

Waveform = NDArray[np.float64]
LOWEST_PITCH_HZ, HIGHEST_PITCH_HZ = 50.0, 3000.0


def made_sound(generator: np.random.Generator, samples: int) -> Waveform:
    """One sound of up to three sources (samples,)."""
    sources = [_source(generator, samples) for _ in range(generator.integers(1, 4))]
    mixed = np.sum([source * generator.uniform(0.1, 1) for source in sources], axis=0)
    loudest = np.abs(mixed).max() + 1e-9
    floor = generator.standard_normal(samples) * 10 ** generator.uniform(-5, -2)
    sound: Waveform = mixed / loudest * 10 ** generator.uniform(-2, 0) + floor
    return sound


def _source(generator: np.random.Generator, samples: int) -> Waveform:
    make = (_harmonic, _noise, _struck, _pulses)[generator.integers(4)]
    return make(generator, samples) * _envelope(generator, samples)


def _seconds(samples: int) -> Waveform:
    return np.arange(samples) / SAMPLE_RATE_HZ


def _harmonic(generator: np.random.Generator, samples: int) -> Waveform:
    """A voice or an instrument: partials of a pitch that glides and trembles."""
    seconds = _seconds(samples)
    pitch = np.exp(generator.uniform(np.log(LOWEST_PITCH_HZ), np.log(HIGHEST_PITCH_HZ)))
    glide = 2 ** (generator.normal(0, 0.7) * seconds / seconds[-1])
    tremble = 1 + generator.uniform(0, 0.05) * np.sin(2 * np.pi * generator.uniform(3, 12) * seconds)
    phase = 2 * np.pi * np.cumsum(pitch * glide * tremble) / SAMPLE_RATE_HZ
    fall, sound = generator.uniform(0, 2), np.zeros(samples)
    formants = np.exp(generator.uniform(np.log(200), np.log(5000), 3))
    for partial in range(1, int(min(40, SAMPLE_RATE_HZ / 2 / pitch)) + 1):
        shape = np.exp(-(np.log(partial * pitch / formants) ** 2) / 0.1).sum() + 0.1
        sound += shape * partial**-fall * np.sin(partial * phase + generator.uniform(0, 2 * np.pi))
    return _level(sound)


def _noise(generator: np.random.Generator, samples: int) -> Waveform:
    """Wind, rain, a hiss: noise with a slope and a band."""
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ) + 1
    spectrum *= hertz ** generator.uniform(-1, 0.5)
    if generator.random() < 0.6:
        centre, octaves = np.exp(generator.uniform(np.log(100), np.log(7000))), generator.uniform(0.2, 2)
        spectrum *= np.exp(-(np.log2(hertz / centre) ** 2) / (2 * octaves**2))
    return _level(np.fft.irfft(spectrum, samples))


def _struck(generator: np.random.Generator, samples: int) -> Waveform:
    """Something hit, once or often: decaying modes."""
    sound, seconds = np.zeros(samples), _seconds(samples)
    modes = np.exp(generator.uniform(np.log(80), np.log(6000), generator.integers(1, 8)))
    decays = generator.uniform(4, 80, len(modes))
    hit = sum(
        np.exp(-decay * seconds) * np.sin(2 * np.pi * mode * seconds + generator.uniform(0, 6))
        for mode, decay in zip(modes, decays, strict=True)
    )
    for start in generator.integers(0, samples, generator.integers(1, 12)):
        sound[start:] += generator.uniform(0.2, 1) * hit[: samples - start]
    return _level(sound)


def _pulses(generator: np.random.Generator, samples: int) -> Waveform:
    """A motor, a rattle, a crackle: clicks that come regularly or not, through a filter."""
    rate_hz = np.exp(generator.uniform(np.log(2), np.log(150)))
    clicks = np.zeros(samples)
    gaps = generator.gamma(*((1.0, 1.0) if generator.random() < 0.5 else (400.0, 1 / 400)), 4 + samples)
    places = np.cumsum(gaps * SAMPLE_RATE_HZ / rate_hz).astype(np.int64)
    places = places[places < samples]
    clicks[places] = generator.uniform(0.3, 1, len(places))
    length = int(generator.integers(16, 1200))
    tail = generator.standard_normal(length) * np.exp(-np.linspace(0, 6, length))
    size = samples + length
    return _level(np.fft.irfft(np.fft.rfft(clicks, size) * np.fft.rfft(tail, size), size)[:samples])


def _envelope(generator: np.random.Generator, samples: int) -> Waveform:
    """How loud it is over time: steady, swelling, decaying, in bursts or beating."""
    seconds = _seconds(samples)
    kind = generator.integers(4)
    if kind == 0:
        return np.ones(samples)
    if kind == 1:
        corners = generator.uniform(0, 1, generator.integers(2, 8))
        return np.interp(seconds, np.linspace(0, seconds[-1], len(corners)), corners)
    if kind == 2:
        start = generator.uniform(0, 0.7) * seconds[-1]
        return np.where(seconds < start, 0, np.exp(-generator.uniform(1, 30) * np.maximum(seconds - start, 0)))
    beat = np.sin(2 * np.pi * generator.uniform(1, 20) * seconds + generator.uniform(0, 6))
    return (0.5 + 0.5 * beat) ** generator.uniform(0.5, 4)


def _level(sound: Waveform) -> Waveform:
    return np.asarray(sound / (np.sqrt(np.mean(sound**2)) + 1e-9))
