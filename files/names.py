"""Which file names Argus takes: names are data for people, never parts of a path."""

from __future__ import annotations

import unicodedata

from common.errors import BadFilename
from files.models import NAME_BYTES

# Cc: control characters. Cs: halves of surrogate pairs, no text at all. Zl, Zp: line breaks that are no control characters.
# Cf (direction marks, joiners) is allowed: people's names for files have them, and pages show them escaped.
REFUSED = {"Cc": "a control character", "Cs": "a lone surrogate", "Zl": "a line separator", "Zp": "a paragraph separator"}


def clean_name(name: str) -> str:
    """The name in Unicode normal form C; BadFilename, saying why, for one that could be taken for a path or cannot be shown."""
    name = unicodedata.normalize("NFC", name)
    if not name.strip():
        raise BadFilename("The file has no name.")
    if name in {".", ".."}:
        raise BadFilename("'.' and '..' are folders.")
    for char in name:
        if char in "/\\":
            raise BadFilename("The name has a slash or backslash.")
        if found := REFUSED.get(unicodedata.category(char)):
            raise BadFilename(f"The name has {found} (U+{ord(char):04X}).")
    if len(name.encode()) > NAME_BYTES:
        raise BadFilename(f"The name has {len(name.encode())} bytes in UTF-8; {NAME_BYTES} are allowed.")
    return name
