"""The networks of a model, built from its source: weights from files, a hub or the seed."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from tristream.fusion.source import ModelSource, Weights
from tristream.streams.audio import AudioCNN, build_audio_cnn, load_audio_cnn
from tristream.streams.config import RecurrentConfig, StreamName
from tristream.streams.encoder import Encoder, build_encoder
from tristream.streams.errors import ModelError
from tristream.streams.picture import PictureFormat
from tristream.streams.placement import DtypeName, place
from tristream.streams.spatial import AnySpatialCNN, build_spatial_cnn
from tristream.streams.stream import Stream
from tristream.streams.temporal import AnyMotionCNN, build_motion_cnn
from tristream.streams.weights import load_weights, read_weights

M = TypeVar("M", bound=nn.Module)
CNN = AnySpatialCNN | AnyMotionCNN | AudioCNN


def build_parts(
    source: ModelSource, streams: Sequence[StreamName] | None = None
) -> dict[StreamName, tuple[CNN, Encoder]]:
    """The CNN and recurrent encoder of each stream, or of those named, in float32 on the CPU.

    Raises:
        ModelError: weights that are missing, damaged or of another architecture.
        UsageError: an unknown backbone.
    """
    parts = {}
    for name in source.config.streams if streams is None else streams:
        with seeded(source, f"{name}.cnn"):
            cnn = _cnn(source, name)
        parts[name] = (cnn, _recurrent(source, name, cnn.feature_size))
    return parts


def cnn_digests(source: ModelSource, streams: Sequence[StreamName]) -> dict[StreamName, str]:
    """The sha256 of each stream's CNN as it was loaded: the same for the same weights, from wherever they come."""
    digests = {}
    for name, (cnn, _) in build_parts(source, streams).items():
        digest = hashlib.sha256()
        for tensor_name, tensor in sorted(cnn.state_dict().items()):
            if not tensor_name.endswith("num_batches_tracked"):
                digest.update(f"{tensor_name} {tuple(tensor.shape)}".encode())
                digest.update(tensor.contiguous().numpy().tobytes())
        digests[name] = digest.hexdigest()
    return digests


def build_streams(
    source: ModelSource, device: str, dtype: DtypeName
) -> tuple[dict[StreamName, Stream], PictureFormat | None]:
    """The streams of a model, ready for inference on a device, and the picture its spatial stream sees."""
    streams, picture = {}, None
    for name, (cnn, recurrent) in build_parts(source).items():
        if isinstance(cnn, AnySpatialCNN):
            picture = cnn.picture
        head = _vote_head(source, recurrent.vector_size, device)
        streams[name] = Stream(name, place(cnn, device, dtype), recurrent.to(device).eval(), device, head)
    return streams, picture


def _cnn(source: ModelSource, name: StreamName) -> CNN:
    """The CNN of a stream, with its weights."""
    config, weights = source.config, source.weights.get(f"{name}.cnn", Weights())
    where = str(weights.path)
    if name == "spatial" and config.spatial is not None:
        return build_spatial_cnn(config.spatial, _tensors(weights), where, pretrained=bool(weights.hub))
    if name == "temporal" and config.temporal is not None:
        return _loaded(build_motion_cnn(config.temporal, config.flow), weights)
    if config.audio is None:
        raise ModelError(f"the model has no stream {name!r}")
    audio = build_audio_cnn(config.audio)
    if (tensors := _tensors(weights)) is not None:
        load_audio_cnn(audio, tensors, where)
    return audio


def _recurrent(source: ModelSource, stream: StreamName, feature_size: int) -> Encoder:
    config: RecurrentConfig = getattr(source.config, stream).recurrent
    part = f"{stream}.recurrent"
    with seeded(source, part):
        encoder = build_encoder(feature_size, config, source.config.sampling.max_steps)
    return _loaded(encoder, source.weights.get(part, Weights()))


def _vote_head(source: ModelSource, vector_size: int, device: str) -> nn.Linear | None:
    """The head of a model whose steps vote; None of another."""
    if source.classifier != "votes" or source.classifier_path is None:
        return None
    head = nn.Linear(vector_size, len(source.classes))
    load_weights(head, read_weights(source.classifier_path), str(source.classifier_path))
    return head.to(device).eval()


def _loaded(module: M, weights: Weights) -> M:
    if (tensors := _tensors(weights)) is not None:
        load_weights(module, tensors, str(weights.path))
    return module


def _tensors(weights: Weights) -> dict[str, Tensor] | None:
    """The tensors of a part's file, their prefix taken off; None where no file is given.

    A file that the user gives for a CNN may be that of a stream in a model folder, which has its encoder, too.
    """
    if weights.path is None:
        return None
    tensors = read_weights(weights.path)
    prefix = weights.prefix or ("cnn." if any(name.startswith("cnn.") for name in tensors) else "")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@contextmanager
def seeded(source: ModelSource, part: str) -> Iterator[None]:
    """Random weights made here are the same every time, and do not depend on which other parts there are."""
    digest = hashlib.sha256(f"{source.config.seed}:{part}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest[:8], "big") % 2**63)
        yield
