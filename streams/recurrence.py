"""Recurrent layers over clips of different lengths: (B, T, F) and lengths (B,) -> (B, T, D), final states (B, D)."""

import torch
from torch import nn

from tristream.streams.config import RecurrentConfig

CELLS: dict[str, type[nn.GRU] | type[nn.LSTM] | type[nn.RNN]] = {
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "rnn": nn.RNN,
}


class Recurrence(nn.Module):
    """What PyTorch's recurrent layers give for packed sequences, without packing them.

    Each layer and direction is a module of its own. The backward direction reads each clip from its own last
    step on, so padding comes after the clip for both, and is never seen by a state that counts. Packed, the same
    training step of a stacked BiGRU took 1.6 times as long on a CPU, and autocast does not apply to it.

    Attributes:
        output_size: D = hidden units · directions.
    """

    def __init__(self, input_size: int, config: RecurrentConfig) -> None:
        super().__init__()
        directions = 2 if config.bidirectional else 1
        self.output_size = directions * config.hidden
        self.dropout = nn.Dropout(config.dropout)
        sizes = [input_size, *[self.output_size] * (config.layers - 1)]
        cell = CELLS[config.cell]
        self.layers = nn.ModuleList(
            nn.ModuleList(cell(size, config.hidden, batch_first=True) for _ in range(directions)) for size in sizes
        )
        for module in self.modules():
            if isinstance(module, nn.LSTM):
                _keep_one_bias(module)

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The last layer's outputs (B, T, D), those of both directions joined, and its final states (B, D).

        Outputs beyond a clip's length mean nothing. `lengths` (B,) are from 1 to T.
        """
        lengths = lengths.to(steps.device)
        turned = _turned(steps.shape[1], lengths)  # (B, T)
        last = (lengths - 1)[:, None, None]  # (B, 1, 1)
        outputs, states = steps, steps
        for number, layer in enumerate(self.layers):
            inputs = self.dropout(outputs) if number else outputs
            ends, parts = [], []
            for direction, module in enumerate(layer.children()):
                read, _ = module(_in_order(inputs, turned) if direction else inputs)
                ends.append(_at(read, last))
                parts.append(_in_order(read, turned) if direction else read)
            outputs, states = torch.cat(parts, dim=2), torch.cat(ends, dim=1)
        return outputs, states


def _turned(steps: int, lengths: torch.Tensor) -> torch.Tensor:
    """Indices (B, T) that turn each clip round and leave its padding where it is."""
    index = torch.arange(steps, device=lengths.device)[None]  # (1, T)
    return torch.where(index < lengths[:, None], lengths[:, None] - 1 - index, index)


def _in_order(steps: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The steps (B, T, F) in the order of `index` (B, T)."""
    return torch.take_along_dim(steps, index[..., None], dim=1)


def _at(outputs: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The outputs (B, D) at one step (B, 1, 1) of each clip."""
    return torch.take_along_dim(outputs, index, dim=1).squeeze(1)


def _keep_one_bias(lstm: nn.LSTM) -> None:
    """Let one bias vector a gate be trained, as the papers and Keras count them.

    PyTorch has two, that of the input and that of the state, which only ever occur as their sum. The second
    stays, as cuDNN's layout has it, at zero and out of training.
    """
    for name, parameter in lstm.named_parameters():
        if name.startswith("bias_hh"):
            nn.init.zeros_(parameter).requires_grad_(False)
