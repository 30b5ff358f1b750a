"""The sweep's rows are the paper's Table I, each encoder trained on the same features."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tristream.fusion.config import CONVLSTM2024, TKACHENKO2018
from tristream.fusion.source import ModelSource, find_model
from tristream.streams.config import RecurrentConfig
from tristream.streams.errors import UsageError
from tristream.streams.recurrent import RecurrentEncoder
from tristream.training import extraction, sweep
from tristream.training.cache import FeatureCache
from tristream.training.evaluate import Evaluator
from tristream.training.extraction import Extracted, extract
from tristream.training.sweep import SVM_ROW, TABLE_I, check_sweepable, sweep_recurrent

sys.path.append(str(Path(__file__).parent))
from fake_extraction import InlineWorkers
from made_clips import examples_of, make_clips, quick, tiny_trainer


def test_the_table_is_the_papers() -> None:
    assert len(TABLE_I) == 19
    best = max(TABLE_I, key=lambda row: row[2])
    assert best == (SVM_ROW, TKACHENKO2018.spatial.recurrent if TKACHENKO2018.spatial else None, 79.40, 90.84)
    without_svm = max(TABLE_I[:-1], key=lambda row: row[2])
    assert (without_svm[0], without_svm[1].hidden, without_svm[2]) == ("S. BiGRU", 512, 78.34)
    for name, config, _, _ in TABLE_I:
        assert config.bidirectional == ("Bi" in name)
        assert config.layers == (2 if name.startswith("S. ") else 1)
        assert config.cell == ("gru" if "GRU" in name else "lstm")
        assert (config.attention_heads > 0) == ("attention" in name)
        RecurrentEncoder(16, replace(config, hidden=4))  # can be built


def test_encoders_are_trained_and_measured_on_features_that_are_made_once(
    make_video: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(extraction, "Workers", InlineWorkers)
    clips = make_clips(make_video, tmp_path / "clips", classes=("blue", "green", "red"), count=6)
    known = [each for each in examples_of(clips) if each.label != "blue"]
    settings = quick(tmp_path / "cache", epochs=15)
    tiny_trainer(known, tmp_path / "model", replace(settings, epochs=1), streams=["spatial"]).run()
    evaluator = Evaluator(find_model(tmp_path / "model"), settings, FeatureCache(tmp_path / "cache"))
    seen: list[Extracted] = []

    def counted(*arguments: Any, **named: Any) -> Extracted:
        seen.append(extract(*arguments, **named))
        return seen[-1]

    monkeypatch.setattr(sweep, "extract", counted)
    small = RecurrentConfig(hidden=16)
    rows = (
        ("GRU", replace(small, layers=1), 77.0, 93.0),
        ("S. BiGRU", small, 78.34, 93.51),
        (SVM_ROW, small, 79.4, 90.84),
    )
    monkeypatch.setattr(sweep, "TABLE_I", rows)
    # The model does not know blue: those clips are passed over.
    made = sweep_recurrent(
        evaluator, examples_of(clips, 0, 1, 2, 3), [each for each in known if each.path.stem[-1] in "45"]
    )
    assert [(row.name, row.units, row.paper_top1, row.paper_top5) for row in made] == [
        (name, 16, top1, top5) for name, _, top1, top5 in rows
    ]
    assert sum(each.computed for each in seen) == 4  # blue's alone: the others are there from training
    for row in made:
        assert (row.top1, row.top5) == (1.0, 1.0)
        assert row.parameters > 0
    assert made[1].parameters == made[2].parameters > made[0].parameters
    assert made[1].seconds == made[2].seconds > 0  # one encoder, under another classifier
    # A sweep that is run again trains nothing.
    monkeypatch.setattr(sweep, "SequenceStage", None)
    again = sweep_recurrent(
        evaluator, examples_of(clips, 0, 1, 2, 3), [each for each in known if each.path.stem[-1] in "45"]
    )
    assert again == made


def test_a_model_without_spatial_features_is_refused() -> None:
    for config in (CONVLSTM2024, TKACHENKO2018.with_streams(("audio",))):
        with pytest.raises(UsageError, match="features of a spatial CNN, which model odd has not"):
            check_sweepable(ModelSource("odd", config, {}))
    assert check_sweepable(ModelSource("usual", TKACHENKO2018, {})) == TKACHENKO2018.spatial
