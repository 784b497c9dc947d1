"""Compares what a vehicle announces with what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any
from unicodedata import normalize

LISTED = 100
KINDS = ("missing", "short", "corrupt", "unexpected", "uploading", "verifying")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file as announced or as stored; an announced one may lack the SHA-256."""

    name: str
    size: int
    sha256: str = ""


@dataclass(slots=True)
class Differences:
    """Names of files that are not as announced, or not whole yet.

    `missing`: nothing of it has come. `short`: stored with another length. `corrupt`: stored, or sent, with another digest. `unexpected`:
    stored and not announced. `uploading`: begun and not ended. `verifying`: all bytes are there and are being read again.
    """

    missing: list[str] = field(default_factory=list)
    short: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    uploading: list[str] = field(default_factory=list)
    verifying: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(getattr(self, kind) for kind in KINDS)

    def listed(self) -> dict[str, Any]:
        """For the answer: at most 100 names of each kind, and how many there are."""
        kinds = {kind: getattr(self, kind) for kind in KINDS}
        return {**{kind: names[:LISTED] for kind, names in kinds.items()}, "counts": {kind: len(names) for kind, names in kinds.items()}}


def compare(announced: Iterable[Entry], stored: Iterable[Entry]) -> Differences:
    """Match the two by name; of several files with one name, each matches once. Linear in the number of entries.

    `short`: another length than announced. `corrupt`: the length fits, the SHA-256 does not.
    """
    exact = Counter((entry.name, entry.size, entry.sha256) for entry in stored)
    entries = [(normalize("NFC", entry.name), entry.size, entry.sha256) for entry in announced]
    # Announcements with a digest choose first: one without takes any file of its length.
    undecided = [entry for entry in entries if not (entry[2] and _take(exact, entry))]
    sized: Counter[tuple[str, int]] = Counter()
    for (name, size, _), count in exact.items():
        sized[name, size] += count
    unmatched = [entry for entry in undecided if entry[2] or not _take(sized, entry[:2])]
    differences = Differences()
    wrong_size = []
    for name, size, sha256 in unmatched:
        if sha256 and _take(sized, (name, size)):
            differences.corrupt.append(name)
        else:
            wrong_size.append(name)
    named: Counter[str] = Counter()
    for (name, _), count in sized.items():
        named[name] += count
    for name in wrong_size:
        (differences.short if _take(named, name) else differences.missing).append(name)
    differences.unexpected = list(named.elements())
    return differences


def _take(left: Counter[Any], key: Hashable) -> bool:
    """Take one of `key` out of what is left, if there is one."""
    if left[key] <= 0:
        return False
    left[key] -= 1
    return True
