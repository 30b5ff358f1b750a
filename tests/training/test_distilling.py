"""Pools that are made once, and networks that come to say what a teacher says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tristream.training.checkpoint import Checkpoint
from tristream.training.distilling import Distillation, Pool, cosine_rates, make_pool
from tristream.training.loop import fit
from tristream.training.recipes import FitConfig, OptimiserConfig

TEACHER = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)


def part(number: int) -> tuple[np.ndarray, np.ndarray]:
    inputs = np.random.default_rng(number).standard_normal((64, 6)).astype(np.float32)
    return inputs, (inputs @ TEACHER).astype(np.float16)


def test_a_pool_is_made_once_part_by_part(tmp_path: Path) -> None:
    made: list[int] = []

    def make(number: int) -> tuple[np.ndarray, np.ndarray]:
        made.append(number)
        if len(made) == 3:
            raise KeyboardInterrupt
        return part(number)

    with pytest.raises(KeyboardInterrupt):
        make_pool(tmp_path, 4, make)
    pool = make_pool(tmp_path, 4, make)
    assert made == [0, 1, 2, 2, 3]
    assert len(pool) == 256
    inputs, features = pool.take(np.array([0, 65, 255]))
    for row, number, within in ((0, 0, 0), (1, 1, 1), (2, 3, 63)):
        np.testing.assert_array_equal(inputs[row], part(number)[0][within])
        np.testing.assert_array_equal(features[row], part(number)[1][within])


def test_a_rare_feature_counts_as_if_it_varied(tmp_path: Path) -> None:
    features = np.zeros((100, 2), np.float16)
    features[:, 0] = np.arange(100)
    features[0, 1] = 0.1
    _, deviation = Pool((np.zeros((100, 1)),), (features,)).statistics()
    assert deviation[1] == pytest.approx(0.25 * features.std(axis=0, dtype=np.float64, ddof=1).mean(), rel=0.02)


def test_a_network_learns_what_the_teacher_says(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", 4, part)
    torch.manual_seed(0)
    network = nn.Linear(6, 4)
    task = Distillation(network, pool, lambda inputs: inputs, batch_size=32, batches=8, bfloat16=False)
    rates = cosine_rates(0.05, 20)
    config = FitConfig(OptimiserConfig("adam", 0.05), epochs=20)
    history = fit(task, config, stage="d", seed=0, checkpoint=Checkpoint(tmp_path / "c.safetensors"), rates=rates)
    assert len(history.epochs) == 20
    assert history.epochs[0].train_loss > 0.5 > 0.01 > history.epochs[-1].train_loss
    torch.testing.assert_close(network.weight.detach(), torch.from_numpy(TEACHER.T), atol=0.05, rtol=0.05)


def test_rates_rise_and_fall() -> None:
    rates = cosine_rates(1.0, 10, warm=2)
    assert len(rates) == 10
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.1
