"""Recognises the signal database of a log by its arbitration ids, for vehicles whose platform has none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from parsers.can.database import Database, pgn_of
from vehicles.models import SignalDatabase

Json = dict[str, Any]
Entry = tuple[int, bool, int, bool]
"""Arbitration id, extended, bytes, whether it is matched by its J1939 PGN."""

FITTING_IDS = 3  # 11-bit ids are few: one or two are found in any database
FITTING_SHARE = 0.5  # of the frames: what fits less is not believed
FITTING_SHARE_EXTENDED = 0.2  # 29-bit ids do not meet by chance
CLEARLY = 0.8  # another database must fit less than this part of the best, or it is not known which one is right
KNOWN = 1024


@dataclass(frozen=True, slots=True)
class Recognised:
    """The database that fits a log, and the share (0 to 1) of the log's frames that it has."""

    database: SignalDatabase
    share: float


def signature(compiled: bytes) -> tuple[str, list[Entry]]:
    """Format of the file and the ids of its messages, from a compiled database. Raises ParseError for what is none."""
    database = Database.from_json(compiled)
    return database.kind, [(m.arbitration_id, m.extended, m.length, m.j1939) for m in database.messages if m.signals]


def recognise(summary: Json) -> Recognised | None:
    """The active database, of whatever platform, that fits the frames of a log clearly best; None when none does.

    Counts frames whose id a database has and whose length it does not contradict. Of one name and platform the best version counts.
    """
    ids = [row for row in summary["arbitration_ids"] if row["count"] > 0]
    frames = sum(row["count"] for row in ids)
    best: dict[tuple[int, str], tuple[float, int, UUID]] = {}
    for pk, platform, name, version in SignalDatabase.objects.filter(active=True).values_list("pk", "platform_id", "name", "version"):
        fitting = [row for row in ids if _has(*_signature_of(pk), row)]
        if len(fitting) >= FITTING_IDS:
            score = sum(row["count"] for row in fitting) / frames, version, pk
            if score[0] >= (FITTING_SHARE_EXTENDED if all(row["extended"] for row in fitting) else FITTING_SHARE):
                best[platform, name] = max(best.get((platform, name), score), score)
    ranked = sorted(best.values(), reverse=True)
    if not ranked:
        return None
    share, _, pk = ranked[0]
    if any(other >= CLEARLY * share and _signature_of(pk) != _signature_of(another) for other, _, another in ranked[1:]):
        return None
    return Recognised(SignalDatabase.objects.defer("content", "signature").get(pk=pk), share)


def _has(exact: dict[tuple[int, bool], int], groups: frozenset[int], row: Json) -> bool:
    identifier, extended = int(row["id"], 16), row["extended"]
    length = exact.get((identifier, extended))
    if length is not None:
        return bool(row["length_max"] <= length)
    return bool(extended) and pgn_of(identifier) in groups


# A database never changes once it is stored.
@lru_cache(maxsize=KNOWN)
def _signature_of(pk: UUID) -> tuple[dict[tuple[int, bool], int], frozenset[int]]:
    """Bytes of each message by (id, extended), and the PGNs by which 29-bit ids are matched."""
    entries: list[Entry] = SignalDatabase.objects.values_list("signature", flat=True).get(pk=pk)
    exact = {(identifier, extended): length for identifier, extended, length, _ in entries}
    return exact, frozenset(pgn_of(identifier) for identifier, _, _, by_pgn in entries if by_pgn)
