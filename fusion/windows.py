"""How a video is cut into clips, in time and over the picture; needs no torch."""

from dataclasses import dataclass, field
from math import floor, isfinite

from tristream.streams.errors import UsageError
from tristream.streams.grid import Grid

# What is left at the end of a video and shorter than this (one example of sound) joins the clip before it.
SHORTEST_REST_SECONDS = 0.96


@dataclass(frozen=True)
class Windows:
    """How a video is cut into clips [start_seconds, end_seconds), each of the whole picture or of a tile of it."""

    window_seconds: float = 36.0
    stride_seconds: float = 36.0
    grid: Grid = field(default_factory=Grid)

    def __post_init__(self) -> None:
        if not (0 < self.window_seconds < float("inf")):
            raise UsageError(f"window must be a positive number of seconds, got {self.window_seconds}")
        if not (0 < self.stride_seconds <= self.window_seconds):
            raise UsageError(
                f"stride must be more than 0 and at most the window of {self.window_seconds} s, "
                f"got {self.stride_seconds}: a longer one would leave footage out"
            )

    @property
    def rest_seconds(self) -> float:
        """The shortest rest that is a clip of its own."""
        return min(SHORTEST_REST_SECONDS, self.stride_seconds / 2)

    def count(self, duration_seconds: float) -> int:
        """How many clips a video of this duration has: at least one."""
        beyond_seconds = duration_seconds - self.window_seconds - self.rest_seconds
        return 1 if beyond_seconds < 0 else 2 + floor(beyond_seconds / self.stride_seconds)

    def span(self, index: int, duration_seconds: float) -> tuple[float, float]:
        """Start and end of a clip; the last one ends with the video, if that is known (finite)."""
        start_seconds = index * self.stride_seconds
        last = isfinite(duration_seconds) and index == self.count(duration_seconds) - 1
        return start_seconds, duration_seconds if last else start_seconds + self.window_seconds
