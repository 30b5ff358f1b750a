"""What all of a collection has in common is no likeness: it is taken away before two vectors are compared.

stream vectors (N, D_s) -> unit vectors -> less the centre (D_s,) -> unit vectors

The features of a network share a large part, in one stream more than in another, so that plain cosines of clips that
have nothing to do with each other are far above 0, by look more than by sound: a clip with sound would rank behind
those without for nothing but having it. Less the centre, such cosines are about 0 in each stream. After Jégou and Chum,
Negative evidences and co-occurrences in image retrieval: the benefit of PCA and whitening (ECCV 2012).
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from tristream.fusion.embedding import slices_of
from tristream.search.similarity import Dims, Floats32, unit

Centre = Mapping[str, NDArray[np.float64]]  # stream -> (D_s,)

# The mean is taken as if so many vectors of zero were among those of a collection: of very few, it would tell what they
# are and not what they have in common.
PRIOR_ROWS = 32
# Up to so many rows the centre is that of the table as it is: to write as many anew takes less than a second. That of
# more is found anew once they are GROWTH times those that it was found with, so that to add few takes little.
SMALL_ROWS = 16_384
GROWTH = 2


def find_centre(batches: Iterable[Floats32], dims: Dims) -> dict[str, NDArray[np.float64]]:
    """The centre of each stream of embeddings (N, D) of videos, in batches; who lacks a stream does not count for it.

    Of videos, not of their clips: what the windows of few long ones have in common is what they are.
    """
    sums = {stream: np.zeros(size) for stream, size in dims.items()}
    rows = dict.fromkeys(dims, PRIOR_ROWS)
    for vectors in batches:
        for stream, block in slices_of(dims).items():
            having = vectors[:, block].any(axis=1) & np.isfinite(vectors).all(axis=1)
            sums[stream] += unit(vectors[having, block]).sum(axis=0, dtype=np.float64)
            rows[stream] += int(having.sum())
    return {stream: total / rows[stream] for stream, total in sums.items()}


def centred(vectors: Floats32, centre: NDArray[np.float64]) -> Floats32:
    """Vectors (N, D_s) of any length, less the centre (D_s,) once they are of length 1: unit vectors again."""
    return unit(unit(vectors) - centre)


def uncentred(vector: Floats32, centre: NDArray[np.float64]) -> Floats32:
    """The unit vector (D_s,) that `centred` makes such a unit vector of: the one on the line through the centre."""
    along = float(vector @ centre)
    length = np.sqrt(along**2 + 1 - centre @ centre) - along  # at which centre + length * vector has length 1
    return (centre + length * vector).astype(np.float32)
