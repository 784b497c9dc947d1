"""summary.json of a decoded file: what was in it, how sure that is, and what was lost."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsers.base import Recording
from parsers.can.decode import Decoder
from parsers.results._stats import StreamStatistics
from parsers.results.clock import MAX_JUMPS, SampleClock
from parsers.results.layout import MAX_FAULT_CODES, MAX_GAPS, NAME_KEPT, SCHEMA, storable
from parsers.results.messages import MessageWriter
from parsers.results.samples import SampleStream, WrittenStream

PERIOD_SAMPLES = 65_536
_FEW_STEPS = 128
SECOND_NS = 1_000_000_000
GAP_PERIODS = 10
YEAR_2000_NS = 946_684_800 * SECOND_NS
CHOICES_KEPT = 4_000_000  # characters of all value tables in the summary; those beyond are in the Parquet files only

Json = dict[str, Any]


@dataclass
class Intervals:
    """The usual distance between the rows of a stream and the gaps: intervals above 10 of them and above 1 s.

    The median is taken over the first 65,536 intervals; until then all that exceed 1 s are kept as candidates, so memory is bounded.
    """

    period_ns: int | None = None
    gap_count: int = 0
    gaps: list[Json] = field(default_factory=list)
    first_ns: int | None = None
    last_ns: int | None = None
    _last: int | None = None
    _sample: list[NDArray[np.int64]] = field(default_factory=list)
    _sampled: int = 0
    _times: list[NDArray[np.int64]] = field(default_factory=list)

    def update(self, t_ns: NDArray[np.int64]) -> None:
        """Takes the times of the next rows."""
        if not len(t_ns):
            return
        low, high = int(t_ns.min()), int(t_ns.max())
        self.first_ns = low if self.first_ns is None else min(self.first_ns, low)
        self.last_ns = high if self.last_ns is None else max(self.last_ns, high)
        times = t_ns.copy() if self._last is None else np.concatenate([np.array([self._last], np.int64), t_ns])
        self._last = int(t_ns[-1])
        if self.period_ns is not None:
            self._find(times)
            return
        self._times.append(times)
        self._sampled += len(times) - 1
        if self._sampled >= PERIOD_SAMPLES:
            self.finish()

    def finish(self) -> None:
        """Settles the period and looks for gaps in what has waited for it."""
        if self.period_ns is not None or not self._sampled:
            return
        steps = np.concatenate([np.diff(times) for times in self._times])[:PERIOD_SAMPLES]
        self.period_ns = _median(np.maximum(steps, 0))
        for times in self._times:
            self._find(times)
        self._times = []

    def _find(self, times: NDArray[np.int64]) -> None:
        limit = max(GAP_PERIODS * (self.period_ns or 0), SECOND_NS)
        found = np.flatnonzero(np.diff(times) > limit)
        self.gap_count += len(found)
        for i in found[: MAX_GAPS - len(self.gaps)].tolist():
            self.gaps.append({"from_ns": int(times[i]), "to_ns": int(times[i + 1])})


def _median(steps: NDArray[np.int64]) -> int:
    """The median. Most streams have a few distances only: what the middle of some is usually is that of all, which counting proves."""
    usual = int(np.median(steps[:: len(steps) // _FEW_STEPS + 1]))
    if np.count_nonzero(steps < usual) <= (len(steps) - 1) // 2 and np.count_nonzero(steps <= usual) > len(steps) // 2:
        return usual
    return int(np.median(steps))


@dataclass
class StreamResult:
    """What is known of one stream besides its rows."""

    key: str
    statistics: StreamStatistics
    intervals: Intervals = field(default_factory=Intervals)
    rows: int = 0


def build(
    recording: Recording,
    decoder: Decoder,
    streams: list[tuple[WrittenStream, StreamResult]],
    clock: SampleClock,
    messages: MessageWriter,
    correction: Json | None = None,
    *,
    size: int,
    parser_version: str,
    detection_reason: str,
    fault_codes: list[Json],
) -> Json:
    """The summary as plain data; every number is finite."""
    grouper = decoder.grouper
    channels = recording.channels
    per_channel = grouper.channel_counts()
    return {
        "schema": SCHEMA,
        "format": recording.format,
        "parser_version": parser_version,
        "detection": {"format": recording.format, "reason": detection_reason},
        "size": size,
        "databases": [{"name": name, "sha256": digest} for name, digest in decoder.database.sources],
        "time": {**_time(recording, decoder, clock, messages), "correction": correction},
        "frames": {
            "total": grouper.total,
            "error": grouper.errors,
            "remote": grouper.remotes,
            "fd": grouper.fd,
            "tx": grouper.tx,
            "per_channel": {channel_name(channels, index): count for index, count in per_channel.items()},
        },
        **_ids(decoder, channels),
        "samples": sum(result.rows for stream, result in streams if isinstance(stream, SampleStream)),
        "streams": _streams(streams, channels),
        "streams_truncated": decoder.streams_dropped > 0,
        "fault_codes": [{**code, "channel": short(code["channel"])} for code in fault_codes[:MAX_FAULT_CODES]],
        "skipped": {storable(kind): count for kind, count in recording.skipped.items()},
        "messages": messages.kept,
        "message_count": messages.count,
        "message_levels": dict(messages.levels),
        "metadata": storable(recording.metadata),
        "attachments": [{"name": storable(a.name), "media_type": storable(a.media_type), "size": a.size} for a in recording.attachments],
        "undecoded": storable(recording.undecoded),
        "partial": recording.partial,
        "lost": [{"offset": lost.offset, "length": lost.length, "reason": storable(lost.reason)} for lost in recording.lost],
        "problems": [{"offset": problem.offset, "reason": storable(problem.reason)} for problem in recording.problems],
        "problem_count": recording.problem_count,
    }


def dump(summary: Json) -> bytes:
    """The summary as JSON. Raises ValueError when a number is not finite."""
    return json.dumps(summary, allow_nan=False, separators=(",", ":")).encode()


def _time(recording: Recording, decoder: Decoder, clock: SampleClock, messages: MessageWriter) -> Json:
    grouper, shift = decoder.grouper, recording.start_ns
    ends = [(messages.first_ns, messages.last_ns)]
    if grouper.total:
        ends.append((grouper.first_ns + shift, grouper.last_ns + shift))
    if clock.first_ns is not None and clock.last_ns is not None:
        ends.append((clock.first_ns + shift, clock.last_ns + shift))
    first = min((low for low, _ in ends if low is not None), default=None)
    last = max((high for _, high in ends if high is not None), default=None)
    jumps = [*grouper.jump_list(), *clock.jumps][:MAX_JUMPS]
    flags = []
    if first is not None and recording.absolute and first < YEAR_2000_NS:
        flags.append("1970")
    if not recording.absolute:
        flags.append("relative")
    if grouper.backward_count or clock.backward_count:
        flags.append("backward")
    if any(to > origin for _, origin, to in jumps):
        flags.append("forward_jump")
    flags += clock.resolution.flags()
    return {
        "absolute": recording.absolute,
        "start_ns": recording.start_ns if recording.absolute and recording.start_ns else None,
        "first_ns": first,
        "last_ns": last,
        "flags": flags,
        "jumps": [{"offset_frame": at, "from_ns": origin + shift, "to_ns": to + shift} for at, origin, to in jumps],
        "jump_count": grouper.jump_count + clock.jump_count,
    }


def channel_name(channels: list[str], channel: int | str) -> str:
    """The display name of a bus, or the source of a stream of samples as it is."""
    if isinstance(channel, str):
        return short(channel)
    return short(channels[channel]) if channel < len(channels) else str(channel)


def short(name: str) -> str:
    """A name as it stands in results."""
    return storable(name[:NAME_KEPT])


def hex_id(arbitration_id: int | None) -> str | None:
    """As it is written everywhere: lower case, without leading zeros."""
    return None if arbitration_id is None else f"{arbitration_id:x}"


def _ids(decoder: Decoder, channels: list[str]) -> Json:
    grouper, shift = decoder.grouper, decoder.shift_ns
    listed = []
    frames = {True: 0, False: grouper.overflow}
    ids = {True: 0, False: 0}
    for slot, message in enumerate(decoder.messages):
        channel, extended, arbitration_id = grouper.key(slot)
        count, data_count, shortest, longest, first, last = grouper.statistics(slot)
        frames[message is not None] += data_count
        ids[message is not None] += data_count > 0
        listed.append(
            {
                "channel": channel_name(channels, channel),
                "id": f"{arbitration_id:x}",
                "extended": extended,
                "count": count,
                "message": message.name if message is not None else None,
                "length_min": shortest,
                "length_max": longest,
                "first_ns": first + shift,
                "last_ns": last + shift,
            }
        )
    listed.sort(key=lambda row: (row["channel"], row["extended"], int(row["id"], 16)))
    return {
        "arbitration_ids": listed[: decoder.limits.max_ids],
        "arbitration_ids_truncated": len(listed) > decoder.limits.max_ids or grouper.overflow > 0,
        "coverage": {"frames_known": frames[True], "frames_unknown": frames[False], "ids_known": ids[True], "ids_unknown": ids[False]},
    }


def _streams(streams: list[tuple[WrittenStream, StreamResult]], channels: list[str]) -> list[Json]:
    names = stream_names([stream for stream, _ in streams], channels)
    described = []
    room = CHOICES_KEPT
    for name, (stream, result) in zip(names, streams, strict=True):
        signals = [_signal(stream, result.statistics, i) for i in range(len(stream.message.signals))]
        for signal in signals:
            size = sum(len(value) + len(text) for value, text in (signal["choices"] or {}).items())
            if size > room:
                signal["choices"] = None
            else:
                room -= size
        intervals = result.intervals
        intervals.finish()
        described.append(
            {
                "key": result.key,
                "name": name,
                "message": short(stream.message.name),
                "channel": channel_name(channels, stream.channel),
                "arbitration_id": hex_id(stream.arbitration_id),
                "extended": stream.extended,
                "count": result.rows,
                "first_ns": intervals.first_ns,
                "last_ns": intervals.last_ns,
                "period_ns": intervals.period_ns,
                "gap_count": intervals.gap_count,
                "gaps": intervals.gaps,
                "signals": signals,
            }
        )
    return described


def stream_names(streams: Sequence[WrittenStream], channels: list[str]) -> list[str]:
    """The message's name; with the channel in front when several buses carry it, with `@source` when several J1939 nodes send it.

    Of two that are still alike one gets `#` and its arbitration id, off CAN its number.
    """
    buses: dict[str, set[int | str]] = {}
    sources: dict[tuple[str, int | str], set[int | None]] = {}
    for stream in streams:
        buses.setdefault(stream.message.name, set()).add(stream.channel)
        sources.setdefault((stream.message.name, stream.channel), set()).add(stream.source_address)
    names: dict[str, None] = {}
    numbers: dict[str, int] = {}  # the last one given to a name: a file of streams of one name tries none twice
    for stream in streams:
        name = short(stream.message.name)
        if len(sources[stream.message.name, stream.channel]) > 1 and stream.source_address is not None:
            name = f"{name}@{stream.source_address:02x}"
        if len(buses[stream.message.name]) > 1:
            name = f"{channel_name(channels, stream.channel)}.{name}"
        if name in names:  # two messages of one name in different databases, two channel groups of one name
            plain = name
            name = f"{plain}#{hex_id(stream.arbitration_id)}" if stream.arbitration_id is not None else plain
            while name in names:
                numbers[plain] = numbers.get(plain, 1) + 1
                name = f"{plain}#{numbers[plain]}"
        names[name] = None
    return list(names)


def _signal(stream: WrittenStream, statistics: StreamStatistics, index: int) -> Json:
    signal = stream.message.signals[index]
    count, nulls, low, high, total, first, last, t_low, t_high, longest = statistics.result(index)
    whole = signal.storage != "float64"
    number = _whole if whole else _finite
    return {
        "name": storable(signal.name),
        "unit": storable(signal.unit),
        "kind": signal.kind,
        "choices": storable(signal.physical_choices()),
        "minimum": _finite(signal.minimum),
        "maximum": _finite(signal.maximum),
        "count": count,
        "null_count": nulls,
        "min": number(low),
        "max": number(high),
        "sum": number(total),
        "mean": _finite(total / count) if count else None,
        "first": number(first),
        "last": number(last),
        "t_min_ns": t_low,
        "t_max_ns": t_high,
        "longest_constant_ns": longest,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _whole(value: float | None) -> int | None:
    return int(value) if value is not None and math.isfinite(value) else None
