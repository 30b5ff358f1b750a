"""Steps that vote on the class of their clip, and the vectors that carry their votes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tristream.streams.config import RecurrentConfig
from tristream.streams.recurrent import RecurrentEncoder
from tristream.streams.stream import CLIPS_AT_ONCE, Stream, votes


def logits_of(*classes: int, strength: float = 5.0) -> torch.Tensor:
    """Logits (1, T, 3) of steps that vote for these classes."""
    return strength * nn.functional.one_hot(torch.tensor([classes]), 3).float()


def test_shares_counted_by_hand() -> None:
    """Three votes and half a vote for the mean probability: 3.5 in all."""
    logits = logits_of(0, 0, 2)
    means = logits.softmax(dim=2)[0].mean(dim=0)
    expected = (torch.tensor([2.0, 0.0, 1.0]) + 0.5 * means) / 3.5
    torch.testing.assert_close(votes(logits, torch.tensor([3]))[0], expected)


def test_of_equal_votes_the_surer_class_wins() -> None:
    logits = torch.cat([logits_of(0, strength=1.0), logits_of(2, strength=9.0)], dim=1)
    assert votes(logits, torch.tensor([2])).argmax().item() == 2
    assert votes(logits.flip(1), torch.tensor([2])).argmax().item() == 2


def test_one_vote_more_beats_any_certainty() -> None:
    barely, surely = logits_of(1, 1, strength=1e-3), logits_of(0, strength=100.0)
    assert votes(torch.cat([barely, surely], dim=1), torch.tensor([3])).argmax().item() == 1


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(2, 5), st.integers(0, 5), st.integers(0, 99))
def test_shares_add_up_to_one_whatever_the_padding(
    clips: int, steps: int, classes: int, padding: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(clips, steps, classes, generator=generator)
    lengths = torch.randint(1, steps + 1, (clips,), generator=generator)
    shares = votes(logits, lengths)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(clips))
    longer = torch.cat([logits, torch.full((clips, padding, classes), 70.0)], dim=1)
    torch.testing.assert_close(votes(longer, lengths), shares)
    for logit, length, share in zip(logits, lengths, shares, strict=True):
        counts = torch.bincount(logit[:length].argmax(dim=1), minlength=classes)
        assert counts[share.argmax()] == counts.max()  # the majority's class


@pytest.fixture
def encoder() -> RecurrentEncoder:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = RecurrentConfig(hidden=4, layers=1, dropout=0.0, per_step=True)
    return RecurrentEncoder(3, config).eval()


def test_with_a_vote_head_the_votes_follow_the_vector(encoder: RecurrentEncoder) -> None:
    head = nn.Linear(encoder.vector_size, 5)
    clips = [torch.randn(1 + number % 7, 3) for number in range(CLIPS_AT_ONCE + 3)]
    bare = Stream("spatial", lambda steps: steps, encoder).vectors(clips)
    voting = Stream("spatial", lambda steps: steps, encoder, vote_head=head).vectors(clips)
    assert voting.shape == (len(clips), encoder.vector_size + 5)
    torch.testing.assert_close(torch.from_numpy(voting[:, : encoder.vector_size]), torch.from_numpy(bare))
    for clip, shares in zip(clips, voting[:, encoder.vector_size :], strict=True):
        with torch.inference_mode():
            logits = head(encoder.outputs(clip[None], torch.tensor([len(clip)])))
        torch.testing.assert_close(torch.from_numpy(shares), votes(logits, torch.tensor([len(clip)]))[0])


def test_no_clips_have_no_vectors(encoder: RecurrentEncoder) -> None:
    assert Stream("spatial", lambda steps: steps, encoder).vectors([]).shape == (0, encoder.vector_size)
    head = nn.Linear(encoder.vector_size, 5)
    voting = Stream("spatial", lambda steps: steps, encoder, vote_head=head)
    assert voting.vectors([]).shape == (0, encoder.vector_size + 5)
