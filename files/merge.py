"""Merges the results of a batch's files into statistics.json: exact over all samples, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from files import brief
from files.merge_streams import MEMORY, StreamMerge
from files.result_files import FileResult, Identity, Json, stream_names
from parsers.blocks import LEVELS

SCHEMA = 1
FLAGS = ("1970", "relative", "backward", "forward_jump", "whole_seconds", "repeated", "mixed")
MAX_JUMPS = 100
MAX_IDS = 65_536  # distinct arbitration ids that are counted
MAX_UNKNOWN_IDS = 200
MAX_FAULT_CODES = 1000
MAX_MESSAGES = 200
MAX_FILES = 5000
MAX_LOST = 20  # lost ranges listed for one file
MAX_NAMED = 50  # attachments, undecoded topics and facts of metadata listed for one file
MAX_NAMED_OF_ALL = 20_000  # and for all of them together
KEPT_SUMMARIES = 64  # files up to which the summaries stay in memory

CLOCKS = ("absolute", "1970", "relative")
"""How the times of a file were told, best first; times of different kinds are not compared."""


def merge(results: Sequence[FileResult], memory: int = MEMORY) -> Json:
    """The statistics of a batch: the members are described in docs/rules.md, every number is finite.

    `results` are in the order of recording. Percentiles are nearest-rank over all samples of the batch. `memory` bounds the bytes of
    samples that are held at once. Raises what reading a result raises (ParseError, KeyError, storage errors).
    """
    whole = BatchTotals()
    streams: dict[Identity, StreamMerge] = {}
    for result in results:
        summary = result.summary
        clock = whole.add(result, summary)
        for part, stream in zip(result.parts, summary["streams"], strict=True):
            if part.identity not in streams:
                streams[part.identity] = StreamMerge(part.identity, stream["arbitration_id"], memory=memory)
            streams[part.identity].add(result, part, stream, clock)
        if len(results) > KEPT_SUMMARIES:
            result.forget()
    names = stream_names(list(streams))
    described, signals = [], []
    for identity in sorted(streams, key=names.__getitem__):
        entry, of_stream = streams[identity].finish(names[identity])
        described.append(entry)
        signals += of_stream
    return {"schema": SCHEMA, **whole.to_json(), "signals": signals, "streams": described}


@dataclass
class Span:
    """First and last time of the files of one clock."""

    first_ns: int | None = None
    last_ns: int | None = None
    files: int = 0

    def add(self, first_ns: int | None, last_ns: int | None) -> None:
        """The ends of one more file."""
        if first_ns is None or last_ns is None:
            return
        self.files += 1
        self.first_ns = first_ns if self.first_ns is None else min(self.first_ns, first_ns)
        self.last_ns = last_ns if self.last_ns is None else max(self.last_ns, last_ns)


@dataclass
class BatchTotals:
    """Everything of the summaries that is not about a stream."""

    spans: dict[str, Span] = field(default_factory=lambda: {clock: Span() for clock in CLOCKS})
    flags: set[str] = field(default_factory=set)
    jumps: list[Json] = field(default_factory=list)
    jump_count: int = 0
    frames: Counter[str] = field(default_factory=Counter)
    per_channel: Counter[str] = field(default_factory=Counter)
    coverage: Counter[str] = field(default_factory=Counter)
    ids: dict[tuple[str, str, bool], list[int]] = field(default_factory=dict)  # [frames, whether a database has it]
    ids_truncated: bool = False
    fault_codes: dict[tuple[str, ...], Json] = field(default_factory=dict)
    messages: list[Json] = field(default_factory=list)
    message_count: int = 0
    message_levels: Counter[str] = field(default_factory=Counter)
    samples: int = 0
    corrections: dict[str, Json | None] = field(default_factory=dict)
    named: int = 0
    files: list[Json] = field(default_factory=list)
    file_count: int = 0

    def add(self, result: FileResult, summary: Json) -> str:
        """One more file; the kind of clock that it was recorded with."""
        time = summary["time"]
        clock = "relative" if not time["absolute"] else "1970" if "1970" in time["flags"] else "absolute"
        self.spans[clock].add(time["first_ns"], time["last_ns"])
        self.flags.update(time["flags"])
        # Recordings that count from their own start share no offset: only that of the first one tells when the batch began.
        if clock == "absolute":
            self.corrections[clock] = self.corrections.get(clock) or time["correction"]
        else:
            self.corrections.setdefault(clock, time["correction"])
        self.jump_count += time["jump_count"]
        self.jumps += [
            {"file": result.file_id, "from_ns": jump["from_ns"], "to_ns": jump["to_ns"]}
            for jump in time["jumps"][: MAX_JUMPS - len(self.jumps)]
        ]
        frames = summary["frames"]
        self.per_channel.update(frames["per_channel"])
        self.frames.update({kind: count for kind, count in frames.items() if kind != "per_channel"})
        self.coverage.update({kind: summary["coverage"][kind] for kind in ("frames_known", "frames_unknown")})
        self._add_ids(summary)
        for code in summary["fault_codes"]:
            self._add_code(result, code)
        self.samples += summary["samples"]
        self.message_count += summary["message_count"]
        self.message_levels.update(summary["message_levels"])
        self._add_messages(result, summary["messages"])
        self.file_count += 1
        if len(self.files) < MAX_FILES:
            named = _named(summary, min(MAX_NAMED, MAX_NAMED_OF_ALL - self.named))
            self.named += sum(len(named[kind]) for kind in ("undecoded", "attachments", "metadata"))
            self.files.append(_file(result, summary) | named)
        return clock

    def _add_messages(self, result: FileResult, messages: Sequence[Json]) -> None:
        """The worst ones, of equal ones the first."""
        self.messages += [{**message, "file": result.file_id} for message in messages]
        self.messages.sort(key=lambda message: -LEVELS.index(message["level"]))
        del self.messages[MAX_MESSAGES:]

    def _add_ids(self, summary: Json) -> None:
        self.ids_truncated = self.ids_truncated or summary["arbitration_ids_truncated"]
        for row in summary["arbitration_ids"]:
            key = row["channel"], row["id"], row["extended"]
            if key in self.ids:
                self.ids[key][0] += row["count"]
                self.ids[key][1] |= row["message"] is not None
            elif len(self.ids) < MAX_IDS:
                self.ids[key] = [row["count"], row["message"] is not None]
            else:
                self.ids_truncated = True

    def _add_code(self, result: FileResult, code: Json) -> None:
        key = tuple(code[name] for name in ("protocol", "code", "status", "source", "channel"))
        seen = self.fault_codes.get(key)
        if seen is None:
            if len(self.fault_codes) < MAX_FAULT_CODES:
                self.fault_codes[key] = {**code, "file": result.file_id}
            return
        if code["last_ns"] >= seen["last_ns"]:
            seen |= {"occurrence_count": code["occurrence_count"], "status_byte": code["status_byte"], "file": result.file_id}
            seen["severity"] = code["severity"] or seen["severity"]
            seen["records"] = code["records"] or seen["records"]
        seen["count"] += code["count"]
        seen["first_ns"] = min(seen["first_ns"], code["first_ns"])
        seen["last_ns"] = max(seen["last_ns"], code["last_ns"])
        seen["lamps"] = ever_on(seen["lamps"], code["lamps"])

    def to_json(self) -> Json:
        """The members of statistics.json but `signals` and `streams`."""
        unknown = sorted(
            (-count, channel, extended, int(identifier, 16))
            for (channel, identifier, extended), (count, known) in self.ids.items()
            if not known
        )
        known_ids = sum(known for _, known in self.ids.values())
        frames = dict.fromkeys(("total", "error", "remote", "fd", "tx"), 0) | dict(self.frames)
        return {
            "time": self._time(),
            "frames": {**frames, "per_channel": dict(sorted(self.per_channel.items()))},
            "coverage": {
                "frames_known": self.coverage["frames_known"],
                "frames_unknown": self.coverage["frames_unknown"],
                "ids_known": known_ids,
                "ids_unknown": len(unknown),
                "ids_truncated": self.ids_truncated,
            },
            "unknown_ids": [
                {"channel": channel, "id": f"{identifier:x}", "extended": extended, "count": -count}
                for count, channel, extended, identifier in unknown[:MAX_UNKNOWN_IDS]
            ],
            "fault_codes": sorted(self.fault_codes.values(), key=_by_first_sighting),
            "samples": self.samples,
            "messages": self.messages,
            "message_count": self.message_count,
            "message_levels": dict(self.message_levels),
            "files": self.files,
            "file_count": self.file_count,
        }

    def _time(self) -> Json:
        """The ends of the batch by its best clock; files with another one only raise the flag `mixed`."""
        used = [clock for clock in CLOCKS if self.spans[clock].files]
        span = self.spans[used[0]] if used else Span()
        flags = self.flags | ({"mixed"} if len(used) > 1 else set())
        return {
            "absolute": bool(used) and used[0] != "relative",
            "first_ns": span.first_ns,
            "last_ns": span.last_ns,
            "flags": [flag for flag in FLAGS if flag in flags],
            "jumps": self.jumps,
            "jump_count": self.jump_count,
            "correction": self.corrections.get(used[0]) if used else None,
        }


def _named(summary: Json, most: int) -> Json:
    most = max(most, 0)
    return {
        "undecoded": brief.entries(summary["undecoded"], most),
        "undecoded_count": len(summary["undecoded"]),
        "attachments": brief.attachments(summary["attachments"], most),
        "metadata": brief.entries(summary["metadata"], most),
    }


def _file(result: FileResult, summary: Json) -> Json:
    time = summary["time"]
    lost = summary["lost"]
    return {
        "id": result.file_id,
        "name": result.name,
        "format": summary["format"],
        "size": summary["size"],
        "absolute": time["absolute"],
        "first_ns": time["first_ns"],
        "last_ns": time["last_ns"],
        "flags": time["flags"],
        "correction": time["correction"],
        "frames": summary["frames"]["total"],
        "samples": summary["samples"],
        "messages": summary["message_count"],
        "partial": summary["partial"],
        "lost": lost[:MAX_LOST],
        "lost_count": len(lost),
        "lost_bytes": covered_bytes(lost, summary["size"]),
        "missing_bytes": covered_bytes(lost) - covered_bytes(lost, summary["size"]),
        "skipped": summary["skipped"],
        "problem_count": summary["problem_count"],
        "problems": summary["problems"][:MAX_LOST],
        "databases": [database["name"] for database in summary["databases"]],
    }


def _by_first_sighting(row: Json) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("first_ns", "protocol", "code", "status", "source", "channel"))


def covered_bytes(lost: Sequence[Json], size: int | None = None) -> int:
    """Bytes in the lost ranges, those before `size` only; where ranges overlap they are counted once."""
    covered, end = 0, 0
    for first, stop in sorted((entry["offset"], entry["offset"] + entry["length"]) for entry in lost):
        stop = stop if size is None else min(stop, size)
        covered += max(0, stop - max(first, end))
        end = max(end, stop)
    return covered


def ever_on(one: dict[str, bool | None] | None, other: dict[str, bool | None] | None) -> dict[str, bool | None] | None:
    """Lamps of two sightings: on when it ever was, off when it was seen off, else not reported."""
    if one is None or other is None:
        return one if other is None else other
    joined: dict[str, bool | None] = {}
    for lamp in one.keys() | other.keys():
        states = {one.get(lamp), other.get(lamp)}
        joined[lamp] = True if True in states else False if False in states else None
    return dict(sorted(joined.items()))
