"""Builds evidence from arrays, so that a rule is tested with the few facts that it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.runs import find_runs, gap_limit_ns
from diagnosis.evidence import Evidence, FileFact, Limit

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def every(period_s: float, count: int, start_s: float = 0.0) -> NDArray[np.int64]:
    """`count` times, `period_s` apart, from `start_s` after the start on."""
    return START + np.round((start_s + period_s * np.arange(count)) * SECOND).astype(np.int64)


class Case:
    """Streams and facts of one recording; `evidence()` makes what the engine takes, with statistics as gather writes them."""

    def __init__(self) -> None:
        self.streams: dict[str, dict[str, Any]] = {}
        self.signals: list[dict[str, Any]] = []
        self.values: dict[tuple[str, str], tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        self.reads: list[tuple[str, str]] = []
        self.time: dict[str, Any] = {"absolute": True, "flags": [], "jumps": [], "jump_count": 0}
        self.frames = {"total": 1000, "error": 0, "remote": 0, "fd": 0, "tx": 0, "per_channel": {}}
        self.coverage = {"frames_known": 1000, "frames_unknown": 0, "ids_known": 5, "ids_unknown": 0, "ids_truncated": False}
        self.unknown_ids: list[dict[str, Any]] = []
        self.fault_codes: list[dict[str, Any]] = []
        self.files: list[dict[str, Any]] = []

    def stream(self, name: str, t_ns: NDArray[np.int64], channel: str = "1", cuts: Sequence[int] = ()) -> dict[str, Any]:
        """A stream with rows at these times; at the rows of `cuts` the next file begins."""
        steps = np.diff(t_ns)
        period = int(np.median(steps)) if len(steps) else None
        gaps = [
            {"from_ns": int(t_ns[i]), "to_ns": int(t_ns[i + 1]), "file": "f", "between_files": i + 1 in cuts}
            for i in np.flatnonzero(steps > gap_limit_ns(period)).tolist()
        ]
        covered = int(t_ns[-1] - t_ns[0]) + (period or 0) - sum(int(t_ns[cut] - t_ns[cut - 1]) for cut in cuts)
        entry = {"name": name, "message": name, "channel": channel, "arbitration_id": "100", "extended": False, "count": len(t_ns)}
        entry |= {"first_ns": int(t_ns[0]), "last_ns": int(t_ns[-1]), "period_ns": period, "covered_ns": covered}
        self.streams[name] = {**entry, "gap_count": len(gaps), "gaps": gaps[:200], "file_count": 1 + len(cuts)}
        return self.streams[name]

    def signal(self, stream: str, name: str, t_ns: NDArray[np.int64], values: Any, unit: str = "", **declared: Any) -> dict[str, Any]:
        """A signal of a stream, which is made from its times if it is not there yet."""
        values = np.asarray(values, np.float64)
        if stream not in self.streams:
            self.stream(stream, t_ns)
        self.values[stream, name] = (t_ns, values)
        gap_ns = gap_limit_ns(self.streams[stream]["period_ns"])
        longest = max((int(runs.length_ns.max()) for runs in find_runs([(t_ns, values)], gap_ns)), default=None)
        entry = {"stream": stream, "message": stream, "channel": "1", "signal": name, "unit": unit, "kind": "float", "choices": None}
        entry |= {"minimum": None, "maximum": None, "count": len(values), "min": values.min(), "max": values.max()}
        entry |= {"longest_constant_ns": longest, "files": [], **declared}
        self.signals.append(entry)
        return entry

    def file(self, name: str, **fields: Any) -> dict[str, Any]:
        """A file that was read."""
        entry = {"id": f"id-{name}", "name": name, "format": "blf", "size": 1000, "absolute": True, "first_ns": START}
        entry |= {
            "last_ns": START + 3600 * SECOND,
            "flags": [],
            "frames": 100,
            "partial": False,
            "lost": [],
            "lost_count": 0,
            "lost_bytes": 0,
        }
        entry |= {"missing_bytes": 0, "skipped": {}, "problem_count": 0, "problems": [], "databases": ["demo.dbc"], **fields}
        self.files.append(entry)
        return entry

    def read(self, stream: str, signal: str) -> Iterable[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """The values in small blocks; `reads` remembers that they were asked for."""
        self.reads.append((stream, signal))
        t_ns, values = self.values[stream, signal]
        for start in range(0, len(t_ns), 997):
            yield t_ns[start : start + 997], values[start : start + 997]

    def evidence(self, limits: Sequence[Limit] = (), files: Sequence[FileFact] = (), has_database: bool = True) -> Evidence:
        """The evidence of this recording."""
        ends = [(stream["first_ns"], stream["last_ns"]) for stream in self.streams.values()]
        time: Mapping[str, Any] = {
            "first_ns": min((first for first, _ in ends), default=START),
            "last_ns": max((last for _, last in ends), default=START + 3600 * SECOND),
            **self.time,
        }
        statistics = {
            "schema": 1,
            "time": time,
            "signals": self.signals,
            "streams": list(self.streams.values()),
            "frames": self.frames,
            "coverage": self.coverage,
            "unknown_ids": self.unknown_ids,
            "fault_codes": self.fault_codes,
            "messages": [],
            "files": self.files,
        }
        return Evidence(statistics=statistics, limits=limits, files=files, has_database=has_database, series=self.read)
