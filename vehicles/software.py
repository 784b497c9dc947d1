"""Compares software versions as people write them: 1.10 comes after 1.9, 2.0-rc1 before 2.0."""

from __future__ import annotations

import re

_PARTS = re.compile(r"\d+|[^\W\d_]+")
Key = tuple[tuple[int, int, str], ...]

WORD, END, NUMBER = 0, 1, 2  # a word behind a version makes it an earlier one, a further number a later one


def version_key(version: str) -> Key:
    """Sorts versions. Numbers are compared as numbers, words as text; a leading `v` does not count."""
    parts = _PARTS.findall(version.strip().lower().removeprefix("v")[:200])
    return (*((NUMBER, int(part), "") if part.isdecimal() else (WORD, 0, part) for part in parts), (END, 0, ""))


def within(version: str, first: str, before: str) -> bool:
    """Whether a version is `first` or later and comes before `before`; an empty bound is open."""
    key = version_key(version)
    return (not first or version_key(first) <= key) and (not before or key < version_key(before))
