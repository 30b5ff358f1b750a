"""Weights files: what is read, and what is said of files that cannot be."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tristream.streams.errors import ModelError
from tristream.streams.weights import load_weights, read_weights


def test_both_kinds_of_file_hold_the_same_tensors(tmp_path: Path) -> None:
    tensors = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}
    save_file(tensors, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
    for name in ("a.safetensors", "a.npz"):
        read = read_weights(tmp_path / name)
        assert read.keys() == tensors.keys()
        assert all(torch.equal(read[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"no zip file at all", r"a\.npz is damaged"),
        ("a.npz", b"", r"a\.npz is damaged"),
        ("a.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{notjson", r"a\.safetensors is damaged"),
        ("a.pth", b"\x80\x02", "convert it"),
    ],
)
def test_what_is_no_weights_file(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_weights(tmp_path / name)


def test_words_and_pickles_in_an_npz_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "words.npz", a=np.array(["no", "number"]))
    np.savez(tmp_path / "pickle.npz", a=np.array([{}], dtype=object))
    for name in ("words.npz", "pickle.npz", "none.npz"):
        with pytest.raises(ModelError, match=name):
            read_weights(tmp_path / name)


def test_loading_names_what_does_not_fit(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    with pytest.raises(ModelError, match="the file lacks 1 of 2 tensors, first 'bias'"):
        load_weights(module, {"weight": torch.zeros(2, 3)}, "the file")
    with pytest.raises(ModelError, match=r"weight has shape \(2, 4\), needs \(2, 3\)"):
        load_weights(module, {"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, "the file")
    load_weights(module, {"weight": torch.ones(2, 3), "bias": torch.zeros(2), "head": torch.zeros(9)}, "the file")
    assert module(torch.ones(1, 3)).tolist() == [[3.0, 3.0]]
