"""The weights that our own CNNs start from."""

from torch import nn


def start_weights(cnn: nn.Module) -> None:
    """Normal weights that keep a signal's size through ReLUs (He et al. 2015), zero biases."""
    for layer in cnn.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
