"""tristream: one embedding of a video that says how it looks, how it moves and how it sounds.

The public names load on first use, so that `import tristream` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tristream.anomaly.autoencoder import AutoencoderDetector
    from tristream.anomaly.detector import Detector, load_detector
    from tristream.fusion.embedding import ClipEmbedding, VideoEmbedding
    from tristream.fusion.model import Model, load_model
    from tristream.fusion.svm import FusionSVM
    from tristream.search.index import VideoIndex
    from tristream.search.query import Query
    from tristream.search.update import update_index
    from tristream.streams.errors import (
        DetectorError,
        FlowError,
        MediaError,
        ModelError,
        SearchError,
        SourceError,
        TableError,
        TristreamError,
        UsageError,
    )

_HOMES = {
    "load_model": "tristream.fusion.model",
    "Model": "tristream.fusion.model",
    "VideoEmbedding": "tristream.fusion.embedding",
    "ClipEmbedding": "tristream.fusion.embedding",
    "FusionSVM": "tristream.fusion.svm",
    "AutoencoderDetector": "tristream.anomaly.autoencoder",
    "Detector": "tristream.anomaly.detector",
    "load_detector": "tristream.anomaly.detector",
    "VideoIndex": "tristream.search.index",
    "Query": "tristream.search.query",
    "update_index": "tristream.search.update",
    "TristreamError": "tristream.streams.errors",
    "UsageError": "tristream.streams.errors",
    "MediaError": "tristream.streams.errors",
    "FlowError": "tristream.streams.errors",
    "ModelError": "tristream.streams.errors",
    "TableError": "tristream.streams.errors",
    "SearchError": "tristream.streams.errors",
    "DetectorError": "tristream.streams.errors",
    "SourceError": "tristream.streams.errors",
}

__all__ = [
    "AutoencoderDetector",
    "ClipEmbedding",
    "Detector",
    "DetectorError",
    "FlowError",
    "FusionSVM",
    "MediaError",
    "Model",
    "ModelError",
    "Query",
    "SearchError",
    "SourceError",
    "TableError",
    "TristreamError",
    "UsageError",
    "VideoEmbedding",
    "VideoIndex",
    "load_detector",
    "load_model",
    "update_index",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
