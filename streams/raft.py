"""RAFT-small: pictures (H, W, 3) uint8 RGB -> (2, 3, H', W') float [-1, 1], sides padded to 8 -> flow (H, W, 2)."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torchvision.models.optical_flow import Raft_Small_Weights, raft_small

from tristream.streams.errors import ModelError
from tristream.streams.flow import FlowFrame, pictures_of
from tristream.streams.weights import load_weights, read_weights

SIDE_MULTIPLE = 8  # RAFT's features are at 1/8 of the picture
SHORTEST_SIDE = 128  # and are halved three times over: 16 is the least they can be


class RaftEngine:
    """RAFT-small (Teed & Deng 2020) as torchvision has it, with its 12 updates; holds nothing between pairs.

    Args:
        weights: a .safetensors or .npz file with torchvision's names; None for torchvision's own download.
        device: a torch device.

    Raises:
        ModelError: the weights are missing, damaged, of another model, or cannot be downloaded.
    """

    pixel_format: Literal["gray", "rgb24"] = "rgb24"
    needs_motion_vectors = False

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        model = raft_small(weights=None)
        tensors = _downloaded() if weights is None else read_weights(weights)
        load_weights(model, tensors, "torchvision's download" if weights is None else str(weights))
        self._model = model.eval().to(device)
        self._device = device

    def __call__(self, previous: FlowFrame, current: FlowFrame) -> NDArray[np.float32]:
        """Flow (H, W, 2) in pixels from the previous picture to the current one, both (H, W, 3) RGB."""
        pair = torch.from_numpy(np.stack(pictures_of(previous, current, "rgb24"))).to(self._device)
        height, width = pair.shape[1:3]
        scaled = pair.permute(0, 3, 1, 2).float() / 127.5 - 1  # (2, 3, H, W) in [-1, 1]
        padded = F.pad(scaled, (0, _padding(width), 0, _padding(height)), mode="replicate")
        with torch.inference_mode():
            flow = self._model(padded[:1], padded[1:])[-1]  # (1, 2, H', W'), of the last update
        field: NDArray[np.float32] = flow[0, :, :height, :width].permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(field, np.float32)


def _padding(side: int) -> int:
    """Pixels to add to a side."""
    return max(SHORTEST_SIDE, -(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE) - side


def _downloaded() -> dict[str, Any]:
    """torchvision's weights, from its cache or the network, checked against the hash in their name."""
    weights = Raft_Small_Weights.DEFAULT
    try:
        tensors: dict[str, Any] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: the hash is another one
        raise ModelError(
            f"could not download the RAFT weights from {weights.url} ({error}): "
            "pass --flow-weights FILE, a .safetensors file with torchvision's names, or use --flow dis"
        ) from error
    return tensors
