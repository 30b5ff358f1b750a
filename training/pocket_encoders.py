"""The recurrent encoders of the small model, taught to say of a clip what a formula says of the mean of its steps.

means (N, F) of clips -> Formula (F,) -> (256,); sequences (B, T, F) of real and made clips -> encoder -> the same

The formula is linear and is found in closed form. The first half of its vector is what the clip's picture shows: of a
picture its principal components, of motion and sound what can be told of those by ridge regression (Gupta et al. 2016,
"Cross modal distillation for supervision transfer", with a formula in the student's place). So the halves of different
streams stand in one space, and agree where one can be told from the other. The second half is the stream's own:
principal components. No label is looked at.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from torch.nn import functional

from tristream.streams.config import StreamName
from tristream.streams.recurrence import Recurrence
from tristream.streams.recurrent import RecurrentEncoder
from tristream.training.distilling import LEAST_DEVIATION_SHARE
from tristream.training.loop import Measured

Floats = NDArray[np.float32]
HALF = 128  # units of a direction
RIDGE = 0.02  # of a row, where the mean square of what is told from is 1
SPANS = 10  # of a clip, besides the whole, from which it is learned what motion and sound tell of the picture
MOST_STEPS = 180
MOVED_SHARE = 0.5  # of the sequences
TURNING_SHARE = 0.2  # of them that are single steps
LEAST_LENGTH = 1e-9


@dataclass(frozen=True)
class Formula:
    """The vector (256,) of the mean (F,) of a clip's steps: (mean - centre) @ matrix."""

    centre: Floats
    matrix: Floats  # (F, 256)

    def __call__(self, means: Floats) -> Floats:
        """The vectors (N, 256) of means (N, F)."""
        return np.asarray((means - self.centre) @ self.matrix, np.float32)


@dataclass(frozen=True)
class StreamClips:
    """A stream's training clips: the step features (T, F) of each, in several versions, and single steps (N, F).

    The first version is the clip as it is, the others are changed copies, step for step.
    """

    clips: tuple[tuple[Floats, ...], ...]
    singles: Floats

    def means(self) -> Floats:
        """The mean of each clip as it is, (N, F)."""
        return np.stack([versions[0].mean(axis=0) for versions in self.clips])


def picture_formula(pictures: StreamClips, seed: int) -> Formula:
    """The principal components of pictures, half of them those of clips, half of single made and mixed ones."""
    means = pictures.means()
    centre = means.mean(axis=0)
    axes = _axes([means, pictures.singles], 2 * HALF)
    scale = _length((means - centre) @ axes)
    turned = [axes[:, :HALF] @ _turn(seed), axes[:, HALF:] @ _turn(seed + 1)]  # so that no unit has to say it all
    return Formula(centre, np.asarray(np.concatenate(turned, axis=1) / scale, np.float32))


@dataclass(frozen=True)
class Block:
    """Some of a stream's features, and the share of the variance that each half of the formula gives them."""

    columns: slice
    of_shared: float = 1.0
    of_own: float = 1.0


def other_formula(
    clips: StreamClips,
    pictures: Mapping[int, Floats],
    picture: Formula,
    blocks: Sequence[Block],
    shared_amplitude: float,
    seed: int,
) -> Formula:
    """The formula of motion or sound.

    Args:
        pictures: the step features (T, F) of the pictures of some of the clips, by their place among these.
        picture: the formula of the pictures.
        blocks: of the features.
        shared_amplitude: of the first half of the vectors, from 0 to 1; that of the second is what is left of 1.
    """
    means = clips.means()
    centre = means.mean(axis=0)
    about = means - centre
    weight = _weights(about, [(block.columns, block.of_shared) for block in blocks])
    rows, seen = _spans(clips, pictures, np.random.default_rng(seed))
    shown = picture(seen)[:, :HALF]
    ridge = Ridge(RIDGE * len(rows) / len(pictures), fit_intercept=False)
    told = ridge.fit((rows - centre) * weight, shown - shown.mean(axis=0))
    shared = weight[:, None] * told.coef_.T  # (F, 128)
    weight = _weights(about, [(block.columns, block.of_own) for block in blocks])
    own = weight[:, None] * (_axes([about * weight, (clips.singles - centre) * weight], HALF) @ _turn(seed))
    shared *= shared_amplitude / _length(about[list(pictures)] @ shared)
    own *= (1 - shared_amplitude) / _length(about @ own)
    return Formula(centre, np.concatenate([shared, own], axis=1).astype(np.float32))


def _spans(clips: StreamClips, pictures: Mapping[int, Floats], generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Means of the steps (R, F) of clips and of spans of them, and of their pictures (R, F') at the same time."""
    rows, seen = [], []
    for index, shown in pictures.items():
        steps = clips.clips[index][0]
        lengths = np.exp(generator.uniform(-log(len(steps)), 0, SPANS))  # as shares of the clip, down to one step
        begins = generator.uniform(0, 1 - lengths)
        spans = [(0.0, 1.0), *zip(begins, begins + lengths, strict=True)]
        rows += [_mean_of(steps, *span) for span in spans]
        seen += [_mean_of(shown, *span) for span in spans]
    return np.stack(rows), np.stack(seen)


def _mean_of(steps: Floats, begin: float, end: float) -> Floats:
    """The mean (F,) of the steps (T, F) between two shares of a clip, of one at least."""
    first = min(int(begin * len(steps)), len(steps) - 1)
    return np.asarray(steps[first : max(ceil(end * len(steps)), first + 1)].mean(axis=0))


def _weights(rows: Floats, shares: Sequence[tuple[slice, float]]) -> Floats:
    """What to multiply features (F,) by, so that each block has its share of the variance of rows (N, F)."""
    weight = np.ones(rows.shape[1], np.float32)
    for columns, share in shares:
        weight[columns] = share**0.5 / _length(rows[:, columns])
    return weight


def _axes(sets: Sequence[Floats], count: int) -> Floats:
    """The principal axes (F, count) of sets of rows, each of which counts as much as the others; none for an empty."""
    about = [each - each.mean(axis=0) for each in sets if len(each)]
    rows = np.concatenate([each / (_length(each) * len(each) ** 0.5) for each in about])
    found = PCA(min(count, len(rows) - 1, rows.shape[1]), svd_solver="covariance_eigh").fit(rows).components_.T
    return np.pad(found, ((0, 0), (0, count - found.shape[1]))).astype(np.float32)


def _length(rows: NDArray[np.floating]) -> float:
    """The root of the mean square of the lengths of rows; never 0, as it is divided by."""
    return max(float(np.sqrt(np.mean(np.sum(rows.astype(np.float64) ** 2, axis=1)))), LEAST_LENGTH)


def _turn(seed: int) -> Floats:
    """A rotation (128, 128)."""
    drawn = torch.randn(HALF, HALF, generator=torch.Generator().manual_seed(seed))
    return np.asarray(torch.linalg.qr(drawn).Q.numpy())


class FormulaTask:
    """A task for `loop.fit`: the encoder's vectors are to point where the formula's do.

    Sequences of 1 to 180 steps, all lengths alike on a logarithmic scale: spans of one clip or of several after each
    other, in any version, thinned at random; and single steps that turn into each other. What the formula is given is
    the plain version's mean, so that crops, light, loudness and encoding are learned to be of no account. Half of them
    are moved as a whole by some of what tells two other steps apart, since the formula holds everywhere and the clips
    are few.

    Args:
        own_loss: how much the own halves count besides, which in the whole hardly do.
    """

    def __init__(
        self,
        encoder: RecurrentEncoder,
        clips: StreamClips,
        formula: Formula,
        batch_size: int,
        batches: int,
        own_loss: float = 0.0,
    ) -> None:
        self.network: nn.Module = encoder
        self._own_loss = own_loss
        self._clips, self._formula = clips, formula
        self._batch_size, self._batches = batch_size, batches

    def batches(self, generator: np.random.Generator) -> Generator[tuple[Tensor, Tensor], None, None]:
        """The batches of an epoch."""
        for _ in range(self._batches):
            length = round(np.exp(generator.uniform(0, log(MOST_STEPS))))
            drawn = [self._draw(length, generator) for _ in range(self._batch_size)]
            steps = np.stack([steps for steps, _ in drawn])
            means = np.stack([mean for _, mean in drawn])
            yield torch.from_numpy(steps), torch.from_numpy(self._formula(means))

    def _draw(self, length: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
        """A sequence (T, F), and the mean (F,) of what it is a version of."""
        turns = len(self._clips.singles) and generator.random() < TURNING_SHARE
        steps, mean = (self._turning_step if turns else self._clip_spans)(length, generator)
        if generator.random() < MOVED_SHARE:
            move = generator.random(dtype=np.float32) * (self._step(generator) - self._step(generator))
            steps, mean = steps + move, mean + move
        return steps, mean

    def _step(self, generator: np.random.Generator) -> Floats:
        """Any step (F,), of a clip or single."""
        clip = self._clips.clips[generator.integers(len(self._clips.clips))][0]
        steps = self._clips.singles if len(self._clips.singles) and generator.random() < 0.5 else clip
        return np.asarray(steps[generator.integers(len(steps))])

    def _turning_step(self, length: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
        """A single step that turns into another (T, F), and the mean (F,)."""
        first, last = self._clips.singles[generator.integers(len(self._clips.singles), size=2)]
        share = np.linspace(generator.random(), generator.random(), length, dtype=np.float32)[:, None]
        steps = (1 - share) * first + share * last
        return steps, steps.mean(axis=0)

    def _clip_spans(self, length: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
        """Spans of clips (T, F), in any version, and the mean (F,) of the plain one."""
        pieces, plain = [], []
        for part in np.array_split(np.arange(length), int(generator.choice([1, 1, 1, 2, 3]))):
            versions = self._clips.clips[generator.integers(len(self._clips.clips))]
            first, last = np.sort(generator.integers(0, len(versions[0]), 2))
            chosen = np.sort(generator.integers(first, last + 1, len(part)))
            pieces.append(versions[generator.integers(len(versions))][chosen])
            plain.append(versions[0][chosen])
        return np.concatenate(pieces), np.concatenate(plain).mean(axis=0)

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Measured]:
        """One minus the mean cosine, and of the own halves; how many have their own formula's vector the nearest."""
        steps, wanted = batch
        lengths = torch.full((len(steps),), steps.shape[1])
        given = self.network(steps, lengths)
        cosines = functional.normalize(given) @ functional.normalize(wanted).mT
        loss = 1 - cosines.diagonal().mean()
        if self._own_loss:
            own = functional.cosine_similarity(given[:, HALF:], wanted[:, HALF:])
            loss = loss + self._own_loss * (1 - own.mean())
        hits = int((cosines.argmax(dim=1) == torch.arange(len(cosines))).sum())
        return loss, Measured(loss.item() * len(steps), hits, len(steps))

    def validate(self) -> None:
        """The rates are set from the start: there is nothing to decide."""


@torch.no_grad()
def take_scale(encoder: RecurrentEncoder, clips: StreamClips) -> None:
    """Let the first layers of an untrained encoder see features as if each had mean 0 and deviation 1.

    It is worked into their weights, so that the encoder stays one that takes features as they are.
    """
    rows = np.concatenate([clip[0] for clip in clips.clips])
    deviation = rows.std(axis=0)
    scale = torch.from_numpy(np.maximum(deviation, LEAST_DEVIATION_SHARE * deviation.mean())).float()
    mean = torch.from_numpy(rows.mean(axis=0)).float()
    first = cast(Recurrence, encoder.recurrence).layers[0]
    for layer in cast(nn.ModuleList, first):
        weight, bias = cast(Tensor, layer.weight_ih_l0), cast(Tensor, layer.bias_ih_l0)
        weight.div_(scale)
        bias.sub_(weight @ mean)


def centre_of(encoder: RecurrentEncoder, clips: StreamClips) -> Tensor:
    """The mean (D,) of the vectors of the clips, of an encoder that takes nothing away yet."""
    return vectors_of(encoder, clips).mean(dim=0)


@torch.inference_mode()
def vectors_of(encoder: RecurrentEncoder, clips: StreamClips) -> Tensor:
    """The vectors (N, D) of the clips."""
    return torch.cat([encoder(torch.from_numpy(clip[0])[None], torch.tensor([len(clip[0])])) for clip in clips.clips])


def stream_weights(vectors: Mapping[StreamName, Floats]) -> dict[StreamName, float]:
    """How much each stream is to count beside the others, given the vectors (N, D_s) of clips: 1 for the largest.

    One over the variance of the cosines of different clips, nearly all of which have nothing to do with each other: as
    measurements of different noise are weighed in a mean, so that no stream's chance likeness drowns the others.
    """
    variance = {}
    for stream, rows in vectors.items():
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        variance[stream] = float(np.var((unit @ unit.T)[np.triu_indices(len(unit), 1)]))
    least = min(variance.values())
    return {stream: float(f"{least / each:.2g}") for stream, each in variance.items()}
