"""Settings change a recipe where they say so, and refuse what cannot be before anything is done."""

import math
from typing import Any

import pytest

from tristream.streams.errors import UsageError
from tristream.training.recipes import RECIPES, TKACHENKO_RECIPE
from tristream.training.settings import TrainSettings


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_by_default_a_recipe_stays_as_it_is(recipe: Any) -> None:
    assert TrainSettings().of_recipe(recipe) == recipe


def test_each_choice_changes_its_own() -> None:
    recipe = TrainSettings(epochs=7, batch_size=5, learning_rate=0.5).of_recipe(TKACHENKO_RECIPE)
    fit, before = recipe.sequence.fit, TKACHENKO_RECIPE.sequence.fit
    assert (fit.epochs, fit.batch_size, fit.optimiser.learning_rate) == (7, 5, 0.5)
    assert (fit.optimiser.name, fit.optimiser.momentum) == ("sgd", 0.9)
    assert (fit.reduce_after, fit.stop_after) == (before.reduce_after, before.stop_after)
    assert recipe.cnn == TKACHENKO_RECIPE.cnn
    recipe = TrainSettings(cnn_epochs=3).of_recipe(TKACHENKO_RECIPE)
    assert recipe.sequence == TKACHENKO_RECIPE.sequence
    assert {each.fit.epochs for each in recipe.cnn.values()} == {3}
    assert {each.fit.optimiser.name for each in recipe.cnn.values()} == {"adam", "sgd"}
    assert TrainSettings(classifier="late").of_recipe(TKACHENKO_RECIPE).classifier == "late"


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "tkachenko2018"])
def test_a_recipe_with_a_head_of_its_own_takes_no_fusion(name: str) -> None:
    with pytest.raises(UsageError, match=f"--classifier chooses how streams are fused; {name} has one stream"):
        TrainSettings(classifier="svm").of_recipe(RECIPES[name])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epochs": 0}, "--epochs must be at least 1, got 0"),
        ({"batch_size": -3}, "--batch-size must be at least 1, got -3"),
        ({"cnn_epochs": 0}, "--cnn-epochs must be at least 1, got 0"),
        ({"jobs": 0}, "--jobs must be at least 1, got 0"),
        ({"fine_tune": -1}, "--fine-tune must be 0 or more blocks, got -1"),
        ({"learning_rate": 0.0}, "--learning-rate must be a positive number, got 0.0"),
        ({"learning_rate": math.inf}, "--learning-rate must be a positive number, got inf"),
        ({"learning_rate": math.nan}, "--learning-rate must be a positive number, got nan"),
        ({"cache_gigabytes": 0.0}, "--cache-size must be a positive number, got 0.0"),
        ({"cache_gigabytes": math.nan}, "--cache-size must be a positive number, got nan"),
        ({"cache_gigabytes": math.inf}, "--cache-size must be a positive number, got inf"),
        ({"timeout_seconds": -1.0}, "--timeout must be a positive number, got -1.0"),
        ({"seed": -1}, "--seed must be from 0 to 4294967295, got -1"),
        ({"seed": 2**32}, "--seed must be from 0 to 4294967295, got 4294967296"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=f"^{said}$"):
        TrainSettings(**wrong).of_recipe(TKACHENKO_RECIPE)


def test_a_cache_without_a_limit_is_allowed() -> None:
    assert TrainSettings(cache_gigabytes=None, seed=2**32 - 1).of_recipe(TKACHENKO_RECIPE) == TKACHENKO_RECIPE
