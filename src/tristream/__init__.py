"""tristream: one embedding of a video that says how it looks, how it moves and how it sounds.

The public names load on first use, so that `import tristream` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tristream.fusion.embedding import ClipEmbedding, VideoEmbedding
    from tristream.fusion.model import Model, load_model
    from tristream.fusion.svm import FusionSVM
    from tristream.search.index import VideoIndex
    from tristream.search.query import Query
    from tristream.search.update import update_index
    from tristream.streams.errors import (
        FlowError,
        MediaError,
        ModelError,
        SearchError,
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
}

__all__ = [
    "ClipEmbedding",
    "FlowError",
    "FusionSVM",
    "MediaError",
    "Model",
    "ModelError",
    "Query",
    "SearchError",
    "TableError",
    "TristreamError",
    "UsageError",
    "VideoEmbedding",
    "VideoIndex",
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
