"""Each recipe is its architecture with the way its paper trains it."""

import pytest

from tristream.fusion import source
from tristream.fusion.assemble import build_parts
from tristream.fusion.source import ModelSource
from tristream.streams.config import to_json
from tristream.streams.errors import UsageError
from tristream.training.networks import SequenceNetwork
from tristream.training.recipes import RECIPES, find_recipe


def test_every_architecture_has_a_way_to_be_trained_and_keeps_its_name() -> None:
    assert {name: recipe.architecture for name, recipe in RECIPES.items()} == source.RECIPES
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert find_recipe(name) is recipe


def test_an_unknown_recipe_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="no recipe 'tkachenko'; there are tkachenko2018, corehar2020, orozco2021"):
        find_recipe("tkachenko")


# What the papers say: optimiser, rate, batch, epochs, head; None where they have no number.
PAPERS = {
    "tkachenko2018": ("sgd", 1e-2, 32, None, "softmax"),  # V.D
    "corehar2020": ("adam", 1e-3, 128, 120, "votes"),  # table 3
    "orozco2021": ("rmsprop", 1e-3, 25, 50, "sigmoid"),  # algorithm 2
    "konakalla": ("adam", 1e-6, None, None, "softmax"),  # 4.3.2
    "lrcn2024": ("adam", 1e-3, None, 50, "softmax"),
    "convlstm2024": ("adam", 1e-3, None, 45, "softmax"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_training_is_that_of_the_paper(name: str) -> None:
    sequence = RECIPES[name].sequence
    fit = sequence.fit
    optimiser, rate, batch_size, epochs, head = PAPERS[name]
    assert (fit.optimiser.name, fit.optimiser.learning_rate, sequence.head) == (optimiser, rate, head)
    assert batch_size in (None, fit.batch_size)
    assert epochs in (None, fit.epochs)


def test_tkachenkos_schedule() -> None:
    fit = RECIPES["tkachenko2018"].sequence.fit
    assert (fit.reduce_after, fit.reduce_factor, fit.lowest_rate, fit.stop_after) == (5, 0.1, 1e-6, 10)
    assert fit.optimiser.momentum == 0.9
    assert RECIPES["konakalla"].sequence.fit.optimiser.decay > 0


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_its_architecture(name: str) -> None:
    """A head of its own is for one stream; votes need outputs at each step; a CNN that is trained, a stream."""
    recipe = RECIPES[name]
    streams = recipe.architecture.streams
    if recipe.classifier not in ("svm", "softmax", "late"):
        assert len(streams) == 1
    assert (recipe.sequence.head == "votes") == (recipe.classifier == "votes")
    if recipe.sequence.head == "votes":
        assert recipe.architecture.spatial is not None
        assert recipe.architecture.spatial.recurrent.per_step
    assert set(recipe.cnn) <= set(streams)
    assert not (recipe.sequence.whole and recipe.cnn)
    assert recipe.sequence.augmentation is None or "spatial" in streams
    to_json(recipe)  # which the folder of a training keeps


@pytest.mark.parametrize(("name", "parameters"), [("lrcn2024", 73_060), ("convlstm2024", 44_524)])
def test_what_is_trained_whole_has_the_papers_parameters_with_four_classes(name: str, parameters: int) -> None:
    recipe = RECIPES[name]
    cnn, encoder = build_parts(ModelSource(name, recipe.architecture, {}))["spatial"]
    assert recipe.sequence.whole
    network = SequenceNetwork(cnn, encoder, 4, recipe.sequence.head, recipe.sequence.dropout)
    assert sum(each.numel() for each in network.parameters() if each.requires_grad) == parameters
