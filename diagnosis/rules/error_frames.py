"""Error frames on the bus: disturbed wiring, a missing terminator, or a control unit with the wrong bit rate."""

from __future__ import annotations

from collections.abc import Iterator

from diagnosis.evidence import Evidence
from diagnosis.findings import ERROR, INFO, WARNING, FoundFinding, percent, plural

RULE = "error_frames"
VERSION = "1"
TITLE = "error frames on the bus"

WARNING_SHARE = 0.001
ERROR_SHARE = 0.01


def find(evidence: Evidence) -> Iterator[FoundFinding]:
    """One finding when there was any error frame; how grave it is depends on their share of all frames."""
    frames = evidence.statistics["frames"]
    errors, total = frames["error"], frames["total"]
    if not errors:
        return
    share = errors / total
    severity = ERROR if share >= ERROR_SHARE else WARNING if share >= WARNING_SHARE else INFO
    yield FoundFinding(
        severity,
        f"{plural(errors, 'error frame')} among {total} frames ({percent(share)}).",
        "Single ones are harmless. If they are many, check plugs, shielding, the two 120 Ω terminators and the bit rates of the bus.",
        from_ns=evidence.statistics["time"]["first_ns"],
        to_ns=evidence.statistics["time"]["last_ns"],
        count=errors,
        details={"share": round(share, 6)},
    )
