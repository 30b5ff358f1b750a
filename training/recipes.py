"""The six recipes by name: an architecture and the way its paper trains it; needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tristream.fusion.config import (
    CONVLSTM2024,
    COREHAR2020,
    KONAKALLA,
    LRCN2024,
    OROZCO2021,
    TKACHENKO2018,
    ModelConfig,
)
from tristream.streams.config import StreamName
from tristream.streams.errors import UsageError

Head = Literal["softmax", "sigmoid", "votes"]
ClassifierKind = Literal["svm", "softmax", "late", "head", "votes"]


@dataclass(frozen=True)
class OptimiserConfig:
    """How weights are changed; `decay` lowers the rate as Keras does: rate / (1 + decay · updates)."""

    name: Literal["sgd", "adam", "rmsprop"] = "sgd"  # sgd: with Nesterov momentum
    learning_rate: float = 1e-2
    momentum: float = 0.9
    decay: float = 0.0


@dataclass(frozen=True)
class FitConfig:
    """How long a network is trained and when its learning rate falls; the defaults are Tkachenko 2018's (V.D)."""

    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    batch_size: int = 32
    epochs: int = 100  # at most
    reduce_after: int | None = 5  # epochs without a better validation loss; None: the rate stays
    reduce_factor: float = 0.1
    lowest_rate: float = 1e-6
    stop_after: int | None = 10  # epochs without a better validation loss; None: all epochs are run
    # What a loss has to fall by to be better (Keras's `min_delta`): small sets' losses, once all is right, fall by less
    # for a hundred epochs, for nothing.
    min_delta: float = 5e-3


@dataclass(frozen=True)
class Augmentation:
    """Changed copies of each training clip's frames (CoReHAR, 4-4), each frame changed anew."""

    copies: int = 3
    rotation_degrees: float = 5.0
    crop_share: float = 0.875  # of each side; the paper has a crop_size without a number, 224 of 256 is usual
    flip_probability: float = 0.5


@dataclass(frozen=True)
class SequenceTraining:
    """How a stream's recurrent encoder is trained, with a head on top, on the step features of clips."""

    fit: FitConfig = field(default_factory=FitConfig)
    head: Head = "softmax"
    dropout: float = 0.5  # before the head
    whole: bool = False  # the stream's CNN is trained with it, from its pictures on
    augmentation: Augmentation | None = None


@dataclass(frozen=True)
class CNNTraining:
    """How a stream's CNN is trained, with a softmax on top, on single steps drawn from the clips."""

    fit: FitConfig
    steps_per_clip: int  # drawn anew in each epoch
    dropout: float = 0.0  # before the softmax, where the CNN has none of its own there


@dataclass(frozen=True)
class Recipe:
    """A named architecture and the way to train it."""

    name: str
    architecture: ModelConfig
    sequence: SequenceTraining
    classifier: ClassifierKind
    cnn: Mapping[StreamName, CNNTraining] = field(default_factory=dict)


# The paper has Adam with its defaults for the motion CNN (V.D), but at its default rate of 1e-3 the loss leaps to
# hundreds in the first updates and no ReLU of the wide full6 comes back; 1e-4 learns. It has no batch size of its own
# for it: 32 as for the RNNs. How many stacks a clip gives in an epoch is not said either; Simonyan & Zisserman 2014
# draw one a clip at random, which for small data sets makes epochs of a few batches, so four are drawn.
_FROM_SCRATCH = FitConfig(OptimiserConfig("adam", 1e-4), epochs=20, reduce_after=3, stop_after=6)
TKACHENKO_RECIPE = Recipe(
    "tkachenko2018",
    TKACHENKO2018,
    SequenceTraining(),
    "svm",
    {
        "temporal": CNNTraining(_FROM_SCRATCH, steps_per_clip=4),
        "audio": CNNTraining(_FROM_SCRATCH, steps_per_clip=8),
        # Three Inception blocks were fine-tuned without gain (V.B); --fine-tune N asks for it.
        "spatial": CNNTraining(FitConfig(OptimiserConfig(learning_rate=1e-3), epochs=10, stop_after=3), 8, 0.5),
    },
)

# Table 3; 120 epochs, and as 25 % of the data are for testing, those for validation choose the epoch that is kept.
COREHAR_RECIPE = Recipe(
    "corehar2020",
    COREHAR2020,
    SequenceTraining(
        FitConfig(OptimiserConfig("adam", 1e-3), batch_size=128, epochs=120, reduce_after=None, stop_after=None),
        head="votes",
        dropout=0.0,
        augmentation=Augmentation(),
    ),
    "votes",
)

# Algorithm 2; RMSProp with Keras's defaults.
OROZCO_RECIPE = Recipe(
    "orozco2021",
    OROZCO2021,
    SequenceTraining(
        FitConfig(OptimiserConfig("rmsprop", 1e-3), batch_size=25, epochs=50, reduce_after=None, stop_after=None),
        head="sigmoid",
        dropout=0.0,
    ),
    "head",
)

# Section 4.3.2: Adam, 1e-6 "with decay"; the decay is that of the well-known script (see KONAKALLA). At so low a
# rate a network takes hundreds of updates to begin, whatever the epochs; the paper has no number of either.
KONAKALLA_RECIPE = Recipe(
    "konakalla",
    KONAKALLA,
    SequenceTraining(
        FitConfig(
            OptimiserConfig("adam", 1e-6, decay=1e-6),
            batch_size=8,
            epochs=200,
            reduce_after=None,
            stop_after=10,
            min_delta=0.0,  # at so low a rate every fall counts
        )
    ),
    "head",
)

# The Keras models that tables 2 and 3 list train with Adam's defaults, batches of 4 and early stopping after 15
# and 10 epochs; the paper stops at 50 and 45.
LRCN_RECIPE = Recipe(
    "lrcn2024",
    LRCN2024,
    SequenceTraining(
        FitConfig(OptimiserConfig("adam", 1e-3), batch_size=4, epochs=50, reduce_after=None, stop_after=15),
        dropout=0.0,
        whole=True,
    ),
    "head",
)
CONVLSTM_RECIPE = Recipe(
    "convlstm2024",
    CONVLSTM2024,
    SequenceTraining(
        FitConfig(OptimiserConfig("adam", 1e-3), batch_size=4, epochs=45, reduce_after=None, stop_after=10),
        dropout=0.0,
        whole=True,
    ),
    "head",
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        TKACHENKO_RECIPE,
        COREHAR_RECIPE,
        OROZCO_RECIPE,
        KONAKALLA_RECIPE,
        LRCN_RECIPE,
        CONVLSTM_RECIPE,
    )
}


DEFAULT_RECIPE_NAME = TKACHENKO_RECIPE.name


def find_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        UsageError: no such recipe.
    """
    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]
