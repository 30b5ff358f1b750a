"""Optimisers and learning rates: what each recipe names, and a schedule counted by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, Adam, RMSprop

from tristream.training.optimisers import Plateau, make_decay, make_optimiser
from tristream.training.recipes import RECIPES, FitConfig, OptimiserConfig


def rates_of(config: FitConfig, losses: list[float]) -> tuple[list[float], list[int]]:
    """The learning rate of each epoch until the training ends, and the epochs that were better."""
    optimiser = make_optimiser(nn.Linear(2, 2), config.optimiser)
    plateau, rates, better = Plateau(config), [], []
    for epoch, loss in enumerate(losses):
        rates.append(optimiser.param_groups[0]["lr"])
        if plateau.step(loss, epoch, optimiser):
            better.append(epoch)
        if plateau.ended:
            break
    return rates, better


def test_the_papers_schedule() -> None:
    """A tenth of the rate after five epochs without a better loss, the end after ten (V.D)."""
    losses = [1.0, 0.8, *[0.9] * 4, 0.7, *[0.75] * 20]
    rates, better = rates_of(FitConfig(), losses)
    assert better == [0, 1, 6]
    assert rates == pytest.approx([1e-2] * 12 + [1e-3] * 5)  # the 6th is better than the 1st; 7 to 11, 12 to 16 are not


def test_epochs_since_the_rate_fell_are_counted_anew() -> None:
    rates, _ = rates_of(FitConfig(stop_after=None), [1.0] * 30)
    steps = [1e-2] * 6 + [1e-3] * 5 + [1e-4] * 5 + [1e-5] * 5 + [1e-6] * 9  # 1e-6 is the floor
    assert rates == pytest.approx(steps)


def test_a_rate_below_the_floor_is_not_raised() -> None:
    config = FitConfig(OptimiserConfig(learning_rate=1e-7), stop_after=None)
    assert rates_of(config, [1.0] * 12)[0] == pytest.approx([1e-7] * 12)


def test_a_loss_has_to_fall_by_something() -> None:
    slow = [1.0 - FitConfig().min_delta * 0.3 * epoch for epoch in range(8)]
    assert rates_of(FitConfig(), slow)[1] == [0, 4]  # it is the fall since the best one that counts
    assert rates_of(FitConfig(), [1.0, float("nan"), 0.9, float("inf")])[1] == [0, 2]


def test_without_patience_the_rate_stays_and_all_epochs_are_run() -> None:
    config = FitConfig(reduce_after=None, stop_after=None)
    assert rates_of(config, [1.0] * 40)[0] == [1e-2] * 40


@given(st.lists(st.floats(0, 2), min_size=1, max_size=60), st.integers(0, 59))
def test_a_state_that_was_kept_goes_on_as_it_would_have(losses: list[float], at: int) -> None:
    config = FitConfig(stop_after=None)
    whole = make_optimiser(nn.Linear(1, 1), config.optimiser)
    plateau = Plateau(config)
    other, resumed = make_optimiser(nn.Linear(1, 1), config.optimiser), Plateau(config)
    for epoch, loss in enumerate(losses):
        plateau.step(loss, epoch, whole)
        resumed.step(loss, epoch, other)
        if epoch == at:
            resumed = Plateau(config, dict(resumed.state))
    assert plateau.state == resumed.state
    assert whole.param_groups[0]["lr"] == other.param_groups[0]["lr"]


def test_keras_decay() -> None:
    config = OptimiserConfig("adam", 1e-2, decay=0.5)
    optimiser = make_optimiser(nn.Linear(2, 2), config)
    decay = make_decay(optimiser, config)
    assert decay is not None
    rates = []
    for _ in range(4):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        decay.step()
    assert rates == pytest.approx([1e-2, 1e-2 / 1.5, 1e-2 / 2, 1e-2 / 2.5])
    assert make_decay(optimiser, OptimiserConfig("adam", 1e-2)) is None


def test_the_recipes_optimisers() -> None:
    network = nn.Linear(2, 2)
    kinds = {name: type(make_optimiser(network, recipe.sequence.fit.optimiser)) for name, recipe in RECIPES.items()}
    assert kinds == {
        "tkachenko2018": SGD,
        "corehar2020": Adam,
        "orozco2021": RMSprop,
        "konakalla": Adam,
        "lrcn2024": Adam,
        "convlstm2024": Adam,
    }
    (sgd,) = make_optimiser(network, RECIPES["tkachenko2018"].sequence.fit.optimiser).param_groups
    assert (sgd["lr"], sgd["momentum"], sgd["nesterov"], sgd["weight_decay"]) == (1e-2, 0.9, True, 0)


def test_rmsprop_is_that_of_keras() -> None:
    """One update from rest: the gradient divided by its own size, times 1 / sqrt(1 - 0.9)."""
    network = nn.Linear(1, 1, bias=False)
    before = network.weight.item()
    network.weight.grad = torch.full_like(network.weight, 3.0)
    make_optimiser(network, OptimiserConfig("rmsprop", 1e-3)).step()
    assert before - network.weight.item() == pytest.approx(1e-3 / 0.1**0.5, rel=1e-4)


def test_frozen_parameters_are_left_alone() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    network[0].requires_grad_(False)
    (group,) = make_optimiser(network, OptimiserConfig()).param_groups
    assert [id(each) for each in group["params"]] == [id(each) for each in network[1].parameters()]
