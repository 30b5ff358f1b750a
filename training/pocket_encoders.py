"""The recurrent encoders of the small model, taught to say of a clip what a formula says of the mean of its steps.

means (N, F) of clips -> Formula (F,) -> (256,); sequences (B, T, F) of real and made clips -> encoder -> the same

The formula is linear and is found in closed form. The first half of its vector is what the clip's picture shows: of a
picture its principal components, of motion and sound what can be told of those by ridge regression (Gupta et al. 2016,
"Cross modal distillation for supervision transfer", with a formula in the student's place). So the halves of different
streams stand in one space, and agree where one can be told from the other. The second half is the stream's own:
principal components. No label is looked at.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import log
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from torch.nn import functional

from tristream.streams.recurrence import Recurrence
from tristream.streams.recurrent import RecurrentEncoder
from tristream.training.loop import Measured

Floats = NDArray[np.float32]
HALF = 128  # units of a direction
RIDGE = 0.3  # where the mean square of what is told from is 1
SHARED_AMPLITUDE, OWN_AMPLITUDE = 0.7, 0.3  # of the halves of motion and sound
MOST_STEPS = 180
LEAST_DEVIATION_SHARE = 0.25  # as in distilling
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


def other_formula(
    clips: StreamClips, shown: Floats, pairs: NDArray[np.intp], blocks: Sequence[tuple[slice, float]], seed: int
) -> Formula:
    """The formula of motion or sound.

    Args:
        shown: the first halves (P, 128) of the vectors of the pictures of some of the clips.
        pairs: which clips these are, (P,).
        blocks: of the features, and the share of the variance that each is given.
    """
    means = clips.means()
    centre = means.mean(axis=0)
    weight = np.ones(means.shape[1], np.float32)
    for block, share in blocks:
        weight[block] = share**0.5 / _length((means - centre)[:, block])
    weighted = (means - centre) * weight
    told = Ridge(RIDGE, fit_intercept=False).fit(weighted[pairs], shown - shown.mean(axis=0))
    shared = told.coef_.T  # (F, 128)
    axes = _axes([weighted, (clips.singles - centre) * weight], HALF)
    own = axes @ _turn(seed)
    halves = [
        SHARED_AMPLITUDE * shared / _length(weighted[pairs] @ shared),
        OWN_AMPLITUDE * own / _length(weighted @ own),
    ]
    return Formula(centre, (weight[:, None] * np.concatenate(halves, axis=1)).astype(np.float32))


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
    the plain version's mean, so that crops, light and loudness are learned to be of no account.
    """

    def __init__(
        self, encoder: RecurrentEncoder, clips: StreamClips, formula: Formula, batch_size: int, batches: int
    ) -> None:
        self.network: nn.Module = encoder
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
        if len(self._clips.singles) and generator.random() < 0.2:
            first, last = self._clips.singles[generator.integers(len(self._clips.singles), size=2)]
            share = np.linspace(generator.random(), generator.random(), length, dtype=np.float32)[:, None]
            steps = (1 - share) * first + share * last
            return steps, steps.mean(axis=0)
        pieces, plain = [], []
        for part in np.array_split(np.arange(length), int(generator.choice([1, 1, 1, 2, 3]))):
            versions = self._clips.clips[generator.integers(len(self._clips.clips))]
            first, last = np.sort(generator.integers(0, len(versions[0]), 2))
            chosen = np.sort(generator.integers(first, last + 1, len(part)))
            pieces.append(versions[generator.integers(len(versions))][chosen])
            plain.append(versions[0][chosen])
        return np.concatenate(pieces), np.concatenate(plain).mean(axis=0)

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Measured]:
        """One minus the mean cosine, and for how many of the batch their own formula's vector is the nearest."""
        steps, wanted = batch
        lengths = torch.full((len(steps),), steps.shape[1])
        cosines = functional.normalize(self.network(steps, lengths)) @ functional.normalize(wanted).mT
        loss = 1 - cosines.diagonal().mean()
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


@torch.inference_mode()
def centre_of(encoder: RecurrentEncoder, clips: StreamClips) -> Tensor:
    """The mean (D,) of the vectors of the clips, of an encoder that takes nothing away yet."""
    vectors = [encoder(torch.from_numpy(clip[0])[None], torch.tensor([len(clip[0])])) for clip in clips.clips]
    return torch.cat(vectors).mean(dim=0)
