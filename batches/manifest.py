"""Compares what a vehicle announces with what is stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from unicodedata import normalize

LISTED = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One file as announced or as stored; an announced one may lack the SHA-256."""

    name: str
    size: int
    sha256: str = ""

    def fits(self, stored: Entry) -> bool:
        """Is this announcement true of the stored file?"""
        return self.size == stored.size and self.sha256 in {"", stored.sha256}


@dataclass(slots=True)
class Differences:
    """Names of files that are not as announced."""

    missing: list[str] = field(default_factory=list)
    short: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.missing or self.short or self.corrupt or self.unexpected)

    def listed(self) -> dict[str, Any]:
        """For the answer: at most 100 names of each kind, and how many there are."""
        kinds = {kind: getattr(self, kind) for kind in ("missing", "short", "corrupt", "unexpected")}
        return {**{kind: names[:LISTED] for kind, names in kinds.items()}, "counts": {kind: len(names) for kind, names in kinds.items()}}


def compare(announced: Iterable[Entry], stored: Iterable[Entry]) -> Differences:
    """Match the two by name; of several files with one name, each matches once.

    `short`: another length than announced. `corrupt`: the length fits, the SHA-256 does not.
    """
    left: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in stored:
        left[entry.name].append(entry)
    differences = Differences()
    unmatched = []
    # Announcements with a digest choose first: one without would take any file of its length.
    for entry in sorted(announced, key=lambda entry: not entry.sha256):
        name = normalize("NFC", entry.name)
        fitting = next((candidate for candidate in left[name] if entry.fits(candidate)), None)
        if fitting is None:
            unmatched.append((name, entry))
        else:
            left[name].remove(fitting)
    for name, entry in unmatched:
        if not left[name]:
            differences.missing.append(name)
        elif same := next((candidate for candidate in left[name] if candidate.size == entry.size), None):
            left[name].remove(same)
            differences.corrupt.append(name)
        else:
            left[name].pop()
            differences.short.append(name)
    differences.unexpected = [name for name, entries in left.items() for _ in entries]
    return differences
