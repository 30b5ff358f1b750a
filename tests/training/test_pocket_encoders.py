"""The formulas that the small model's encoders are taught by, and that encoders come to follow them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tristream.streams.config import RecurrentConfig
from tristream.streams.recurrent import RecurrentEncoder
from tristream.training.checkpoint import Checkpoint
from tristream.training.distilling import cosine_rates
from tristream.training.loop import fit
from tristream.training.pocket_encoders import (
    HALF,
    SPANS,
    Block,
    Formula,
    FormulaTask,
    StreamClips,
    _spans,
    centre_of,
    other_formula,
    picture_formula,
    stream_weights,
    take_scale,
    vectors_of,
)
from tristream.training.recipes import FitConfig, OptimiserConfig

FEATURES = 24


def clips(count: int, seed: int = 0, features: int = FEATURES) -> StreamClips:
    """Clips that differ from each other more than their steps do."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        scene = generator.standard_normal(features) + 2
        steps = (scene + 0.3 * generator.standard_normal((generator.integers(3, 12), features))).astype(np.float32)
        made.append((steps, steps + np.float32(0.01)))
    return StreamClips(tuple(made), generator.standard_normal((50, features)).astype(np.float32) + 2)


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


def test_the_pictures_formula_keeps_their_cosines() -> None:
    pictures = clips(40)
    formula = picture_formula(pictures, seed=0)
    means = pictures.means()
    vectors = formula(means)
    assert vectors.shape == (40, 2 * HALF)
    np.testing.assert_allclose(cosines(vectors), cosines(means - means.mean(axis=0)), atol=1e-4)
    assert np.mean(np.sum(vectors**2, axis=1)) == pytest.approx(1, rel=1e-4)


def test_what_can_be_told_of_the_picture_agrees_with_it() -> None:
    pictures = clips(60)
    picture = picture_formula(pictures, seed=0)
    shown = picture(pictures.means())[:, :HALF]
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((FEATURES, FEATURES)))[0].astype(np.float32)
    sounds = StreamClips(
        tuple((steps @ turn, other @ turn) for steps, other in pictures.clips), pictures.singles @ turn
    )
    told = {index: pictures.clips[index][0] for index in range(0, 60, 2)}  # every second has a picture beside it
    formula = other_formula(sounds, told, picture, [Block(slice(0, FEATURES))], 0.8, seed=2)
    halves = formula(sounds.means())[1::2, :HALF]
    agreement = cosines(np.concatenate([halves, shown[1::2]]))[:30, 30:]
    assert agreement.diagonal().mean() > agreement.mean() + 0.5


def test_encoders_follow_the_formula_at_any_length_and_for_changed_copies(tmp_path: Path) -> None:
    plain = clips(60)
    shift = np.random.default_rng(9).standard_normal(FEATURES).astype(np.float32)  # what a change does to each step
    known = StreamClips(tuple((steps, steps + shift) for steps, _ in plain.clips), plain.singles)
    formula = picture_formula(known, seed=0)
    torch.manual_seed(0)
    encoder = RecurrentEncoder(FEATURES, RecurrentConfig(hidden=HALF, dropout=0.0, centred=True))
    take_scale(encoder, known)
    rates = cosine_rates(3e-3, 10)
    task = FormulaTask(encoder, known, formula, 32, 20)
    config = FitConfig(OptimiserConfig("adam", 3e-3), epochs=10)
    fit(task, config, stage="e", seed=0, checkpoint=Checkpoint(tmp_path / "c.safetensors"), rates=rates)
    encoder.eval()
    wanted = formula(known.means())
    for version in (0, 1):
        for length in (1, 10, 180):
            steps = np.stack([each[version].mean(axis=0) for each in known.clips])[:, None].repeat(length, axis=1)
            with torch.inference_mode():
                given = encoder(torch.from_numpy(steps), torch.full((60,), length)).numpy()
            agreement = cosines(np.concatenate([given, wanted]))[:60, 60:]
            assert agreement.diagonal().mean() > 0.8, (version, length)
            assert np.mean(agreement.argmax(axis=1) == np.arange(60)) > 0.9, (version, length)


def test_half_the_sequences_are_moved_to_where_no_clip_is_and_the_formula_holds_there() -> None:
    known = clips(20)
    known = StreamClips(tuple(versions[:1] for versions in known.clips), known.singles[:0])
    formula = picture_formula(known, seed=0)
    encoder = RecurrentEncoder(FEATURES, RecurrentConfig(hidden=HALF, dropout=0.0))
    task = FormulaTask(encoder, known, formula, 400, 1)
    steps, wanted = next(task.batches(np.random.default_rng(0)))
    np.testing.assert_allclose(formula(steps.mean(dim=1).numpy()), wanted, atol=1e-5)
    every = np.concatenate([versions[0] for versions in known.clips])
    nearest = np.abs(steps[:, :1].numpy() - every).max(axis=2).min(axis=1)
    assert np.mean(nearest > 1e-3) == pytest.approx(0.5, abs=0.08)


def test_what_the_own_half_should_be_counts_by_its_own_loss() -> None:
    known = clips(20)
    formula = picture_formula(known, seed=0)
    encoder = RecurrentEncoder(FEATURES, RecurrentConfig(hidden=HALF, dropout=0.0)).eval()
    losses = []
    for own_loss in (0.0, 0.5):
        task = FormulaTask(encoder, known, formula, 8, 1, own_loss)
        batch = next(task.batches(np.random.default_rng(0)))
        losses.append(task.loss(batch)[0])
    with torch.inference_mode():
        given = encoder(batch[0], torch.full((8,), batch[0].shape[1]))
    own = torch.nn.functional.cosine_similarity(given[:, HALF:], batch[1][:, HALF:]).mean()
    torch.testing.assert_close(losses[1] - losses[0], 0.5 * (1 - own))


def test_scale_is_worked_into_the_weights() -> None:
    known = clips(30)
    config = RecurrentConfig(hidden=8, layers=1, dropout=0.0)
    torch.manual_seed(0)
    plain = RecurrentEncoder(FEATURES, config)
    scaled = RecurrentEncoder(FEATURES, config)
    scaled.load_state_dict(plain.state_dict())
    take_scale(scaled, known)
    rows = np.concatenate([clip[0] for clip in known.clips])
    steps = torch.from_numpy(known.clips[0][0])[None]
    normal = (steps - torch.from_numpy(rows.mean(axis=0))) / torch.from_numpy(rows.std(axis=0))
    lengths = torch.tensor([steps.shape[1]])
    with torch.inference_mode():
        torch.testing.assert_close(scaled(steps, lengths), plain(normal, lengths), atol=1e-4, rtol=1e-4)


def test_the_centre_is_the_mean_of_the_vectors() -> None:
    known = clips(10)
    encoder = RecurrentEncoder(FEATURES, RecurrentConfig(hidden=4, layers=1, dropout=0.0)).eval()
    with torch.inference_mode():
        vectors = [encoder(torch.from_numpy(clip[0])[None], torch.tensor([len(clip[0])])) for clip in known.clips]
    torch.testing.assert_close(centre_of(encoder, known), torch.cat(vectors).mean(dim=0))


def test_a_formula_is_linear() -> None:
    formula = Formula(np.ones(3, np.float32), np.eye(3, 256, dtype=np.float32))
    assert formula(np.array([[1, 2, 3]], np.float32))[0, :4].tolist() == [0, 1, 2, 0]


def test_each_block_of_features_has_its_share_of_each_half() -> None:
    known = clips(60)
    shown = {index: steps for index, (steps, _) in enumerate(clips(60, seed=1).clips)}
    picture = picture_formula(clips(60, seed=1), seed=0)
    blocks = [Block(slice(0, 20), 0.9, 0.2), Block(slice(20, FEATURES), 0.1, 0.8)]
    formula = other_formula(known, shown, picture, blocks, 0.8, seed=2)
    about = known.means() - formula.centre
    own = [about[:, block.columns] @ formula.matrix[block.columns, HALF:] for block in blocks]
    energy = [float(np.sum(part**2)) for part in own]
    assert energy[1] / sum(energy) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("amplitude", [0.3, 0.8])
def test_the_halves_have_the_amplitudes_that_are_asked_for(amplitude: float) -> None:
    known = clips(60)
    shown = {index: steps for index, (steps, _) in enumerate(clips(60, seed=1).clips)}
    picture = picture_formula(clips(60, seed=1), seed=0)
    vectors = other_formula(known, shown, picture, [Block(slice(0, FEATURES))], amplitude, seed=2)(known.means())
    lengths = [np.sqrt(np.mean(np.sum(half**2, axis=1))) for half in (vectors[:, :HALF], vectors[:, HALF:])]
    assert lengths == pytest.approx([amplitude, 1 - amplitude], rel=1e-3)


def test_a_block_without_a_share_tells_nothing_of_the_picture() -> None:
    known = clips(60)
    shown = {index: steps for index, (steps, _) in enumerate(clips(60, seed=1).clips)}
    picture = picture_formula(clips(60, seed=1), seed=0)
    blocks = [Block(slice(0, 20), 1.0, 0.0), Block(slice(20, FEATURES), 0.0, 1.0)]
    matrix = other_formula(known, shown, picture, blocks, 0.8, seed=2).matrix
    assert np.abs(matrix[20:, :HALF]).max() < 1e-6 < np.abs(matrix[:20, :HALF]).max()
    assert np.abs(matrix[:20, HALF:]).max() < 1e-6 < np.abs(matrix[20:, HALF:]).max()


def test_what_is_learned_from_is_of_the_same_time_in_both_streams() -> None:
    times = [np.linspace(0, 1, count, endpoint=False, dtype=np.float32)[:, None] for count in (40, 80)]
    one = StreamClips(((times[0],), (times[0] + 5,)), np.zeros((0, 1), np.float32))
    rows, seen = _spans(one, {1: times[1] + 5}, np.random.default_rng(0))
    assert rows.shape == seen.shape == (SPANS + 1, 1)
    assert rows[0] == pytest.approx(5.4875)
    np.testing.assert_allclose(rows, seen, atol=0.03)
    assert rows.std() > 0.1


def test_streams_count_by_how_little_is_alike_by_chance() -> None:
    generator = np.random.default_rng(0)
    wide, narrow = generator.standard_normal((200, 40)), generator.standard_normal((200, 10))
    weights = stream_weights({"spatial": wide.astype(np.float32), "audio": narrow.astype(np.float32)})
    assert weights["spatial"] == 1
    assert weights["audio"] == pytest.approx(10 / 40, abs=0.03)  # the variance of such cosines is 1 over the dimensions


def test_vectors_are_those_of_the_clips_as_they_are() -> None:
    known = clips(4)
    encoder = RecurrentEncoder(FEATURES, RecurrentConfig(hidden=4, layers=1, dropout=0.0)).eval()
    with torch.inference_mode():
        second = encoder(torch.from_numpy(known.clips[2][0])[None], torch.tensor([len(known.clips[2][0])]))
    torch.testing.assert_close(vectors_of(encoder, known)[2:3], second)
