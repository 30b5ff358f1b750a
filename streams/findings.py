"""What decoding a file brought to light: counts of what came and what was lost in, one line of warning each out."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tristream.streams.errors import MediaError

# Containers round, and count the sound's padding: no more than this is missing from a whole file.
SHORT_SECONDS, SHORT_SHARE = 0.5, 0.005


@dataclass
class Findings:
    """Counts kept while one file is decoded; `kinds` names the streams that are, "video" and "audio"."""

    kinds: tuple[str, ...]
    duration_seconds: float = 0.0  # the end of what was decoded
    decoded: dict[str, int] = field(default_factory=dict)  # frames of video, samples of audio
    damaged: dict[str, int] = field(default_factory=dict)  # packets
    ends_damaged: dict[str, bool] = field(default_factory=dict)  # whether the last packet was
    stopped: str | None = None  # why reading ended before the file did

    def add(self, kind: str, count: int, end_seconds: float) -> None:
        """Count frames or samples that came out."""
        self.decoded[kind] = self.decoded.get(kind, 0) + count
        self.duration_seconds = max(self.duration_seconds, end_seconds)

    def lose(self, kind: str, count: int, *, doubtful: bool = False) -> None:
        """Count what a packet did not give; zero says that the packet was good, `doubtful` that it may be cut."""
        self.damaged[kind] = self.damaged.get(kind, 0) + count
        self.ends_damaged[kind] = doubtful or count > 0

    def conclude(self, path: object, missing: str | None, declared_seconds: float | None, repaired: int) -> list[str]:
        """The warnings, once all of the file has been read; `missing`: what its container's structure lacks.

        Raises:
            MediaError: nothing at all could be decoded.
        """
        lost = " and ".join(f"{count} {kind} packets" for kind, count in self.damaged.items() if count)
        truncated = self.stopped or missing or self._short_of(declared_seconds)
        if not any(self.decoded.values()):
            reasons = "; ".join(filter(None, [lost and f"{lost} are damaged", truncated]))
            raise MediaError(f"nothing in {path} could be decoded" + (f": {reasons}" if reasons else ""))
        warnings = [f"truncated: {truncated}; {self.duration_seconds:.2f} s were read"] if truncated else []
        for kind in self.kinds:
            if not self.decoded.get(kind):
                warnings.append(f"nothing of the {kind} stream could be decoded")
        if lost:
            warnings.append(f"damaged: {lost} skipped")
        if repaired:
            warnings.append(f"{repaired} broken time stamps replaced")
        return warnings

    def _short_of(self, declared_seconds: float | None) -> str | None:
        if declared_seconds is not None:
            slack_seconds = max(SHORT_SECONDS, SHORT_SHARE * declared_seconds)
            if self.duration_seconds < declared_seconds - slack_seconds:
                return f"the file ends before the {declared_seconds:.2f} s it declares"
        if cut := [kind for kind, damaged in self.ends_damaged.items() if damaged]:
            return f"the last packet of {' and '.join(cut)} is incomplete or damaged"
        return None


def without_last(packets: Iterator[Any], found: Findings) -> Iterator[Any]:
    """The packets but for the last one of each stream, which is cut although nothing about it says so."""
    held: dict[int, Any] = {}
    for packet in packets:
        before = held.pop(packet.stream.index, None)
        if packet.size:
            held[packet.stream.index] = packet
        elif before is not None:
            found.lose(packet.stream.type, 1)
        if packet.size == 0:
            yield packet
        elif before is not None:
            yield before
