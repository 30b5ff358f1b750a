"""What a run does with a file."""

from enum import Enum


class State(Enum):
    """What a run does with a file."""

    NEW = "embed"
    AGAIN = "embed again"
    DONE = "done already"
    FAILED = "failed before"
    COPY = "copy of content already embedded"
