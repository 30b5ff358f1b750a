"""Time stamps of a container in, seconds from the file's start out, in order whatever the file says."""

JITTER_SECONDS = 0.25  # a step back by more (and by more than two items) is a new count
MAX_SECONDS = 7 * 24 * 3600.0  # the longest time that is read of one file


class Clock:
    """Time stamps of one stream as seconds from the file's start that never go back and never run away.

    A stamp past `limit_seconds` (or MAX_SECONDS) is a broken one, and so is one that goes back by more than
    jitter: it is replaced by the time where the item before ended, and later stamps count from there, or as
    before if that fits them: so a spliced file goes on, and a single broken stamp moves nothing but itself.
    """

    def __init__(self, start_seconds: float, limit_seconds: float = MAX_SECONDS) -> None:
        self.repaired = 0
        self._offset_seconds = self._former_seconds = -start_seconds
        self._limit_seconds = min(limit_seconds, MAX_SECONDS)
        self._last_seconds = float("-inf")
        self._next_seconds = 0.0

    def seconds(self, stamp_seconds: float | None, length_seconds: float) -> float:
        """The time of an item that lasts `length_seconds` and carries `stamp_seconds` (None: no stamp)."""
        now = self._next_seconds if stamp_seconds is None else self._placed(stamp_seconds)
        jitter_seconds = max(JITTER_SECONDS, 2 * length_seconds)
        if now > self._limit_seconds or now < max(self._last_seconds, 0.0) - jitter_seconds:
            self._former_seconds = self._offset_seconds
            self._offset_seconds += self._next_seconds - now
            now = self._next_seconds
            self.repaired += 1
        elif now <= self._last_seconds:
            now = self._last_seconds + length_seconds / 8  # twice the same stamp: keep the order
            self.repaired += 1
        self._last_seconds, self._next_seconds = now, now + length_seconds
        return now

    def _placed(self, stamp_seconds: float) -> float:
        now, former = stamp_seconds + self._offset_seconds, stamp_seconds + self._former_seconds
        if abs(former - self._next_seconds) <= JITTER_SECONDS < abs(now - self._next_seconds):
            self._offset_seconds = self._former_seconds
            return former
        return now
