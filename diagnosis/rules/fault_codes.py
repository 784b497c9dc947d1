"""Fault codes that control units have reported: OBD-II, UDS and J1939."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from diagnosis import codes
from diagnosis.codes import Meaning
from diagnosis.evidence import CodeFact, Evidence, Json
from diagnosis.findings import CRITICAL, ERROR, INFO, LISTED, WARNING, FoundFinding, length, listed, milder, moment, times, worse

RULE = "fault_codes"
VERSION = "2"
TITLE = "fault codes of control units"

PROTOCOLS = {"obd2": "OBD-II", "uds": "UDS", "j1939": "J1939"}
STATUSES = ("active", "permanent", "stored", "pending", "previously_active")  # the gravest first
LAMPS = {"red_stop": "red stop lamp", "mil": "malfunction lamp", "amber_warning": "amber warning lamp", "protect": "protection lamp"}
LAMP_SEVERITY = {"red_stop": CRITICAL, "mil": ERROR, "amber_warning": WARNING, "protect": WARNING}
UDS_SEVERITY = {"check_immediately": CRITICAL, "check_at_next_halt": ERROR, "maintenance": WARNING}
SPN = re.compile(r"SPN (\d+) FMI (\d+)")


def find(evidence: Evidence) -> Iterator[FoundFinding]:
    """One finding for each code of each control unit, with all states in which it was reported."""
    groups: dict[tuple[str, str, str, str], list[Json]] = {}
    for row in evidence.statistics["fault_codes"]:
        groups.setdefault((row["protocol"], row["code"], row["source"], row["channel"]), []).append(row)
    for (protocol, code, source, channel), rows in groups.items():
        rows.sort(key=lambda row: _rank(row["status"]))
        yield _finding(evidence, protocol, code, source, channel, rows)


def meaning_of(protocol: str, code: str, names: Mapping[str, CodeFact]) -> Meaning:
    """What is known of the code: what the operator has written down for it, else what the standards say."""
    if protocol == "j1939":
        match = SPN.fullmatch(code)
        if match is None:
            return Meaning("unknown code", WARNING, "")
        whole, part = names.get(code), names.get(f"SPN {match[1]}")
        known = codes.of_j1939(int(match[1]), int(match[2]), part.text if part else "")
    else:
        base, _, failure = code.partition("-")
        whole, part = names.get(code) if failure else None, names.get(base)
        known = codes.of_j2012(code, part.text if part else "")
    for fact in (part, whole):  # what is said of exactly this code wins
        if fact is not None:
            known = replace(known, severity=fact.severity or known.severity, action=fact.action or known.action)
    return known if whole is None else replace(known, text=whole.text)


def severity_of(protocol: str, meaning: Meaning, rows: list[Json]) -> str:
    """How grave a code is: by what it means, one step milder while it is only pending, by the severity that the control unit gives it
    (UDS) and by the lamps that were on with it.

    What is no longer active is for information. Of OBD-II codes no lamps are known.
    """
    statuses = {row["status"] for row in rows}
    if statuses <= {"previously_active"}:
        return INFO
    severity = meaning.severity
    if statuses <= {"pending", "previously_active"}:
        severity = milder(severity)
    for told in {row.get("severity") for row in rows} & UDS_SEVERITY.keys():
        severity = worse(severity, UDS_SEVERITY[str(told)])
    for lamp in lamps_on(rows):
        severity = worse(severity, LAMP_SEVERITY.get(lamp, WARNING))
    return severity


def lamps_on(rows: list[Json]) -> list[str]:
    """The lamps that were ever on with the code while it was there, the gravest first; J1939 tells those of the control unit as a whole."""
    seen = {lamp for row in rows if row["status"] != "previously_active" for lamp, on in (row["lamps"] or {}).items() if on}
    return [lamp for lamp in LAMPS if lamp in seen]


def _rank(status: str) -> int:
    return STATUSES.index(status) if status in STATUSES else len(STATUSES)


def _finding(evidence: Evidence, protocol: str, code: str, source: str, channel: str, rows: list[Json]) -> FoundFinding:
    meaning = meaning_of(protocol, code, evidence.code_facts)
    first, last = min(row["first_ns"] for row in rows), max(row["last_ns"] for row in rows)
    statuses = [row["status"].replace("_", " ") for row in rows]
    count = sum(row["count"] for row in rows)
    lamps = lamps_on(rows)
    absolute = evidence.statistics["time"]["absolute"]
    unit = f"address {source.upper()}" if protocol == "j1939" else f"control unit {source.upper()}"
    occurred = max((row["occurrence_count"] or 0 for row in rows), default=0)
    sentence = (
        f"{PROTOCOLS[protocol]} code {code} ({meaning.text}), {listed(statuses)}, from {unit} on bus {channel}: reported {times(count)}"
    )
    sentence += f", first at {moment(first, absolute=absolute)}" + (f", for {length(last - first)}." if last > first else ".")
    if occurred > 1:
        sentence += f" The control unit counts {occurred} occurrences."
    if lamps:
        sentence += f" On with it: {listed([LAMPS[lamp] for lamp in lamps])}."
    return FoundFinding(
        severity_of(protocol, meaning, rows),
        sentence,
        meaning.action,
        code=code,
        file_id=max(rows, key=lambda row: row["last_ns"])["file"],
        from_ns=first,
        to_ns=last,
        count=count,
        details={
            "protocol": protocol,
            "source": source,
            "channel": channel,
            "text": meaning.text,
            "lamps": lamps,
            "records": [record for row in rows for record in row.get("records", [])][:LISTED],
            "states": [
                {
                    "status": row["status"],
                    "status_byte": row.get("status_byte"),
                    "first_ns": row["first_ns"],
                    "last_ns": row["last_ns"],
                    "count": row["count"],
                }
                for row in rows[:LISTED]
            ],
        },
    )
