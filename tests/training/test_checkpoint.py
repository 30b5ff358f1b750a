"""A checkpoint gives back what it was given, or says that it cannot."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tristream.streams.errors import ModelError
from tristream.training.checkpoint import Checkpoint

STATE = {"epochs": [{"train_loss": 0.1 + 0.2, "validation_loss": None}], "plateau": {"best": 1e-17}}


def tensors() -> dict[str, Tensor]:
    wide = torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    return {"network.weight": wide, "network.count": torch.tensor(7), "best.none": torch.zeros(0, 3), "twin": wide}


def kept(path: Path, **facts: object) -> Checkpoint:
    checkpoint = Checkpoint(path, dict(facts))
    checkpoint.save_if_due(tensors, lambda: STATE, last=True)
    return checkpoint


def test_it_gives_back_what_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "a.checkpoint"
    assert Checkpoint(path).load() is None
    kept(path, clips=[1, 2])
    read = Checkpoint(path, {"clips": [1, 2]}).load()
    assert read is not None
    assert read[1] == STATE
    assert read[0].keys() == tensors().keys()
    for name, tensor in tensors().items():
        torch.testing.assert_close(read[0][name], tensor, rtol=0, atol=0)
    assert [each.name for each in path.parent.iterdir()] == ["a.checkpoint"]


def test_one_of_other_facts_is_passed_over(tmp_path: Path) -> None:
    kept(tmp_path / "a", clips=[1, 2], seed=0)
    assert Checkpoint(tmp_path / "a", {"seed": 0, "clips": [1, 2]}).load() is not None
    for facts in ({"clips": [1, 2], "seed": 1}, {"clips": [2, 1], "seed": 0}, {"clips": [1, 2]}, {}):
        assert Checkpoint(tmp_path / "a", facts).load() is None


def test_it_is_written_when_it_is_due(tmp_path: Path) -> None:
    path = tmp_path / "a"
    patient = Checkpoint(path, due_seconds=3600)
    patient.save_if_due(tensors, lambda: STATE, last=False)
    assert not path.exists()
    patient.save_if_due(tensors, lambda: STATE, last=True)
    assert path.exists()
    path.unlink()
    Checkpoint(path, due_seconds=0).save_if_due(tensors, lambda: STATE, last=False)
    assert path.exists()


def test_one_that_takes_long_to_write_is_written_the_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def slow_write(path: Path, data: bytes) -> None:
        now[0] += 9
        path.write_bytes(data)

    monkeypatch.setattr("tristream.training.checkpoint.time.monotonic", lambda: now[0])
    monkeypatch.setattr("tristream.training.checkpoint.write_atomically", slow_write)
    path, written = tmp_path / "a", 0
    checkpoint = Checkpoint(path, due_seconds=20, _saved_at=0.0)
    for _ in range(100):  # epochs of 10 s
        now[0] += 10
        checkpoint.save_if_due(tensors, lambda: STATE, last=False)
        written += path.exists()
        path.unlink(missing_ok=True)
    assert written == 1 + (1000 - 20) // (20 * 9)


def test_a_changed_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.checkpoint"
    kept(path, seed=0)
    data, refused = path.read_bytes(), 0
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            read = Checkpoint(path, {"seed": 0}).load()
        except ModelError as error:
            refused += 1
            assert f"{path} is damaged" in str(error)
            assert "remove it to begin anew" in str(error)
        else:  # of other facts, as far as can be told; or it makes no difference
            assert read is None or read[1] == STATE
    assert refused > len(data) / 2


@pytest.mark.parametrize("damage", [b"", b"garbage" * 50, None])
def test_garbage_is_refused(tmp_path: Path, damage: bytes | None) -> None:
    kept(tmp_path / "a")
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-5] if damage is None else damage)
    with pytest.raises(ModelError, match="a is damaged"):
        Checkpoint(tmp_path / "a").load()


def test_where_it_cannot_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="cannot be written"):
        kept(tmp_path / "file" / "a")
