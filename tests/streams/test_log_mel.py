"""The log-mel front end: equal to the published one, the same in blocks as whole, and safe with bad sound."""

import subprocess
import sys
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tristream.streams import log_mel
from tristream.streams.errors import UsageError
from tristream.streams.log_mel import LogMelStream, log_mel_examples

SILENCE = np.log(np.float32(0.01))


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)


def tone(hertz: float, samples: int = 15_600) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * hertz * np.arange(samples) / 16_000)


def in_blocks(waveform: NDArray[np.floating], sizes: list[int]) -> NDArray[np.float32]:
    """The examples of a waveform pushed in blocks of these sizes, again and again."""
    stream, start, parts = LogMelStream(), 0, []
    while start < waveform.size:
        for size in sizes:
            parts.append(stream.push(waveform[start : start + size]))
            start += size
    return np.concatenate([*parts, stream.finish()])


@pytest.mark.reference
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["sine_1khz_3s", "vggish_test_wav", "noise"])
def test_equals_the_published_front_end(shared: Path, name: str, dtype: type) -> None:
    reference = np.load(shared / "reference" / "vggish_logmel.npz")
    with wave.open(str(shared / "reference" / "vggish_test.wav")) as sound:
        pcm = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    waveforms = {
        "sine_1khz_3s": tone(1000, 48_000),
        "vggish_test_wav": pcm / 32768,
        "noise": reference["noise_waveform"],
    }
    examples = log_mel_examples(waveforms[name].astype(dtype))
    assert examples.dtype == np.float32
    np.testing.assert_allclose(examples, reference[name], rtol=0, atol=1e-4)


def test_constants_are_those_of_the_release() -> None:
    assert (log_mel.WINDOW_SAMPLES, log_mel.HOP_SAMPLES, log_mel.FFT_BINS) == (400, 160, 257)
    assert (log_mel.EXAMPLE_SAMPLES, log_mel.OVERLAP_SAMPLES) == (15_600, 240)
    assert log_mel.EXAMPLE_SECONDS == 0.96


def test_each_frame_is_the_definition_written_out() -> None:
    waveform = noise(15_600).astype(np.float64)
    example = log_mel_examples(waveform)[0]
    n, k = np.arange(400), np.arange(257)
    window = np.sin(np.pi * n / 400) ** 2  # the same as half of (1 - cos)
    fourier = np.exp(-2j * np.pi * np.outer(k, n) / 512)
    for frame in (0, 1, 50, 95):
        magnitudes = np.abs(fourier @ (window * waveform[160 * frame : 160 * frame + 400]))
        expected = np.log(magnitudes @ log_mel.mel_weights() + 0.01)
        np.testing.assert_allclose(example[frame], expected, rtol=0, atol=1e-5)


def test_mel_triangles_are_straight_over_mel() -> None:
    weights = log_mel.mel_weights()
    hertz = np.arange(257) * 31.25
    assert weights.shape == (257, 64)
    assert not weights[(hertz <= 125) | (hertz >= 7500)].any()
    # Between the first and the last centre the two triangles that a bin lies under share it: 1 in all.
    centres = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)[1:-1]
    mel = 1127 * np.log(1 + hertz / 700)
    between = (mel >= centres[0]) & (mel <= centres[-1])
    np.testing.assert_allclose(weights[between].sum(axis=1), 1, atol=1e-6)
    # And the share follows the place in mel: the weighted centres of a bin's bands are the bin itself.
    np.testing.assert_allclose(weights[between] @ centres, mel[between], rtol=1e-6)


@pytest.mark.parametrize("hertz", [250, 1000, 4000, 7000])
def test_a_tone_sounds_in_its_own_band(hertz: float) -> None:
    edges = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)
    band = np.abs(edges[1:-1] - 1127 * np.log(1 + hertz / 700)).argmin()
    example = log_mel_examples(tone(hertz))[0]
    assert abs(int(example.mean(axis=0).argmax()) - band) <= 1
    # Half its window's sum, 100, is the magnitude of a tone: a few bins of it reach 5 in the logarithm.
    assert 3.5 < example.max() < 5.5


def test_silence_is_the_logarithm_of_the_offset() -> None:
    examples = log_mel_examples(np.zeros(40_000, np.float32))
    assert examples.shape == (2, 96, 64)
    assert (examples == SILENCE).all()


def test_the_offset_of_each_audio_cnn_is_added_before_the_logarithm() -> None:
    assert log_mel.LOG_OFFSETS == {"vggish": 0.01, "yamnet": 0.001, "small": 0.01}  # the releases' (and VGGish's)
    waveform = 0.01 * noise(31_000)
    vggish, yamnet = (log_mel_examples(waveform, log_mel.LOG_OFFSETS[cnn]) for cnn in ("vggish", "yamnet"))
    assert np.array_equal(vggish, log_mel_examples(waveform))
    np.testing.assert_allclose(np.exp(vggish) - 0.01, np.exp(yamnet) - 0.001, rtol=0, atol=1e-5)
    silence = LogMelStream(log_offset=0.001)
    assert (silence.push(np.zeros(15_600, np.float32)) == np.log(np.float32(0.001))).all()


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(0, 50_000) | st.sampled_from([399, 15_360, 15_599, 15_600, 30_959, 30_960]),
    sizes=st.lists(st.integers(0, 20_000) | st.integers(1, 500), min_size=1, max_size=6).filter(any),
)
def test_blocks_of_any_size_give_exactly_the_whole(samples: int, sizes: list[int]) -> None:
    waveform = noise(samples, seed=samples)
    if samples / sum(sizes) * len(sizes) > 2_000:  # pushes; ones of a sample or two have a test of their own
        sizes = [*sizes, 1_000]
    assert np.array_equal(in_blocks(waveform, sizes), log_mel_examples(waveform))


def test_single_samples_give_exactly_the_whole() -> None:
    waveform = noise(15_600)
    assert np.array_equal(in_blocks(waveform, [1]), log_mel_examples(waveform))


@pytest.mark.parametrize("samples", [15_600, 15_601, 30_959, 30_960, 160_000])
def test_as_many_examples_as_the_published_framing(samples: int) -> None:
    frames = 1 + (samples - 400) // 160
    assert len(log_mel_examples(noise(samples))) == frames // 96


def test_examples_lie_every_0_96_seconds() -> None:
    waveform = noise(60_000)
    examples = log_mel_examples(waveform)
    assert len(examples) == 3
    for k, example in enumerate(examples):
        alone = log_mel_examples(waveform[15_360 * k : 15_360 * k + 15_600])
        assert np.array_equal(alone[0], example)


def test_count_and_offset_give_each_start() -> None:
    stream = LogMelStream(offset_seconds=12.5)
    first = stream.count
    assert len(stream.push(noise(31_000))) == 2
    assert [stream.start_seconds(k) for k in range(first, stream.count)] == [12.5, 12.5 + 0.96]
    stream.push(noise(16_000))
    assert stream.count == 3
    assert stream.start_seconds(10_000) == pytest.approx(12.5 + 9600, abs=1e-9)


@pytest.mark.parametrize("samples", [1, 399, 15_599])
def test_a_short_sound_is_padded_to_one_example_and_says_so(samples: int) -> None:
    stream = LogMelStream()
    assert len(stream.push(noise(samples))) == 0
    assert not stream.padded
    padded = np.zeros(15_600, np.float32)
    padded[:samples] = noise(samples)
    assert np.array_equal(stream.finish(), log_mel_examples(padded))
    assert (stream.padded, stream.count) == (True, 1)


@pytest.mark.parametrize("samples", [0, 15_600, 20_000, 30_959])
def test_only_a_short_sound_is_padded(samples: int) -> None:
    stream = LogMelStream()
    stream.push(noise(samples))
    assert stream.finish().shape == (0, 96, 64)
    assert not stream.padded
    assert log_mel_examples(noise(samples)).shape == (min(samples, 1), 96, 64)


def test_samples_that_are_not_finite_count_as_silence() -> None:
    damaged, muted = noise(31_000), noise(31_000)
    for place, value in ((0, np.nan), (7_000, np.inf), (15_500, -np.inf), (30_999, np.nan)):
        damaged[place], muted[place] = value, 0
    assert np.array_equal(log_mel_examples(damaged), log_mel_examples(muted))
    assert (log_mel_examples(np.full(15_600, np.nan)) == SILENCE).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_samples_are_clipped_as_16_bits_clip_them(dtype: type) -> None:
    waveform = (3 * noise(15_600)).astype(dtype)
    waveform[100] = np.finfo(dtype).max
    examples = log_mel_examples(waveform)
    assert np.array_equal(examples, log_mel_examples(waveform.clip(-1, 1)))
    assert np.isfinite(examples).all()


def test_the_callers_block_is_neither_changed_nor_kept() -> None:
    block = noise(10_000)
    block[5] = np.nan
    before, stream = block.copy(), LogMelStream()
    stream.push(block)
    assert np.array_equal(block, before, equal_nan=True)
    block[:] = 0  # a decoder may use its block again
    waveform = np.concatenate([before, noise(10_000, 1)])
    assert np.array_equal(stream.push(noise(10_000, 1)), log_mel_examples(waveform))


def test_memory_stays_that_of_one_example() -> None:
    stream, second = LogMelStream(), noise(16_000)
    tracemalloc.start()
    for _ in range(100):
        stream.push(second)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert stream.count == 104  # 100 s
    assert kept < 100_000
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("samples", "met"),
    [
        (np.zeros(16_000, np.int16), r"dtype\('int16'\)"),
        (np.zeros((2, 16_000), np.float32), r"array.shape = \(2, 16000\)"),
        (np.float32(0.5), r"array.shape = \(\)"),
        (np.zeros(400, np.complex64), r"dtype\('complex64'\)"),
    ],
)
def test_anything_but_a_row_of_floats_is_refused(samples: NDArray[np.generic], met: str) -> None:
    with pytest.raises(UsageError, match=met):
        log_mel_examples(samples)


def test_nothing_follows_the_end() -> None:
    stream = LogMelStream()
    stream.push(noise(100))
    assert len(stream.finish()) == 1
    assert len(stream.finish()) == 0
    with pytest.raises(UsageError, match="finished"):
        stream.push(noise(100))


def test_needs_no_torch() -> None:
    heavy = "{'torch', 'av', 'scipy'}"
    code = f"import sys, tristream.streams.log_mel; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
