"""What rules may look at: the merged statistics, the signals themselves when asked for, the limits, and what became of each file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Json = dict[str, Any]
Block = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Times (int64, ns) and finite values (float64) of one length, in the order of recording."""

FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Limit:
    """Bounds of a signal (in its unit; None is open) that it may leave for `duration_s`; one of a platform replaces a general one."""

    signal: str
    low: float | None
    high: float | None
    duration_s: float
    severity: str
    action: str = ""
    of_platform: bool = False


@dataclass(frozen=True, slots=True)
class CodeFact:
    """What the operator has written down for a fault code (`P1234`, `U0100-87`, `SPN 110`, `SPN 110 FMI 0`); empty is not said."""

    code: str
    text: str
    severity: str = ""
    action: str = ""


@dataclass(frozen=True, slots=True)
class FileFact:
    """A file of the batch and, if it failed, why."""

    id: str
    name: str
    state: str
    error_code: str = ""
    error: str = ""
    error_offset: int | None = None


def no_series(stream: str, signal: str) -> Iterable[Block]:
    """No values at all."""
    return ()


@dataclass(frozen=True)
class Evidence:
    """All of one batch. `statistics` is statistics.json (files.merge); `series(stream, signal)` reads values, each call anew.

    `has_database` says whether the vehicle's platform has a signal database now.
    """

    statistics: Json
    limits: Sequence[Limit] = ()
    files: Sequence[FileFact] = ()
    has_database: bool = True
    code_facts: Mapping[str, CodeFact] = field(default_factory=dict)
    series: Callable[[str, str], Iterable[Block]] = field(default=no_series, repr=False)

    @property
    def signals(self) -> list[Json]:
        """Entries of `signals` in statistics.json."""
        signals: list[Json] = self.statistics["signals"]
        return signals

    @property
    def streams(self) -> list[Json]:
        """Entries of `streams` in statistics.json."""
        streams: list[Json] = self.statistics["streams"]
        return streams

    @cached_property
    def stream_of(self) -> dict[str, Json]:
        """Name -> entry of `streams`."""
        return {stream["name"]: stream for stream in self.streams}

    @cached_property
    def _files_of(self) -> dict[str, set[str]]:
        """Stream -> the files that it is in."""
        files: dict[str, set[str]] = {}
        for signal in self.signals:
            files.setdefault(signal["stream"], set()).update(signal["files"])
        return files

    def files_of(self, stream: str) -> set[str]:
        """The ids of the files that have the stream."""
        return self._files_of.get(stream, set())

    def file_at(self, t_ns: int, stream: str = "") -> str | None:
        """The last file that was recording at this time, of those that have the stream; None when there is none."""
        among = self.files_of(stream)
        found = None
        for file in self.statistics["files"]:
            if among and file["id"] not in among:
                continue
            if file["first_ns"] is not None and file["first_ns"] <= t_ns <= file["last_ns"]:
                found = file["id"]
        return found

    def failed(self) -> Iterator[FileFact]:
        """Files that gave no result."""
        return (file for file in self.files if file.state == FAILED)
