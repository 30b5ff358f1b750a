"""Weights files in, checked tensors out: safetensors and npz, never a pickle."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from tristream.streams.errors import ModelError


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a `.safetensors` or `.npz` file, by name.

    Raises:
        ModelError: no such file, another kind of file, or a damaged one.
    """
    if not path.is_file():
        raise ModelError(f"no weights file at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (SafetensorError, BadZipFile, zlib.error, ValueError, TypeError, KeyError, OSError, EOFError) as error:
        raise ModelError(f"weights file {path} is damaged: {error}") from error
    raise ModelError(
        f"weights file {path} is neither .safetensors nor .npz: pickled checkpoints can run code and are not "
        "read; convert it with torch.load(..., weights_only=True) and safetensors.torch.save_file"
    )


def load_weights(module: torch.nn.Module, weights: Mapping[str, torch.Tensor], where: str) -> None:
    """Load every tensor of `module` from `weights`, by name; tensors it has no use for are passed over.

    Raises:
        ModelError: a tensor that `module` needs is missing or of another shape; the message names it.
    """
    own = module.state_dict()
    # BatchNorm's count of batches is of no use to inference and absent from converted checkpoints.
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    if missing:
        raise ModelError(f"{where} lacks {len(missing)} of {len(own)} tensors, first {missing[0]!r}: of another model?")
    for name, tensor in own.items():
        if name in weights and weights[name].shape != tensor.shape:
            raise ModelError(f"{where}: {name} has shape {tuple(weights[name].shape)}, needs {tuple(tensor.shape)}")
    module.load_state_dict({name: weights[name] for name in own if name in weights}, strict=False)
