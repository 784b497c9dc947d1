"""What the user sees: a bar on a terminal, otherwise one line of JSON for each event."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from datetime import datetime, timezone
from typing import Any, TextIO

WINDOW_S = 8.0
BAR_EVERY_S = 0.2
LINE_EVERY_S = 10.0
BAR_WIDTH = 24
QUIET = frozenset({"file_begun", "hashing", "batch_formed"})


class Progress:
    """Counts what is under way, and tells nothing; what a program that uses the uploader as a library can pass on or override."""

    def __init__(self) -> None:
        self.total = self.done = self._offset = 0
        self.number = self.files = 0
        self.confirmed = 0  # how often the server was heard to have more bytes than before
        self.name = ""
        self._moves: deque[tuple[float, int]] = deque()

    def event(self, event: str, **facts: Any) -> None:
        """Something has happened."""

    def batch(self, total: int, done: int) -> None:
        """A batch of `total` bytes is under way, of which the server has `done`."""
        self.total, self.done = total, done

    def file(self, number: int, files: int, name: str) -> None:
        """File `number` of `files` is next."""
        self.number, self.files, self.name = number, files, name

    def moved(self, count: int) -> None:
        """So many bytes have left."""
        self.done += count
        now = time.monotonic()
        self._moves.append((now, count))
        while self._moves and now - self._moves[0][0] > WINDOW_S:
            self._moves.popleft()

    def correct(self, difference: int) -> None:
        """The server holds so many bytes more (or fewer) than was thought."""
        self.done += difference

    def rate(self) -> float:
        """Bytes a second, over the last seconds."""
        if not self._moves:
            return 0.0
        return sum(count for _, count in self._moves) / max(0.5, time.monotonic() - self._moves[0][0])

    def eta_s(self) -> float | None:
        """Seconds until the batch is through at this rate; None when nothing moves."""
        rate = self.rate()
        return max(0, self.total - self.done) / rate if rate > 0 else None

    def close(self) -> None:
        """The end."""


class Lines(Progress):
    """One JSON object a line; a line of progress every ten seconds."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out = out
        self._told_at = time.monotonic()

    def event(self, event: str, **facts: Any) -> None:
        """One line."""
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        print(json.dumps({"time": at, "event": event, **facts}), file=self._out, flush=True)

    def moved(self, count: int) -> None:
        """A line now and then."""
        super().moved(count)
        if time.monotonic() - self._told_at >= LINE_EVERY_S:
            self._told_at = time.monotonic()
            eta = self.eta_s()
            self.event(
                "progress",
                name=self.name,
                file=self.number,
                files=self.files,
                sent=self.done,
                bytes=self.total,
                rate=round(self.rate()),
                eta_s=None if eta is None else round(eta),
            )


class Bar(Progress):
    """A bar that stays in the last line of the terminal, under the sentences about what has happened."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out = out
        self._drawn_at = 0.0
        self._drawn = False

    def event(self, event: str, **facts: Any) -> None:
        """A sentence above the bar."""
        if event in QUIET:
            return
        self._clear()
        told = "  ".join(f"{name} {_shown(value)}" for name, value in facts.items() if value not in {None, ""})
        print(f"{event.replace('_', ' ')}  {told}".rstrip(), file=self._out, flush=True)

    def moved(self, count: int) -> None:
        """Draws the bar anew, a few times a second."""
        super().moved(count)
        if time.monotonic() - self._drawn_at >= BAR_EVERY_S:
            self.draw()

    def draw(self) -> None:
        """The bar as it is now."""
        self._drawn_at = time.monotonic()
        share = min(1.0, max(0.0, self.done / self.total)) if self.total else 0.0
        full = int(share * BAR_WIDTH)
        line = (
            f"[{'#' * full}{'.' * (BAR_WIDTH - full)}] {share * 100:3.0f} %  {human(self.done)} of {human(self.total)}"
            f"  {human(self.rate())}/s  {_left(self.eta_s())}  file {self.number} of {self.files}  {printable(self.name)}"
        )
        try:
            width = os.get_terminal_size(self._out.fileno()).columns
        except (OSError, ValueError):
            width = 80
        self._out.write("\r\x1b[K" + line[: width - 1])
        self._out.flush()
        self._drawn = True

    def close(self) -> None:
        """Leaves the line."""
        self._clear()

    def _clear(self) -> None:
        if self._drawn:
            self._out.write("\r\x1b[K")
            self._out.flush()
            self._drawn = False


def for_terminal(out: TextIO | None = None) -> Progress:
    """A bar on a terminal, else lines of JSON."""
    out = out or sys.stdout
    return Bar(out) if out.isatty() else Lines(out)


def printable(text: str) -> str:
    """The text with everything escaped that could move a cursor."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode() for char in text)


def human(count: float) -> str:
    """Bytes for people: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "--:--"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def _shown(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else printable(str(value))
