"""One stream's networks: steps (T, …) -> CNN -> features (T, F) -> recurrent encoder -> vector (D,)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tristream.streams.config import StreamName
from tristream.streams.encoder import Encoder

CLIPS_AT_ONCE = 16  # sequences that go through the recurrent encoder together


class StepCNN(Protocol):
    """What the three streams' CNNs have in common."""

    def __call__(self, steps: Tensor, /) -> Tensor:
        """Steps (B, …) to features (B, F) float32."""


@dataclass
class Stream:
    """A stream's CNN, on its device and in its precision, and its recurrent encoder, in float32."""

    name: StreamName
    cnn: StepCNN
    recurrent: Encoder
    device: str = "cpu"

    @torch.inference_mode()
    def features(self, inputs: NDArray[Any]) -> Tensor:
        """Step features (T, F) float32, on the CPU, of the inputs (T, …) of the CNN."""
        return self.cnn(torch.from_numpy(inputs).to(self.device)).float().cpu()  # (T, F)

    @torch.inference_mode()
    def vectors(self, sequences: Sequence[Tensor]) -> NDArray[np.float32]:
        """Stream vectors (N, D) of the step features (T_i, F) of N clips."""
        vectors = []
        for first in range(0, len(sequences), CLIPS_AT_ONCE):
            clips = sequences[first : first + CLIPS_AT_ONCE]
            lengths = torch.tensor([len(clip) for clip in clips])
            padded = pad_sequence(list(clips), batch_first=True)  # (B, T, F)
            vectors.append(self.recurrent(padded.to(self.device), lengths).float().cpu())  # (B, D)
        return torch.cat(vectors).numpy() if vectors else np.zeros((0, self.recurrent.vector_size), np.float32)
