"""What is trained: a stream's networks with a head on top, and the loss and the classes that the head gives.

steps (B, T, …) -> CNN, where it is trained too -> encoder -> head -> logits (B, K), or (B, T, K) where steps vote
"""

from typing import Self

import torch
from torch import Tensor, nn

from tristream.streams.encoder import Encoder
from tristream.streams.errors import UsageError
from tristream.streams.recurrent import RecurrentEncoder
from tristream.streams.stream import votes
from tristream.training.recipes import Head


class SequenceNetwork(nn.Module):
    """An encoder of sequences and its head; with `cnn` the steps are pictures (B, T, H, W, 3) uint8."""

    def __init__(self, cnn: nn.Module | None, encoder: Encoder, classes: int, head: Head, dropout: float) -> None:
        super().__init__()
        self.cnn = cnn
        self.encoder = encoder
        self.kind = head
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.vector_size, classes)
        if head == "votes" and not isinstance(encoder, RecurrentEncoder):
            raise UsageError("steps can only vote where the encoder has an output at each step; a ConvLSTM has not")

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Logits (B, K), or (B, T, K) for `votes`."""
        steps = self._features(steps)
        if self.kind == "votes" and isinstance(self.encoder, RecurrentEncoder):
            vectors = self.encoder.outputs(steps, lengths)  # (B, T, D)
        else:
            vectors = self.encoder(steps, lengths)  # (B, D)
        logits: Tensor = self.head(self.dropout(vectors))
        return logits

    def vectors_and_logits(self, steps: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's vectors (B, D), and the logits as `forward` gives them in evaluation mode."""
        steps = self._features(steps)
        vectors: Tensor = self.encoder(steps, lengths)
        if self.kind == "votes" and isinstance(self.encoder, RecurrentEncoder):
            return vectors, self.head(self.encoder.outputs(steps, lengths))
        return vectors, self.head(vectors)

    def _features(self, steps: Tensor) -> Tensor:
        """The step features (B, T, F)."""
        if self.cnn is None:
            return steps
        features: Tensor = self.cnn(steps.flatten(0, 1))  # (B·T, F)
        return features.view(*steps.shape[:2], -1)

    def loss(self, logits: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
        """The mean cross entropy over the clips; for `votes` over the steps."""
        if self.kind == "votes":
            inside = _inside(logits, lengths)
            labels = labels[:, None].expand(inside.shape)
            return nn.functional.cross_entropy(logits[inside].float(), labels[inside])
        return nn.functional.nll_loss(log_probabilities(logits.float(), self.kind), labels)

    def classes(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """The class (B,) of each clip."""
        return self.shares(logits, lengths).argmax(dim=1)

    def shares(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """The probabilities (B, K), or each class's share of the votes."""
        if self.kind == "votes":
            return votes(logits, lengths)
        return log_probabilities(logits.float(), self.kind).exp()


class StepNetwork(nn.Module):
    """A CNN and a softmax over its step features, which trains it on single steps.

    With `keep_norms` the CNN stays in evaluation mode: of a network that is fine-tuned, the batch norms keep the
    statistics of what it was trained on, which are better than those of a few clips.
    """

    def __init__(
        self, cnn: nn.Module, feature_size: int, classes: int, dropout: float, keep_norms: bool = False
    ) -> None:
        super().__init__()
        self.cnn = cnn
        self.keep_norms = keep_norms
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(feature_size, classes)

    def forward(self, steps: Tensor) -> Tensor:
        """Logits (B, K) of steps (B, …)."""
        logits: Tensor = self.head(self.dropout(self.cnn(steps)))
        return logits

    def train(self, mode: bool = True) -> Self:
        """Training mode, of the CNN too unless its norms are kept."""
        super().train(mode)
        if self.keep_norms:
            self.cnn.eval()
        return self


def log_probabilities(logits: Tensor, head: Head) -> Tensor:
    """Log probabilities (B, K): of a softmax, or of sigmoids divided by their sum, as Keras's cross entropy does."""
    if head == "sigmoid":
        logits = nn.functional.logsigmoid(logits)
    return nn.functional.log_softmax(logits, dim=-1)


def _inside(logits: Tensor, lengths: Tensor) -> Tensor:
    """Which steps (B, T) of logits (B, T, K) are within their clips."""
    return torch.arange(logits.shape[1], device=logits.device) < lengths.to(logits.device)[:, None]
