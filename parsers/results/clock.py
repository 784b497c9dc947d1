"""What the times of samples and log messages say about the clock they were taken from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BACKWARD_NS = 1_000_000  # a smaller step back is the logger's jitter
JUMP_BACK_NS = 1_000_000_000
JUMP_AHEAD_NS = 3_600_000_000_000
MAX_JUMPS = 100
SECOND_NS = 1_000_000_000
FEWEST_ROWS = 100  # of which the resolution of a clock can be told
FEWEST_SECONDS = 3
REPEATED_SHARE = 0.5  # of the stamps that equal the one before: several buses at once repeat a few


@dataclass
class Resolution:
    """Whether the stamps of frames and samples are finer than a second, and how many repeat the one before."""

    rows: int = 0
    repeated: int = 0
    whole_seconds: bool = True
    first_ns: int | None = None
    last_ns: int | None = None

    def take(self, t_ns: NDArray[np.int64]) -> None:
        """Times of neighbouring rows, as they are written."""
        if not len(t_ns):
            return
        self.rows += len(t_ns)
        self.repeated += len(t_ns) - 1 - int(np.count_nonzero(np.diff(t_ns)))
        if self.whole_seconds:
            self.whole_seconds = int(t_ns[-1]) % SECOND_NS == 0 and not (t_ns % SECOND_NS).any()
            self.first_ns = int(t_ns[0]) if self.first_ns is None else self.first_ns
            self.last_ns = int(t_ns[-1])

    def flags(self) -> list[str]:
        """`whole_seconds`, or `repeated` stamps; a clock of whole seconds repeats its stamps anyway."""
        if self.rows < FEWEST_ROWS:
            return []
        if self.whole_seconds and abs((self.last_ns or 0) - (self.first_ns or 0)) >= FEWEST_SECONDS * SECOND_NS:
            # A stream with one row a second is as fine as it needs to be.
            return ["whole_seconds"] if self.repeated else []
        return ["repeated"] if self.repeated >= REPEATED_SHARE * self.rows else []


@dataclass
class SampleClock:
    """Follows the times of each stream in file order, as they are written: ends, steps back, and jumps (back by more than 1 s, ahead by
    more than 1 h). Streams are compared with themselves only, for a file may hold them one behind the other."""

    rows: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    backward_count: int = 0
    jump_count: int = 0
    jumps: list[tuple[int, int, int]] = field(default_factory=list)
    resolution: Resolution = field(default_factory=lambda: Resolution())
    _previous: dict[Any, int] = field(default_factory=dict)

    def take(self, stream: Any, t_ns: NDArray[np.int64]) -> None:
        """Times (int64, ns) of the next rows of a stream."""
        if not len(t_ns):
            return
        low, high = int(t_ns.min()), int(t_ns.max())
        self.first_ns = low if self.first_ns is None else min(self.first_ns, low)
        self.last_ns = high if self.last_ns is None else max(self.last_ns, high)
        self.resolution.take(t_ns)
        previous = self._previous.get(stream)
        times = t_ns if previous is None else np.concatenate([np.array([previous], np.int64), t_ns])
        self._previous[stream] = int(t_ns[-1])
        steps = np.diff(times)
        if len(steps) and (int(steps.min()) < -BACKWARD_NS or int(steps.max()) > JUMP_AHEAD_NS):
            self._note(times, steps, self.rows - int(previous is not None))
        self.rows += len(t_ns)

    def _note(self, times: NDArray[np.int64], steps: NDArray[np.int64], first_row: int) -> None:
        self.backward_count += int((steps < -BACKWARD_NS).sum())
        found = np.flatnonzero((steps < -JUMP_BACK_NS) | (steps > JUMP_AHEAD_NS))
        self.jump_count += len(found)
        for i in found[: MAX_JUMPS - len(self.jumps)].tolist():
            self.jumps.append((first_row + i + 1, int(times[i]), int(times[i + 1])))
