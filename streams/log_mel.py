"""The published front end of VGGish and YAMNet, for a whole sound or block by block; needs no torch.

waveform (S,) float at 16 kHz mono in [-1, 1] -> frames (96, 400) -> magnitudes (96, 257) -> mel (96, 64)
-> examples (N, 96, 64) float32, one for each 0.96 s

Source: Hershey et al. 2017, "CNN Architectures for Large-Scale Audio Classification", 3.1, and the released
code (tensorflow/models, research/audioset/vggish), which decides wherever the paper is silent. YAMNet's
(research/audioset/yamnet) differs from it in the offset of the logarithm only.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from tristream.streams.config import AudioCNNName
from tristream.streams.errors import UsageError

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = SAMPLE_RATE_HZ * 25 // 1000  # 400 samples: 25 ms
HOP_SAMPLES = SAMPLE_RATE_HZ * 10 // 1000  # 160 samples: 10 ms
FFT_SAMPLES = 512  # the power of two that holds a window
FFT_BINS = FFT_SAMPLES // 2 + 1  # 257 bins, 31.25 Hz apart
MEL_BANDS = 64
LOWEST_HZ, HIGHEST_HZ = 125.0, 7500.0  # the edges of the outermost mel bands
LOG_OFFSET = 0.01  # VGGish's: keeps the logarithm of silence finite, at -4.605
LOG_OFFSETS: dict[AudioCNNName, float] = {"vggish": LOG_OFFSET, "yamnet": 0.001, "small": LOG_OFFSET}

EXAMPLE_FRAMES = 96
EXAMPLE_HOP_SAMPLES = EXAMPLE_FRAMES * HOP_SAMPLES  # 15,360 samples from one example to the next
EXAMPLE_SECONDS = EXAMPLE_HOP_SAMPLES / SAMPLE_RATE_HZ  # 0.96
EXAMPLE_SAMPLES = EXAMPLE_HOP_SAMPLES - HOP_SAMPLES + WINDOW_SAMPLES  # 15,600 that its 96 windows cover
OVERLAP_SAMPLES = EXAMPLE_SAMPLES - EXAMPLE_HOP_SAMPLES  # 240 shared by neighbouring examples

# OpenBLAS splits a product of more than 262,144 multiply-adds over its threads. For one this small that
# gains nothing, and with busy cores it waits: 8 ms in place of 0.03. So 8 frames go at once, 131,584.
_FRAMES_AT_ONCE = 8


def log_mel_examples(waveform: ArrayLike, log_offset: float = LOG_OFFSET) -> NDArray[np.float32]:
    """The log-mel examples (N, 96, 64) of a whole waveform (S,) at 16 kHz mono; N is 0 only if S is.

    `log_offset` is added before the logarithm; `LOG_OFFSETS` has the one that each audio CNN wants.

    Raises:
        UsageError: the waveform is not one row of floats.
    """
    stream = LogMelStream(log_offset=log_offset)
    return np.concatenate([stream.push(waveform), stream.finish()])


class LogMelStream:
    """Log-mel examples of a sound that comes in blocks of any size, the same to the bit as of the whole.

    Memory is that of one example, however long the sound. As in the published front end, what is left
    after the last whole example is dropped; but a sound shorter than one example (15,600 samples) is
    filled up with zeros to one, and `padded` says so.

    Attributes:
        offset_seconds: when the first sample sounds.
        log_offset: what is added to a mel band before the logarithm.
        count: the examples given so far.
        padded: whether the one example of this sound ends in zeros that nobody recorded.
    """

    def __init__(self, offset_seconds: float = 0.0, log_offset: float = LOG_OFFSET) -> None:
        self.offset_seconds = offset_seconds
        self.log_offset = log_offset
        self.count = 0
        self.padded = False
        self._buffer = np.zeros(EXAMPLE_SAMPLES)
        self._filled = 0
        self._finished = False
        # Kept from one example to the next: allocating 0.8 MB anew each time took as long as the rest.
        self._windows = np.zeros((EXAMPLE_FRAMES, FFT_SAMPLES))
        self._spectra = np.empty((EXAMPLE_FRAMES, FFT_BINS), np.complex128)

    def start_seconds(self, example: int) -> float:
        """When the example of this number (0 is the first) starts."""
        return self.offset_seconds + example * EXAMPLE_HOP_SAMPLES / SAMPLE_RATE_HZ

    def push(self, samples: ArrayLike) -> NDArray[np.float32]:
        """The examples (n, 96, 64) that the next samples (S,) complete; n may be 0.

        Samples that are not finite count as silence, and others are clipped to [-1, 1].

        Raises:
            UsageError: the samples are not one row of floats, or the sound was finished.
        """
        block = _checked(samples)
        if self._finished:
            raise UsageError("this sound was finished: make a new LogMelStream for another one")
        examples = []
        while block.size:
            taken = block[: EXAMPLE_SAMPLES - self._filled]
            block = block[taken.size :]
            self._buffer[self._filled : self._filled + taken.size] = _clean(taken)
            self._filled += taken.size
            if self._filled == EXAMPLE_SAMPLES:
                examples.append(self._example())
        return _stack(examples)

    def finish(self) -> NDArray[np.float32]:
        """The example of a sound too short for a whole one, padded: (1, 96, 64), else (0, 96, 64)."""
        too_short = self.count == 0 and self._filled > 0
        self._finished = True
        if not too_short:
            return _stack([])
        self.padded = True
        self._buffer[self._filled :] = 0.0
        return _stack([self._example()])

    def _example(self) -> NDArray[np.float32]:
        """The example (96, 64) of the full buffer, which then keeps only what the next one shares."""
        example = self._log_mel()
        self._buffer[:OVERLAP_SAMPLES] = self._buffer[EXAMPLE_HOP_SAMPLES:]
        self._filled = OVERLAP_SAMPLES
        self.count += 1
        return example

    def _log_mel(self) -> NDArray[np.float32]:
        """The log-mel example (96, 64) of the buffer's 15,600 samples.

        The transform is in float64: in float32 its rounding moved the silent bands beside a pure tone by 7e-5
        (numpy) and 2e-4 (scipy), and numpy's is hardly faster. The rest is in float32, within 1e-6.
        """
        frames = sliding_window_view(self._buffer, WINDOW_SAMPLES)[::HOP_SAMPLES]  # (96, 400)
        np.multiply(frames, _WINDOW, out=self._windows[:, :WINDOW_SAMPLES])  # (96, 512), the rest stays zero
        np.fft.rfft(self._windows, out=self._spectra)  # (96, 257)
        magnitudes = np.empty((EXAMPLE_FRAMES, FFT_BINS), np.float32)
        np.abs(self._spectra, out=magnitudes, casting="same_kind")
        mel = magnitudes.reshape(-1, _FRAMES_AT_ONCE, FFT_BINS) @ _MEL  # (12, 8, 64)
        log_mel: NDArray[np.float32] = np.log(mel + np.float32(self.log_offset))
        return log_mel.reshape(EXAMPLE_FRAMES, MEL_BANDS)


def _checked(samples: ArrayLike) -> NDArray[np.floating]:
    """The samples as an array (S,) of floats."""
    array = np.asarray(samples)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.floating):
        raise UsageError(
            "a waveform must be one row of float samples in [-1, 1], "
            f"got {array.shape = }, {array.dtype = }: mix channels first, divide int16 by 32768"
        )
    return array


def _clean(samples: NDArray[np.floating]) -> NDArray[np.floating]:
    """Samples (S,) as 16-bit sound would hold them: the published front end reads nothing else.

    Decoders and resamplers of loud sound give a little more than 1, which 16 bits clip too; damaged float
    sound holds any value, and one NaN or 1e30 would spoil every band of three windows.
    """
    clean: NDArray[np.floating] = np.clip(samples, -1.0, 1.0)
    clean[~np.isfinite(samples)] = 0.0
    return clean


def _stack(examples: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Examples (96, 64) as one array (n, 96, 64), also of none."""
    return np.stack(examples) if examples else np.empty((0, EXAMPLE_FRAMES, MEL_BANDS), np.float32)


def hertz_to_mel(hertz: ArrayLike) -> NDArray[np.float64]:
    """Frequencies on the mel scale of HTK."""
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0))


def mel_weights() -> NDArray[np.float32]:
    """What each FFT bin gives to each mel band: (257, 64).

    The triangles' sides are straight over mel, as in the released code; librosa and torchaudio draw them
    straight over Hz.
    """
    edges = np.linspace(hertz_to_mel(LOWEST_HZ), hertz_to_mel(HIGHEST_HZ), MEL_BANDS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]  # (64,) each
    bins = hertz_to_mel(np.linspace(0.0, SAMPLE_RATE_HZ / 2, FFT_BINS))[:, None]  # (257, 1)
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def hann_window() -> NDArray[np.float64]:
    """The periodic Hann window (400,): zero at its first sample only."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES))


_WINDOW, _MEL = hann_window(), mel_weights()
