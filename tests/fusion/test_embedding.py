"""Embeddings: where each stream's vector stands."""

import numpy as np
import pytest

from tristream.fusion.embedding import ClipEmbedding, slices_of
from tristream.streams.config import StreamName
from tristream.streams.errors import UsageError

DIMS: dict[StreamName, int] = {"spatial": 3, "temporal": 2, "audio": 4}


def test_vectors_stand_side_by_side() -> None:
    assert slices_of(DIMS) == {"spatial": slice(0, 3), "temporal": slice(3, 5), "audio": slice(5, 9)}


def test_streams_that_are_left_out_take_no_room() -> None:
    assert slices_of(DIMS, ("spatial", "audio")) == {"spatial": slice(0, 3), "audio": slice(3, 7)}


def test_a_clip_gives_the_vector_of_a_stream_it_has() -> None:
    clip = ClipEmbedding(0, 5, np.arange(9, dtype=np.float32), dict.fromkeys(DIMS, True), DIMS)
    assert clip.stream("temporal").tolist() == [3, 4]
    with pytest.raises(UsageError, match="no stream 'smell' in this embedding; it has spatial, temporal, audio"):
        clip.stream("smell")
