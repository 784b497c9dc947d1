"""Compares software versions as people write them: 1.10 comes after 1.9, 2.0-rc1 before 2.0, and 2 is 2.0."""

from __future__ import annotations

import re

_PARTS = re.compile(r"\d+|[^\W\d_]+")
Key = tuple[tuple[int, int, str], ...]

WORD, END, NUMBER = 0, 1, 2  # a word behind a version makes it an earlier one, a further number a later one
_ZERO = (NUMBER, 0, "")


def version_key(version: str) -> Key:
    """Sorts versions. Numbers are compared as numbers, words as text; a leading `v` and zeros at the end of the numbers do not count."""
    key: list[tuple[int, int, str]] = []
    for part in [*_PARTS.findall(version.strip().lower().removeprefix("v")[:200]), ""]:
        if part.isdecimal():
            key.append((NUMBER, int(part), ""))
            continue
        while key and key[-1] == _ZERO:
            key.pop()
        key.append((WORD, 0, part) if part else (END, 0, ""))
    return tuple(key)


def within(version: str, first: str, before: str) -> bool:
    """Whether a version is `first` or later and comes before `before`; an empty bound is open."""
    key = version_key(version)
    return (not first or version_key(first) <= key) and (not before or key < version_key(before))
