"""One stream's networks: steps (T, …) -> CNN -> features (T, F) -> recurrent encoder -> vector (D,)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tristream.streams.config import StreamName
from tristream.streams.encoder import Encoder
from tristream.streams.recurrent import RecurrentEncoder

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
    vote_head: nn.Linear | None = None  # of a model whose steps vote on the class

    @torch.inference_mode()
    def features(self, inputs: NDArray[Any]) -> Tensor:
        """Step features (T, F) float32, on the CPU, of the inputs (T, …) of the CNN."""
        return self.cnn(torch.from_numpy(inputs).to(self.device)).float().cpu()  # (T, F)

    @torch.inference_mode()
    def vectors(self, sequences: Sequence[Tensor]) -> NDArray[np.float32]:
        """Stream vectors (N, D) of the step features (T_i, F) of N clips; with a vote head (N, D + K).

        The votes are each class's share of the steps.
        """
        size = self.recurrent.vector_size + (self.vote_head.out_features if self.vote_head else 0)
        vectors = []
        for first in range(0, len(sequences), CLIPS_AT_ONCE):
            clips = sequences[first : first + CLIPS_AT_ONCE]
            lengths = torch.tensor([len(clip) for clip in clips])
            padded = pad_sequence(list(clips), batch_first=True).to(self.device)  # (B, T, F)
            vectors.append(self._encode(padded, lengths).float().cpu())  # (B, D)
        return torch.cat(vectors).numpy() if vectors else np.zeros((0, size), np.float32)

    def _encode(self, padded: Tensor, lengths: Tensor) -> Tensor:
        if self.vote_head is None or not isinstance(self.recurrent, RecurrentEncoder):
            vectors: Tensor = self.recurrent(padded, lengths)
            return vectors
        outputs = self.recurrent.outputs(padded, lengths)  # (B, T, D), zero beyond a clip
        means = outputs.sum(dim=1) / lengths.to(outputs.device)[:, None]
        return torch.cat([means, votes(self.vote_head(outputs), lengths)], dim=1)


def votes(logits: Tensor, lengths: Tensor) -> Tensor:
    """Each class's share (B, K) of the votes of a clip's steps, of their logits (B, T, K) (CoReHAR, 3-1).

    Equal shares are told apart by the mean probability, which weighs less than a vote.
    """
    lengths = lengths.to(logits.device)
    inside = torch.arange(logits.shape[1], device=logits.device) < lengths[:, None]  # (B, T)
    counts = lengths[:, None].float()
    ballots = nn.functional.one_hot(logits.argmax(dim=2), logits.shape[2]).float()  # (B, T, K)
    shares = (ballots * inside[..., None]).sum(dim=1) / counts
    means = (logits.float().softmax(dim=2) * inside[..., None]).sum(dim=1) / counts
    weight = 0.5 / (counts + 0.5)  # the means add up to half a vote
    return (1 - weight) * shares + weight * means
