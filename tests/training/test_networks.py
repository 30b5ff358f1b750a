"""Networks under training: what their heads say and lose, counted by hand, whatever the padding."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from tristream.streams.config import RecurrentConfig
from tristream.streams.encoder import build_encoder
from tristream.streams.errors import UsageError
from tristream.training.networks import SequenceNetwork, StepNetwork, log_probabilities

HeadName = Literal["softmax", "sigmoid", "votes"]
HEADS: tuple[HeadName, ...] = ("softmax", "sigmoid", "votes")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def network_of(head: HeadName, cell: Literal["gru", "mean"] = "gru", dropout: float = 0.0) -> SequenceNetwork:
    config = RecurrentConfig(cell, hidden=3, layers=1, dropout=0.0)
    return SequenceNetwork(None, build_encoder(4, config, 10), 3, head, dropout).eval()


def test_the_loss_of_a_softmax_by_hand() -> None:
    network = network_of("softmax")
    logits, labels = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 4.0]]), torch.tensor([1, 2])
    second = torch.tensor(4.0) - torch.tensor([1.0, 2.0, 4.0]).exp().sum().log()
    loss = network.loss(logits, torch.tensor([3, 3]), labels)
    assert loss.item() == pytest.approx((torch.tensor(3.0).log() - second).item() / 2)
    shares = network.shares(logits, torch.tensor([3, 3]))
    torch.testing.assert_close(shares, logits.softmax(dim=1))
    assert network.classes(logits, torch.tensor([3, 3])).tolist() == [0, 2]


def test_a_sigmoid_is_divided_by_the_sum_as_keras_does() -> None:
    network = network_of("sigmoid")
    logits = torch.tensor([[0.0, 100.0, -100.0], [1.0, 2.0, 4.0]])
    sigmoids = logits.sigmoid()
    expected = sigmoids / sigmoids.sum(dim=1, keepdim=True)
    torch.testing.assert_close(network.shares(logits, torch.tensor([1, 1])), expected)
    torch.testing.assert_close(log_probabilities(logits, "sigmoid").exp(), expected)
    loss = network.loss(logits, torch.tensor([1, 1]), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(-(expected[0, 0].log() + expected[1, 1].log()).item() / 2)
    # A class that a sigmoid rules out has a finite loss all the same.
    assert network.loss(logits, torch.tensor([1, 1]), torch.tensor([2, 2])).isfinite()


def test_voting_steps_lose_each_for_itself() -> None:
    network = network_of("votes")
    logits = torch.full((2, 3, 3), 50.0)  # nonsense in the padding
    logits[0, :1] = torch.tensor([0.0, 0.0, 0.0])
    logits[1, :2] = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    lengths, labels = torch.tensor([1, 2]), torch.tensor([2, 0])
    ruled = torch.tensor([2.0, 0.0, 0.0]).log_softmax(dim=0)
    expected = (torch.tensor(3.0).log() - ruled[0] - ruled[1]) / 3  # over three steps
    assert network.loss(logits, lengths, labels).item() == pytest.approx(expected.item())
    assert network.classes(logits, lengths).tolist() == [0, 0]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("cell", ["gru", "mean"])
def test_padding_never_changes_anything(head: HeadName, cell: Literal["gru", "mean"]) -> None:
    network = network_of(head, cell)
    clips = [torch.randn(length, 4) for length in (5, 2, 1)]
    lengths, labels = torch.tensor([5, 2, 1]), torch.tensor([0, 2, 1])
    padded = torch.full((3, 8, 4), float("nan"))
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip)] = clip
    logits = network(padded, lengths)
    alone = [(network(clip[None], torch.tensor([len(clip)])), torch.tensor([len(clip)])) for clip in clips]
    for index, (own, length) in enumerate(alone):
        mine = logits[index : index + 1]
        if head == "votes":
            assert mine.shape == (1, 8, 3)
            torch.testing.assert_close(mine[:, : int(length)], own)
        else:
            torch.testing.assert_close(mine, own)
        torch.testing.assert_close(network.shares(logits, lengths)[index], network.shares(own, length)[0])
        vector, _ = network.vectors_and_logits(clips[index][None], length)
        vectors, same = network.vectors_and_logits(padded, lengths)
        torch.testing.assert_close(vectors[index], vector[0])
        torch.testing.assert_close(same, logits)
    losses = torch.stack([network.loss(own, length, labels[i : i + 1]) for i, (own, length) in enumerate(alone)])
    weights = lengths.float() if head == "votes" else torch.ones(3)
    expected = (losses * weights).sum() / weights.sum()
    torch.testing.assert_close(network.loss(logits, lengths, labels), expected)


@pytest.mark.parametrize("head", HEADS)
def test_shares_are_probabilities(head: HeadName) -> None:
    network = network_of(head)
    steps, lengths = torch.randn(6, 7, 4) * 5, torch.tensor([7, 1, 3, 2, 7, 5])
    shares = network.shares(network(steps, lengths), lengths)
    assert shares.shape == (6, 3)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(6))
    assert (shares >= 0).all()


def test_steps_cannot_vote_where_there_is_none_to_each() -> None:
    encoder = build_encoder(16 * 16 * 3, RecurrentConfig("convlstm", filters=(2,), dropout=0.0), 4)
    with pytest.raises(UsageError, match="steps can only vote"):
        SequenceNetwork(None, encoder, 2, "votes", 0.0)


class Brightness(nn.Module):
    """A CNN of pictures (B, H, W, 3) uint8: their mean colour, (B, 3)."""

    def forward(self, steps: Tensor) -> Tensor:
        return steps.float().mean(dim=(1, 2))


def test_with_a_cnn_the_steps_are_pictures() -> None:
    encoder = build_encoder(3, RecurrentConfig("mean"), 10)
    network = SequenceNetwork(Brightness(), encoder, 2, "softmax", 0.0).eval()
    pictures, lengths = torch.randint(0, 256, (2, 3, 4, 5, 3), dtype=torch.uint8), torch.tensor([3, 2])
    vectors, _ = network.vectors_and_logits(pictures, lengths)
    torch.testing.assert_close(vectors[1], pictures[1, :2].float().mean(dim=(0, 1, 2)))
    torch.testing.assert_close(network(pictures, lengths), network.head(vectors))


def test_dropout_is_before_the_head_and_in_training_only() -> None:
    network = network_of("softmax", "mean", dropout=0.5)
    steps, lengths = torch.ones(1, 1, 4), torch.tensor([1])
    torch.testing.assert_close(network(steps, lengths), network.head(torch.ones(1, 4)))
    network.train()
    seen = {tuple(network(steps, lengths)[0].tolist()) for _ in range(20)}
    assert len(seen) > 3
    assert len({tuple(network.vectors_and_logits(steps, lengths)[0][0].tolist()) for _ in range(5)}) == 1


def cnn_of() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5))


def test_a_cnn_that_is_fine_tuned_keeps_its_norms() -> None:
    network = StepNetwork(cnn_of(), 5, 2, dropout=0.5, keep_norms=True).train()
    assert (network.training, network.dropout.training) == (True, True)
    assert not any(module.training for module in network.cnn.modules())
    network(torch.randn(8, 4) + 3).sum().backward()
    assert not network.cnn[1].running_mean.any()
    assert network.cnn[0].weight.grad is not None  # it learns all the same
    assert not any(module.training for module in network.eval().modules())


def test_a_cnn_from_scratch_learns_its_norms() -> None:
    network = StepNetwork(cnn_of(), 5, 2, dropout=0.0).train()
    assert all(module.training for module in network.modules())
    logits = network(torch.randn(8, 4) + 3)
    assert logits.shape == (8, 2)
    assert network.cnn[1].running_mean.any()
