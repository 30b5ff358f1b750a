"""A model's embeddings of labelled files, from cached step features: the same as embedding the files would give."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tristream.fusion.embedding import VideoEmbedding, clips_of, join_clips
from tristream.fusion.model import Model
from tristream.fusion.windows import Windows
from tristream.streams.config import StreamName
from tristream.training.cache import FeatureCache
from tristream.training.clipset import steps_of_file
from tristream.training.examples import Example
from tristream.training.extraction import Extracted
from tristream.training.sequences import Clip, SequenceReader


def embed_examples(
    model: Model, examples: Sequence[Example], extracted: Extracted, cache: FeatureCache, windows: Windows
) -> list[VideoEmbedding]:
    """The embedding of each file, in order, with its clips; a file that could not be read has an `error`.

    Raises:
        MediaError: features are gone from the cache.
    """
    return [_embed(model, str(example.path), extracted, cache, windows) for example in examples]


def _embed(model: Model, path: str, extracted: Extracted, cache: FeatureCache, windows: Windows) -> VideoEmbedding:
    if path in extracted.failed:
        return VideoEmbedding(path, model.model_id, error=extracted.failed[path])
    keys = {wanted.stream: key for wanted, key in extracted.keys[path].items()}
    of_file, duration_seconds = steps_of_file(keys, cache, windows, model.config.sampling)
    reader = SequenceReader(cache)
    vectors: dict[StreamName, dict[int, NDArray[np.float32]]] = {}
    for stream, held in of_file.items():
        sequences = [reader.sequence(Clip(keys[stream], steps, 0)) for steps in held.values()]
        made = model.streams[stream].vectors(sequences) if sequences else ()
        vectors[stream] = {clip: vector[None] for clip, vector in zip(held, made, strict=True)}  # (1, D_s) each
    clips = clips_of(vectors, model.dims, windows, duration_seconds)
    if not clips:
        return VideoEmbedding(path, model.model_id, error=f"{path} holds nothing that the model could embed")
    vector, present = join_clips(clips)
    return VideoEmbedding(path, model.model_id, vector, present, model.dims, clips, duration_seconds=duration_seconds)
