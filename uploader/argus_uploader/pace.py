"""How fast bytes may go out, and how long to wait before the next try."""

from __future__ import annotations

import random
import threading
import time

BURST_S = 0.25
LARGEST_CHUNK = 256 * 1024
SMALLEST_CHUNK = 1024


class Pace:
    """A token bucket: over any time longer than a second at most `rate` bytes a second pass (0: no limit)."""

    def __init__(self, rate: int, stop: threading.Event) -> None:
        self._rate = rate
        self._stop = stop
        self._burst = rate * BURST_S
        self._level = 0.0
        self._filled_at = time.monotonic()
        self.chunk = LARGEST_CHUNK if not rate else max(SMALLEST_CHUNK, min(64 * 1024, rate // 10))

    def spend(self, count: int) -> None:
        """Waits until `count` bytes may pass; returns early when the program is asked to stop."""
        if not self._rate:
            return
        now = time.monotonic()
        self._level = min(self._burst, self._level + (now - self._filled_at) * self._rate) - count
        self._filled_at = now
        if self._level < 0:
            self._stop.wait(-self._level / self._rate)


class Backoff:
    """Exponential waits with full jitter: a fleet that lost its server together does not come back together."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._failures = 0

    def succeeded(self) -> None:
        """Something got through: the next wait is short again."""
        self._failures = 0

    def next_s(self, after_s: float | None = None) -> float:
        """How many seconds to wait after one more failure; never less than `after_s`, which the server asked for."""
        ceiling = min(self._longest_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        jitter = random.uniform(0, ceiling)  # noqa: S311
        return jitter if after_s is None else after_s + min(jitter, max(1.0, after_s / 4))
