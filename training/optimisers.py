"""The optimiser and learning-rate schedule that a config names."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR

from tristream.training.recipes import FitConfig, OptimiserConfig

Parameters = Iterable[nn.Parameter]

OPTIMISERS: dict[str, Callable[[Parameters, OptimiserConfig], Optimizer]] = {
    "sgd": lambda parameters, config: SGD(parameters, config.learning_rate, config.momentum, nesterov=True),
    "adam": lambda parameters, config: Adam(parameters, config.learning_rate, fused=True),  # one pass over memory
    # Keras's defaults; PyTorch's own forget more slowly (0.99)
    "rmsprop": lambda parameters, config: RMSprop(parameters, config.learning_rate, alpha=0.9, eps=1e-7),
}


def make_optimiser(network: nn.Module, config: OptimiserConfig) -> Optimizer:
    """The optimiser of all of a network's parameters that are to be trained."""
    return OPTIMISERS[config.name]([each for each in network.parameters() if each.requires_grad], config)


def make_decay(optimiser: Optimizer, config: OptimiserConfig) -> LambdaLR | None:
    """Keras's decay over the updates, or None where the rate has none; a Plateau's rates do not go with it."""
    decay = config.decay
    return LambdaLR(optimiser, lambda updates: 1 / (1 + decay * updates)) if decay else None


class Plateau:
    """Lowers the rate and ends the training where the validation loss does not fall any more (V.D).

    The state is a plain dict, so that it can be kept as JSON.
    """

    def __init__(self, config: FitConfig, state: dict[str, Any] | None = None) -> None:
        self._config = config
        self.state = state or {"best": None, "best_epoch": -1, "since_best": 0, "since_reduced": 0}

    def step(self, loss: float, epoch: int, optimiser: Optimizer) -> bool:
        """Take in an epoch's validation loss; whether it is better than the best by `min_delta`."""
        state = self.state
        better = state["best"] is None or loss < state["best"] - self._config.min_delta
        if better:
            state.update(best=loss, best_epoch=epoch, since_best=0, since_reduced=0)
            return True
        state["since_best"] += 1
        state["since_reduced"] += 1
        patience = self._config.reduce_after
        if patience is not None and state["since_reduced"] >= patience:
            state["since_reduced"] = 0
            for group in optimiser.param_groups:
                lowest = min(self._config.lowest_rate, group["lr"])  # a rate below it is not raised
                group["lr"] = max(group["lr"] * self._config.reduce_factor, lowest)
        return False

    @property
    def ended(self) -> bool:
        """Whether it is time to stop."""
        patience = self._config.stop_after
        return patience is not None and self.state["since_best"] >= patience
