"""A model folder's record of its training is read where there is one, and refused where it is damaged."""

import json
from pathlib import Path

import pytest

from tristream.fusion.config import POCKET
from tristream.fusion.source import ModelSource, find_model
from tristream.streams.errors import ModelError
from tristream.training.record import trained_window_seconds, training_record


@pytest.fixture
def source(tmp_path: Path) -> ModelSource:
    return ModelSource("sports", POCKET, {}, ("archery", "diving"), "svm", tmp_path / "classifier.safetensors")


def test_it_is_read_where_it_is_there(source: ModelSource, tmp_path: Path) -> None:
    written = {"settings": {"seed": 3, "window_seconds": 20.0}, "contents": ["ab12"]}
    (tmp_path / "training.json").write_text(json.dumps(written))
    assert training_record(source) == written
    assert trained_window_seconds(source) == 20.0


def test_where_there_is_none_the_defaults_are_taken(source: ModelSource) -> None:
    for each in (source, find_model("pocket")):
        assert training_record(each) == {"settings": {}, "contents": []}
        assert trained_window_seconds(each) == 36.0


@pytest.mark.parametrize("damage", ["[]", "{", '{"settings": 3}'])
def test_a_damaged_one_is_refused(source: ModelSource, tmp_path: Path, damage: str) -> None:
    (tmp_path / "training.json").write_text(damage)
    with pytest.raises(ModelError, match=r"training\.json is damaged"):
        training_record(source)
