"""The errors of tristream: one root, and a leaf for each thing a caller would handle apart.

TristreamError
├── UsageError      an argument that cannot be right: unknown name, value out of range, no such file
├── MediaError      a video or sound file that cannot be opened or decoded
│   └── FlowError   a flow engine that cannot work on this video (codec without motion vectors)
├── ModelError      a model folder or weights file that is missing, damaged, untrained or of another kind
├── TableError      an embedding table that is damaged, of another model, or cannot be written
├── SearchError     a search index that is missing, damaged, empty, of another model, or cannot be written
├── DetectorError   an anomaly detector that is missing, damaged, of another model, or cannot be written
└── SourceError     a camera that cannot be reached or read
"""


class TristreamError(Exception):
    """Root of every error that tristream raises on purpose."""


class UsageError(TristreamError, ValueError):
    """An argument that cannot be right."""


class MediaError(TristreamError):
    """A video or sound file that cannot be opened or decoded."""


class FlowError(MediaError):
    """A flow engine that cannot work on this video."""


class ModelError(TristreamError):
    """A model folder or weights file that is missing, damaged, untrained or of another kind."""


class TableError(TristreamError):
    """An embedding table that is damaged, of another model, or cannot be written."""


class SearchError(TristreamError):
    """A search index that is missing, damaged, empty, of another model, or cannot be written."""


class DetectorError(TristreamError):
    """An anomaly detector that is missing, damaged, of another model, or cannot be written."""


class SourceError(TristreamError):
    """A camera that cannot be reached or read."""
