"""Tasks: the batches of an epoch, what is told of them, in which precision, and no thread that is left behind."""

import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tristream.streams.config import RecurrentConfig
from tristream.streams.encoder import build_encoder
from tristream.streams.errors import MediaError, UsageError
from tristream.training.cache import FeatureCache, StepFeatures
from tristream.training.networks import SequenceNetwork, StepNetwork
from tristream.training.sequences import Batch, Clip, SequenceReader
from tristream.training.steps import Footage, Step, StepReader, draw, spread
from tristream.training.tasks import Precision, SequenceTask, StepTask

FILES = 9


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread for thread in threading.enumerate() if thread.name == "tristream-prefetch"] == []


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    """Files of five steps of four numbers each, random but for the first, which is the file's."""
    cache, generator = FeatureCache(tmp_path), np.random.default_rng(0)
    for number in range(FILES):
        values = generator.normal(size=(1, 5, 4)).astype(np.float16)
        values[..., 0] = number
        cache.write(str(number), StepFeatures(values, np.zeros((5, 3)), 1.0))
    return cache


def sequence_task(cache: FeatureCache, held_out: int = 0, dtype: torch.dtype = torch.float32) -> SequenceTask:
    clips = [Clip(str(number), np.arange(5), number % 2) for number in range(FILES)]
    encoder = build_encoder(4, RecurrentConfig(hidden=3, layers=1, dropout=0.0), 10)
    network = SequenceNetwork(None, encoder, 2, "softmax", 0.0)
    return SequenceTask(network, SequenceReader(cache), clips, clips[:held_out], 2, Precision("cpu", dtype))


def step_task(cache: FeatureCache, held_out: int = 0, batch_size: int = 4) -> StepTask:
    footage = [Footage(str(number), 5, number % 2) for number in range(FILES)]
    network = StepNetwork(nn.Sequential(nn.Linear(4, 3), nn.Tanh()), 3, 2, 0.0)
    return StepTask(
        network,
        StepReader(cache, "audio", 0, mirror=False),
        lambda generator: draw(footage, 2, generator),
        spread(footage[:held_out], 3),
        batch_size,
        Precision(),
    )


def files_of(batch: Batch | tuple[Tensor, Tensor]) -> list[int]:
    """The file that each clip or step of a batch is of."""
    steps = batch.steps[:, 0] if isinstance(batch, Batch) else batch[0]
    return [int(number) for number in steps[:, 0]]


# Epochs


def test_an_epoch_of_clips(cache: FeatureCache) -> None:
    task = sequence_task(cache)
    epochs = [[files_of(batch) for batch in task.batches(np.random.default_rng(seed))] for seed in (0, 1, 0)]
    assert [len(batch) for batch in epochs[0]] == [2, 2, 2, 2, 1]
    assert sorted(chain(*epochs[0])) == sorted(chain(*epochs[1])) == list(range(FILES))
    assert epochs[0] == epochs[2]
    assert epochs[0] != epochs[1]


def test_an_epoch_of_steps(cache: FeatureCache) -> None:
    task = step_task(cache)
    epochs = [list(task.batches(np.random.default_rng(seed))) for seed in (0, 1, 0)]
    assert [len(labels) for _, labels in epochs[0]] == [4, 4, 4, 3, 3]
    files = list(chain(*map(files_of, epochs[0])))
    assert sorted(files) == sorted([*range(FILES), *range(FILES)])
    assert files[::2] != sorted(files[::2])  # the two of a file are apart
    for one, other in zip(epochs[0], epochs[2], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert any((one[0] != other[0]).any() for one, other in zip(epochs[0], epochs[1], strict=True))
    for steps, labels in epochs[0]:
        assert (labels == steps[:, 0] % 2).all()


def test_one_step_alone_is_no_batch_to_learn_from_but_one_to_validate_on(cache: FeatureCache) -> None:
    """Batch norm cannot learn from one."""
    for size, expected in ((17, [9, 9]), (1, [])):
        task = step_task(cache, held_out=3, batch_size=size)
        assert [len(labels) for _, labels in task.batches(np.random.default_rng(0))] == expected
    measured = task.validate()
    assert measured is not None
    assert measured.count == 9


# What is told


def test_measured_is_the_sum_over_the_clips(cache: FeatureCache) -> None:
    task = sequence_task(cache, held_out=5)
    task.network.eval()
    loss, hits = 0.0, 0
    for clip in task.held_out:
        steps = SequenceReader(cache).sequence(clip)[None]
        logits = task.network(steps, torch.tensor([5]))
        loss += nn.functional.cross_entropy(logits, torch.tensor([clip.label])).item()
        hits += int(logits.argmax() == clip.label)
    measured = task.validate()
    assert measured is not None
    assert measured.loss == pytest.approx(loss, rel=1e-5)
    assert (measured.hits, measured.count) == (hits, 5)


def test_measured_is_the_sum_over_the_steps(cache: FeatureCache) -> None:
    task = step_task(cache, held_out=5)
    task.network.eval()
    values = [cache.read(step.footage.key).values[0, step.index] for step in task.held_out]
    logits = task.network(torch.from_numpy(np.stack(values)).float())
    labels = torch.tensor([step.footage.label for step in task.held_out])
    measured = task.validate()
    assert measured is not None
    assert measured.loss == pytest.approx(nn.functional.cross_entropy(logits, labels, reduction="sum").item(), rel=1e-5)
    assert (measured.hits, measured.count) == (int((logits.argmax(dim=1) == labels).sum()), 15)


def test_without_a_validation_part_nothing_is_told(cache: FeatureCache) -> None:
    assert sequence_task(cache).validate() is None
    assert step_task(cache).validate() is None


def test_the_loss_leads_back_to_all_weights(cache: FeatureCache) -> None:
    for task in (sequence_task(cache), step_task(cache)):
        with closing(task.batches(np.random.default_rng(0))) as batches:
            loss, measured = task.loss(next(batches))
        assert loss.item() * measured.count == pytest.approx(measured.loss)
        loss.backward()
        assert all(each.grad is not None and each.grad.any() for each in task.network.parameters())


# Precision


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_multiplications_are_in_bfloat16_only_where_that_is_asked_for(cache: FeatureCache, dtype: torch.dtype) -> None:
    task = sequence_task(cache, held_out=3, dtype=dtype)
    seen: list[torch.dtype] = []
    task.network.head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with closing(task.batches(np.random.default_rng(0))) as batches:
        loss, _ = task.loss(next(batches))
    loss.backward()
    assert set(seen) == {dtype}
    task.validate()
    assert seen[-1] == torch.float32  # as clips are embedded
    assert loss.dtype == torch.float32
    assert {each.grad.dtype for each in task.network.parameters() if each.grad is not None} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")


def test_precision_is_chosen_as_embedding_chooses_it() -> None:
    assert Precision.choose("cpu", "float32") == Precision("cpu", torch.float32)
    assert Precision.choose("cpu", "bfloat16").dtype == torch.bfloat16
    with pytest.raises(UsageError, match="device must be"):
        Precision.choose("tpu", "auto")


# Threads


def test_an_epoch_that_is_broken_off_leaves_no_thread(cache: FeatureCache) -> None:
    for task in (sequence_task(cache), step_task(cache)):
        batches = task.batches(np.random.default_rng(0))
        next(batches)
        assert any(thread.name == "tristream-prefetch" for thread in threading.enumerate())
        batches.close()
        assert not any(thread.name == "tristream-prefetch" for thread in threading.enumerate())


def test_a_validation_that_fails_leaves_no_thread(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    task = step_task(cache, held_out=FILES, batch_size=2)
    monkeypatch.setattr(task.network, "forward", lambda steps: 1 / 0)
    with pytest.raises(ZeroDivisionError) as held:  # which holds the frames
        task.validate()
    assert not any(thread.name == "tristream-prefetch" for thread in threading.enumerate())
    del held


def test_an_error_of_the_reader_arrives(cache: FeatureCache) -> None:
    cache.path_of("4").unlink()
    for task in (sequence_task(cache), step_task(cache)):
        with pytest.raises(MediaError, match="run the same command again"):
            list(task.batches(np.random.default_rng(0)))
    task = step_task(cache)
    task.held_out = [Step(Footage("4", 5, 0), 0)]
    with pytest.raises(MediaError):
        task.validate()
