"""What is trained: a stream's networks with a head on top, and the loss and the classes that the head gives.

steps (B, T, …) -> CNN, where it is trained too -> encoder -> head -> logits (B, K), or (B, T, K) where steps vote
"""

import torch
from torch import Tensor, nn

from tristream.streams.encoder import Encoder
from tristream.streams.errors import UsageError
from tristream.streams.recurrent import RecurrentEncoder
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
        if self.cnn is not None:
            features = self.cnn(steps.flatten(0, 1))  # (B·T, F)
            steps = features.unflatten(0, steps.shape[:2])
        if self.kind == "votes" and isinstance(self.encoder, RecurrentEncoder):
            vectors = self.encoder.outputs(steps, lengths)  # (B, T, D)
        else:
            vectors = self.encoder(steps, lengths)  # (B, D)
        logits: Tensor = self.head(self.dropout(vectors))
        return logits

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
    """A CNN and a softmax over its step features, which trains it on single steps."""

    def __init__(self, cnn: nn.Module, feature_size: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.cnn = cnn
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(feature_size, classes)

    def forward(self, steps: Tensor) -> Tensor:
        """Logits (B, K) of steps (B, …)."""
        logits: Tensor = self.head(self.dropout(self.cnn(steps)))
        return logits


def log_probabilities(logits: Tensor, head: Head) -> Tensor:
    """Log probabilities (B, K): of a softmax, or of sigmoids divided by their sum, as Keras's cross entropy does."""
    if head == "sigmoid":
        logits = nn.functional.logsigmoid(logits)
    return nn.functional.log_softmax(logits, dim=-1)


def votes(logits: Tensor, lengths: Tensor) -> Tensor:
    """Each class's share (B, K) of the steps' votes in logits (B, T, K).

    Equal shares are told apart by the mean probability, which adds less than a vote does.
    """
    inside = _inside(logits, lengths)[..., None]  # (B, T, 1)
    counts = lengths.to(logits.device)[:, None].float()
    ballots = nn.functional.one_hot(logits.argmax(dim=2), logits.shape[2]).float()  # (B, T, K)
    shares = (ballots * inside).sum(dim=1) / counts
    means = (logits.float().softmax(dim=2) * inside).sum(dim=1) / counts
    weight = 0.5 / (counts + 0.5)  # of the means, which thus add up to half a vote at most
    return (1 - weight) * shares + weight * means


def _inside(logits: Tensor, lengths: Tensor) -> Tensor:
    """Which steps (B, T) of logits (B, T, K) are within their clips."""
    return torch.arange(logits.shape[1], device=logits.device) < lengths.to(logits.device)[:, None]
