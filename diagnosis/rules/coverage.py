"""How much of the traffic the signal databases know: what is not decoded cannot be diagnosed."""

from __future__ import annotations

from collections.abc import Iterator

from diagnosis.evidence import Evidence, Json
from diagnosis.findings import INFO, LISTED, WARNING, FoundFinding, listed, percent, plural

RULE = "coverage"
VERSION = "2"
TITLE = "frames that no signal database knows"

FITTING_SHARE = 0.5  # of the frames known: below it the database is likely that of another vehicle

# What is read without a signal database: OBD-II and UDS requests and answers (ISO 15765-4, 15765-2 normal fixed addressing),
# and the network management, transport and diagnostic groups of J1939 (J1939-21, -73, -81).
OBD_IDS = frozenset({0x7DF, *range(0x7E0, 0x7F0)})
UDS_GROUPS = (0xDA00, 0xDB00)
J1939_GROUPS = frozenset({0xE800, 0xEA00, 0xEB00, 0xEC00, 0xEE00, 0xFECA, 0xFECB, 0xFECF, 0xFD80})


def find(evidence: Evidence) -> Iterator[FoundFinding]:
    """No database at all, one that was chosen by its ids, one that does not fit, or messages that it does not have."""
    coverage = evidence.statistics["coverage"]
    known, unknown = coverage["frames_known"], coverage["frames_unknown"]
    if not known + unknown:
        return
    used = sorted({name for file in evidence.statistics["files"] for name in file["databases"]})
    if not used:
        yield _without_database(evidence, known + unknown)
        return
    if not evidence.has_database:
        yield FoundFinding(
            INFO,
            f"The platform of this vehicle has no signal database for its software: {listed(used, 3)} was chosen by the arbitration ids.",
            "If it is the right one, upload it to the platform of this vehicle, or give the vehicle the platform that has it.",
            details={"databases": used[:LISTED]},
        )
    rows = [row for row in evidence.statistics["unknown_ids"] if not is_diagnostic(row)]
    diagnostic = len(evidence.statistics["unknown_ids"]) - len(rows)
    count = coverage["ids_unknown"] - diagnostic
    if count <= 0:
        return
    frames = unknown - sum(row["count"] for row in evidence.statistics["unknown_ids"] if is_diagnostic(row))
    share = known / (known + unknown)
    names = listed([f"0x{row['id'].upper()} (bus {row['channel']})" for row in rows], 4)
    details = {"ids": rows[:LISTED], "share_known": round(share, 4), "databases": used[:LISTED]}
    if share < FITTING_SHARE:
        yield FoundFinding(
            WARNING,
            f"Only {percent(share)} of the frames are in the signal database ({listed(used, 3)}): it may belong to another vehicle. "
            f"{plural(count, 'id')} unknown: {names}.",
            "Check that the platform of the vehicle has the right signal database, add what is missing, then process the batch again.",
            count=count,
            details=details,
        )
        return
    yield FoundFinding(
        INFO,
        f"{plural(count, 'arbitration id')} with {plural(frames, 'frame')} ({percent(1 - share)}) are in no signal database: {names}.",
        "Add a signal database that has them if their signals matter.",
        count=count,
        details=details,
    )


def is_diagnostic(row: Json) -> bool:
    """Whether the id belongs to diagnostics or to the management of the bus, which no signal database needs to have."""
    identifier = int(row["id"], 16)
    if not row["extended"]:
        return identifier in OBD_IDS
    group = identifier >> 8 & 0x3FFFF
    broadcast = group if group >> 8 & 0xFF >= 240 else group & 0x3FF00  # below 240 the low byte is the destination
    return broadcast in J1939_GROUPS or broadcast & 0xFFFF in UDS_GROUPS


def _without_database(evidence: Evidence, frames: int) -> FoundFinding:
    if evidence.has_database:
        return FoundFinding(
            INFO,
            f"None of the {frames} frames was decoded: the files were parsed before a signal database was assigned to the platform.",
            "Process the batch again; it will then use the signal database.",
            count=frames,
        )
    return FoundFinding(
        INFO,
        f"No signal database is assigned to the platform of this vehicle: none of the {frames} frames was decoded into signals.",
        "Upload a signal database (DBC) to the platform, then process the batch again.",
        count=frames,
    )
