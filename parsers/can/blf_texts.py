"""What BLF objects say in words: application texts, comments on events, and markers; and the names of the objects that are read over."""

from __future__ import annotations

import codecs
import struct
from dataclasses import dataclass

# behind the object's own header of 32 bytes
_TEXT = struct.Struct("<I4xI4x")  # u32 source, 4 unused, u32 length, 4 unused
_COMMENT = struct.Struct("<II8x")  # u32 type of the object commented on, u32 length
_MARKER = struct.Struct("<III4xIII12x")  # u32 type commented on, u32 x 2 colours, 4 unused, u32 lengths of group, name and description
_SOURCES = {0: "measurement comment", 1: "database channel", 2: "metadata", 3: "attachment"}
_TIME_IS_NS = 2  # flag; without it a time counts 10 microseconds

APPLICATION_TEXT, EVENT_COMMENT, GLOBAL_MARKER = 65, 92, 96

_NAMES: dict[str, tuple[int, ...]] = {
    "CAN overload frame": (3,),
    "CAN statistic": (4,),
    "CAN driver event": (31, 44, 74),
    "CAN setting": (129,),
    "trigger": (5, 128),
    "environment variable": (6, 7, 8, 9),
    "LIN message": (11, 57),
    "LIN event": (*range(12, 22), 42, 43, 54, *range(58, 65), 75, 87, 88, 89, 105),
    "MOST event": (*range(22, 26), *range(32, 40), *range(67, 71), *range(76, 86), 95),
    "FlexRay message": (29, 41, 50, 66),
    "FlexRay event": (30, 40, 45, 47, 48, 49),
    "Ethernet frame": (71, 120, 121),
    "Ethernet event": (102, 103, 114, 122, 123),
    "WLAN event": (93, 94),
    "AFDX event": (97, 98, 106, 107, 109),
    "ARINC 429 event": (110, 111, 112, 113),
    "J1708 message": (55, 56),
    "K-Line event": (99,),
    "serial event": (90,),
    "GPS event": (46,),
    "real-time clock": (51,),
    "system variable": (72,),
    "function bus": (124,),
    "distributed object": (130,),
    "attribute": (131,),
    "test structure": (117,),
    "diagnostic request": (118,),
    "application text": (APPLICATION_TEXT,),
    "event comment": (EVENT_COMMENT,),
    "global marker": (GLOBAL_MARKER,),
    "restore point": (115,),
    "data lost by the logger": (91, 125, 126),
    "water mark": (127,),
    "object type 255 or above": (255,),
}
KINDS = {number: name for name, numbers in _NAMES.items() for number in numbers}
"""What objects are called in `Recording.skipped`, by type number."""


@dataclass(frozen=True, slots=True)
class Said:
    """One object in words: its time as in the frames of its file (ns), who says it, and what."""

    t_ns: int
    source: str
    text: str


def said(data: bytes) -> Said | str:
    """The words of an object of type 65, 92 or 96, of which the first bytes are enough; or what it is called when its fields are cut."""
    kind = int.from_bytes(data[12:16], "little")
    header_size = int.from_bytes(data[4:6], "little")
    layout = {EVENT_COMMENT: _COMMENT, GLOBAL_MARKER: _MARKER}.get(kind, _TEXT)
    if header_size < 32 or len(data) < header_size + layout.size:
        return f"{KINDS.get(kind, 'text')} without its fields"
    flags = int.from_bytes(data[16:20], "little")
    time = int.from_bytes(data[24:32], "little") * (1 if flags & _TIME_IS_NS else 10_000)
    fields = layout.unpack_from(data, header_size)
    words = data[header_size + layout.size :]
    if kind == EVENT_COMMENT:
        return Said(time, "event comment", _decoded(words, fields[1]))
    if kind == GLOBAL_MARKER:
        group, name, description = _split(words, fields[3:])
        return Said(time, f"marker {group}".strip(), ": ".join(filter(None, (name, description))))
    return Said(time, _SOURCES.get(fields[0], f"source {fields[0]}"), _decoded(words, fields[1]))


def _split(words: bytes, lengths: tuple[int, ...]) -> list[str]:
    parts = []
    for length in lengths:
        parts.append(_decoded(words, length))
        words = words[length:]
    return parts


def _decoded(words: bytes, length: int) -> str:
    """Writers use UTF-8 and the code page of western Windows; texts may end with zeros. A long one may be cut within a character."""
    raw = words[:length].rstrip(b"\0")
    try:
        return codecs.utf_8_decode(raw, "strict", length <= len(words))[0]
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")
