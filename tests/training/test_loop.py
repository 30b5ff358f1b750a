"""The loop learns, keeps the best epoch, and ends where it would have however often it is stopped."""

import json
import math
import multiprocessing
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tristream.streams.errors import ModelError
from tristream.training.checkpoint import Checkpoint
from tristream.training.loop import Measured, Progress, fit, seed_of
from tristream.training.recipes import FitConfig, OptimiserConfig

sys.path.append(str(Path(__file__).parent))  # the processes below are given this path
from fake_training import OPTIMISERS, Points, PointTask, points_of, train, train_in_a_process

pytestmark = pytest.mark.usefixtures("one_thread")


class Stopped(Exception):
    """What ends a run in the middle."""


def weights_of(task: PointTask) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in task.network.state_dict().items()}


def assert_same_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=0)


# Learning


def test_two_classes_apart_are_learnt(tmp_path: Path) -> None:
    task = PointTask(learn=points_of(200, 1, noise=0), held_out=points_of(100, 2, noise=0))
    history = train(task, "adam", tmp_path / "checkpoint", epochs=30)
    first, last = history.epochs[0], history.epochs[-1]
    assert last.train_loss < first.train_loss / 2
    assert last.validation_accuracy is not None
    assert last.validation_accuracy >= 0.97
    assert not task.network.training


def test_the_weights_kept_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    task = PointTask(learn=points_of(24, 1, noise=0.3))  # soon learnt by heart
    config = FitConfig(OptimiserConfig("adam", 0.02), epochs=60, reduce_after=None, stop_after=None)
    history = fit(task, config, stage="a", seed=0, checkpoint=Checkpoint(tmp_path / "checkpoint"))
    losses = list(task.validated)
    assert [epoch.validation_loss for epoch in history.epochs] == losses
    assert history.best is not None
    assert 0 < history.best < 59
    assert losses[history.best] <= min(losses) + FitConfig().min_delta
    assert losses[history.best] < losses[-1] - 0.01
    task.validate()
    assert task.validated[-1] == pytest.approx(losses[history.best], abs=1e-7)


def test_without_a_validation_part_all_epochs_are_run_and_the_last_is_kept(tmp_path: Path) -> None:
    task = PointTask(held_out=None)
    history = train(task, "sgd", tmp_path / "checkpoint", epochs=7)
    assert len(history.epochs) == 7
    assert history.best == 6
    assert {epoch.learning_rate for epoch in history.epochs} == {1e-2}
    assert {epoch.validation_loss for epoch in history.epochs} == {None}


def test_an_epoch_tells_the_mean_over_its_examples(tmp_path: Path) -> None:
    seen: list[Progress] = []
    task = PointTask(learn=points_of(20, 1))  # a batch of 16 and one of 4
    config = FitConfig(OptimiserConfig("sgd", 1e-9), epochs=2)
    task.network.train(False)
    expected = task.loss(task.learn)[1]
    torch.nn.Module.train(task.network, True)
    for module in task.network:
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.Dropout):
            module.train = lambda mode=True, own=module: own  # type: ignore[method-assign]
            module.training = False
    fit(task, config, stage="a", seed=0, checkpoint=Checkpoint(tmp_path / "checkpoint"), on_epoch=seen.append)
    assert [len(progress.epochs) for progress in seen] == [1, 2]
    assert (seen[0].stage, seen[0].most_epochs) == ("a", 2)
    assert seen[0].epochs[0].train_loss == pytest.approx(expected.loss / 20, abs=1e-5)
    assert seen[0].epochs[0].train_accuracy == expected.hits / 20


def test_rates_that_are_given_are_run_again_without_validation(tmp_path: Path) -> None:
    task, rates = PointTask(), [1e-2, 1e-2, 1e-3]
    config = FitConfig(OPTIMISERS["sgd"], epochs=99, reduce_after=1, stop_after=1)
    history = fit(task, config, stage="a", seed=0, checkpoint=Checkpoint(tmp_path / "c"), rates=rates)
    assert [epoch.learning_rate for epoch in history.epochs] == rates
    assert history.best == 2
    assert task.validated == []


def test_each_epoch_draws_anew_and_each_seed_its_own(tmp_path: Path) -> None:
    orders: list[tuple[int, ...]] = []

    class Recording(PointTask):
        def batches(self, generator: np.random.Generator) -> Generator[Points, None, None]:
            orders.append(tuple(generator.permutation(9).tolist()))
            yield from super().batches(generator)

    for number, (stage, seed) in enumerate([("a", 0), ("a", 0), ("a", 1), ("b", 0)]):
        config = FitConfig(epochs=3)
        fit(Recording(), config, stage=stage, seed=seed, checkpoint=Checkpoint(tmp_path / str(number)))
    assert orders[:3] == orders[3:6]
    assert len(set(orders)) == 9
    assert seed_of(0, "a", 1) == 37_165_997_948_464_515  # the same on every machine


def test_a_loss_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    task = PointTask()
    config = FitConfig(OptimiserConfig("sgd", 1e30), epochs=9)
    with pytest.raises(ModelError, match=r"points: the loss became (nan|inf) in epoch \d: a lower --learning-rate"):
        fit(task, config, stage="points", seed=0, checkpoint=Checkpoint(tmp_path / "checkpoint"))
    points, sides = points_of(40, 2)
    task = PointTask(held_out=(points * math.nan, sides))
    with pytest.raises(ModelError, match="the loss became nan in epoch 0"):
        train(task, "sgd", tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()


def test_nothing_to_learn_from_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing to learn from"):
        train(PointTask(learn=points_of(0, 1)), "sgd", tmp_path / "checkpoint")


def test_an_epoch_that_is_broken_off_closes_its_batches(tmp_path: Path) -> None:
    closed: list[bool] = []

    class Breaking(PointTask):
        def batches(self, generator: np.random.Generator) -> Generator[Points, None, None]:
            try:
                yield from super().batches(generator)
            finally:
                closed.append(True)

        def loss(self, batch: Points) -> tuple[Tensor, Measured]:
            raise Stopped

    with pytest.raises(Stopped) as held:  # which holds the frames of the run
        train(Breaking(), "sgd", tmp_path / "checkpoint")
    assert closed == [True]
    del held


# Being stopped


def stopped_after(epochs: int) -> type[PointTask]:
    """A task that ends in the middle of the epoch after so many."""

    class Stopping(PointTask):
        def loss(self, batch: Points) -> tuple[Tensor, Measured]:
            if len(self.validated) >= epochs:
                raise Stopped
            return super().loss(batch)

    return Stopping


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_run_that_goes_on_ends_as_one_that_was_never_stopped(tmp_path: Path, optimiser: str) -> None:
    whole = PointTask()
    expected = train(whole, optimiser, tmp_path / "whole")
    path = tmp_path / "stopped"
    for epochs in (1, 4, 3):  # epochs that each run gets done
        with pytest.raises(Stopped):
            train(stopped_after(epochs)(), optimiser, path)
    resumed = PointTask()
    history = train(resumed, optimiser, path)
    assert history == expected
    assert len(resumed.validated) == 12 - 8
    assert_same_weights(weights_of(resumed), weights_of(whole))
    if optimiser == "adam with decay":
        assert [epoch.learning_rate for epoch in history.epochs[:3]] == pytest.approx(
            [3e-3, 3e-3 / 1.15, 3e-3 / 1.3]  # three updates an epoch
        )
    again = PointTask()  # there is nothing left to do
    assert train(again, optimiser, path) == expected
    assert again.validated == []
    assert_same_weights(weights_of(again), weights_of(whole))


def test_what_was_used_up_stays_used_up(tmp_path: Path) -> None:
    """The rate and the patience of a schedule go on where they were."""
    config = FitConfig(OptimiserConfig("sgd", 1e-9), epochs=50, reduce_after=3, stop_after=7)
    whole = fit(PointTask(), config, stage="a", seed=0, checkpoint=Checkpoint(tmp_path / "whole"))
    assert [round(math.log10(epoch.learning_rate)) for epoch in whole.epochs] == [-9] * 8
    config = FitConfig(OptimiserConfig("sgd", 1e-9), epochs=50, reduce_after=3, stop_after=7, lowest_rate=0)
    checkpoint = Checkpoint(tmp_path / "stopped", due_seconds=0)
    with pytest.raises(Stopped):
        fit(stopped_after(5)(), config, stage="a", seed=0, checkpoint=checkpoint)
    history = fit(PointTask(), config, stage="a", seed=0, checkpoint=checkpoint)
    assert [round(math.log10(epoch.learning_rate)) for epoch in history.epochs] == [-9] * 4 + [-10] * 3 + [-11]


def test_killed_at_random_and_begun_again(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tristream.training.loop"])  # PyTorch once, not for each process
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    train_in_a_process(str(whole), "adam")
    chance, kills = np.random.default_rng(0), 0
    while not (killed / "told.json").exists():
        process = context.Process(target=train_in_a_process, args=(str(killed), "adam"))
        process.start()
        if kills < 3:
            _wait_for_a_change(killed / "points.checkpoint", process)
            time.sleep(chance.uniform(0, 0.02))
            process.kill()
        process.join()
        kills += process.exitcode != 0
        assert kills <= 3
    assert kills >= 2
    expected, told = (json.loads((folder / "told.json").read_text()) for folder in (whole, killed))
    assert told == expected
    assert len(told["history"]["epochs"]) == 30


def _wait_for_a_change(path: Path, process: Any) -> None:
    """Until a process that was just begun has written its checkpoint anew."""
    before = path.stat().st_mtime_ns if path.exists() else None
    while process.is_alive() and (not path.exists() or path.stat().st_mtime_ns == before):
        time.sleep(0.001)
