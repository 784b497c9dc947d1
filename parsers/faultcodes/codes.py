"""A fault code as it was seen once, whatever the protocol, and how sightings are added up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LETTERS = "PCBU"


MAX_RECORDS = 16  # different snapshot and extended data records kept of one code
MAX_RECORD = 512  # bytes kept of one record


@dataclass(frozen=True, slots=True)
class Record:
    """What a control unit stored beside a code: `snapshot` of its values or `extended` data (counters), by number.

    What the bytes mean is known to the maker only (its ODX files); they are kept as they were sent.
    """

    kind: str
    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class FaultCode:
    """One code in one message. `lamps` are on (True), off (False) or not reported (None).

    `status_byte` and `severity` are what UDS tells besides: the eight status bits, and `check_immediately`, `check_at_next_halt` or
    `maintenance`.
    """

    protocol: str
    code: str
    status: str
    occurrence_count: int | None = None
    lamps: dict[str, bool | None] | None = None
    status_byte: int | None = None
    severity: str | None = None
    records: tuple[Record, ...] = ()


def j2012(two_bytes: int) -> str:
    """The written form of a two-byte code: 0x0301 is P0301, 0xC100 is U0100."""
    return f"{LETTERS[two_bytes >> 14]}{two_bytes >> 12 & 3}{two_bytes & 0xFFF:03X}"


@dataclass(slots=True)
class _Sighting:
    count: int
    first_ns: int
    last_ns: int
    occurrence_count: int | None
    lamps: dict[str, bool | None] | None
    status_byte: int | None
    severity: str | None
    records: dict[tuple[str, int], bytes]


@dataclass
class FaultCodes:
    """Sightings per (protocol, code, status, source, channel), at most `limit` different ones; later ones only count as `dropped`."""

    limit: int = 1000
    dropped: int = 0
    _seen: dict[tuple[str, str, str, str, str], _Sighting] = field(default_factory=dict)

    def add(self, fault: FaultCode, source: str, channel: str, first_ns: int, last_ns: int, count: int = 1) -> None:
        """Adds a message with this code that was seen `count` times between two times (ns)."""
        key = (fault.protocol, fault.code, fault.status, source, channel)
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= self.limit:
                self.dropped += 1
                return
            seen = _Sighting(count, first_ns, last_ns, fault.occurrence_count, fault.lamps, fault.status_byte, fault.severity, {})
            self._seen[key] = seen
            _keep(seen, fault.records)
            return
        if last_ns >= seen.last_ns:
            seen.occurrence_count = fault.occurrence_count
            seen.status_byte = fault.status_byte
        seen.severity = fault.severity or seen.severity
        _keep(seen, fault.records)
        seen.count += count
        seen.first_ns = min(seen.first_ns, first_ns)
        seen.last_ns = max(seen.last_ns, last_ns)
        seen.lamps = _ever_on(seen.lamps, fault.lamps)

    def to_json(self) -> list[dict[str, Any]]:
        """Rows of `fault_codes` in summary.json, in the order of their first sighting."""
        rows = sorted(self._seen.items(), key=lambda item: (item[1].first_ns, item[0]))
        return [
            {
                "protocol": protocol,
                "code": code,
                "status": status,
                "source": source,
                "channel": channel,
                "count": seen.count,
                "first_ns": seen.first_ns,
                "last_ns": seen.last_ns,
                "occurrence_count": seen.occurrence_count,
                "lamps": seen.lamps,
                "status_byte": seen.status_byte,
                "severity": seen.severity,
                "records": [{"kind": kind, "number": number, "data": data.hex()} for (kind, number), data in sorted(seen.records.items())],
            }
            for (protocol, code, status, source, channel), seen in rows
        ]


def _keep(seen: _Sighting, records: tuple[Record, ...]) -> None:
    """The last content of each record."""
    for record in records:
        key = record.kind, record.number
        if key in seen.records or len(seen.records) < MAX_RECORDS:
            seen.records[key] = record.data[:MAX_RECORD]


def _ever_on(one: dict[str, bool | None] | None, other: dict[str, bool | None] | None) -> dict[str, bool | None] | None:
    if one is None or other is None:
        return one or other
    return {name: True if one[name] or other[name] else one[name] if other[name] is None else other[name] for name in one}
