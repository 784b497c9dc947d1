"""Builds log files byte by byte, so that a test says exactly which field is wrong."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

# --- candump


def candump(*frames: str, start: int = 1_700_000_000_000_000, step_us: int = 1000) -> bytes:
    """Compact lines, one for each `123#1122`, on can0, `step_us` microseconds apart."""
    lines = []
    for i, frame in enumerate(frames):
        t = start + i * step_us
        lines.append(f"({t // 10**6:010d}.{t % 10**6:06d}) can0 {frame}\n")
    return "".join(lines).encode()


# --- ASC

ASC_HEADER = "date Sam Sep 30 15:06:13.191 2017\nbase hex  timestamps absolute\ninternal events logged\n"


def asc(*events: str, header: str = ASC_HEADER, end: str = "") -> bytes:
    """A header and one line for each event."""
    return (header + "".join(event + "\n" for event in events) + end).encode()


# --- BLF


def blf_object(kind: int, body: bytes, *, time: int = 5_000_000, flags: int = 2, version: int = 1, size: int | None = None) -> bytes:
    """An object with the header of version 1 (32 bytes) or 2 (40 bytes); `size` lies about its length."""
    # u32 flags, u16 client index (v2: u8 time status, u8 unused), u16 object version, u64 time, v2: u64 original time
    rest = struct.pack("<IHHQ", flags, 0, 0, time) + (bytes(8) if version == 2 else b"")
    header_size = 16 + len(rest)
    length = header_size + len(body) if size is None else size
    return struct.pack("<4sHHII", b"LOBJ", header_size, version, length, kind) + rest + body


def blf_can(
    can_id: int, data: bytes, *, channel: int = 1, flags: int = 0, dlc: int | None = None, kind: int = 1, time: int = 5_000_000
) -> bytes:
    """Types 1 and 86: u16 channel, u8 flags, u8 dlc, u32 id, 8 data bytes."""
    body = struct.pack("<HBBI", channel, flags, len(data) if dlc is None else dlc, can_id) + data.ljust(8, b"\0")
    return blf_object(kind, body + (bytes(8) if kind == 86 else b""), time=time)


def blf_fd(can_id: int, data: bytes, *, channel: int = 1, flags: int = 0, fd_flags: int = 1, valid: int | None = None) -> bytes:
    """Type 100: u16 channel, u8 flags, u8 dlc, u32 id, u32, u8, u8 FD flags, u8 valid bytes, 5 unused, 64 data bytes, u32."""
    count = len(data) if valid is None else valid
    head = struct.pack("<HBBIIBBB5x", channel, flags, 15, can_id, 0, 0, fd_flags, count)
    return blf_object(100, head + data.ljust(64, b"\0") + bytes(4))


def blf_fd64(
    can_id: int, data: bytes, *, channel: int = 1, flags: int = 0x1000, valid: int | None = None, direction: int = 0, extra: bytes = b""
) -> bytes:
    """Type 101: 40 fixed bytes, the stored data, then extra data whose offset the fixed part names."""
    count = len(data) if valid is None else valid
    extra_at = 32 + 40 + len(data) if extra else 0
    fixed = struct.pack("<BBBBIIIIIIIHBBI", channel, 15, count, 0, can_id, 0, flags, 0, 0, 0, 0, 0, direction, extra_at, 0)
    return blf_object(101, fixed + data + extra)


def blf_text(text: bytes, source: int = 0) -> bytes:
    """Type 65: u32 source, u32 unused, u32 length, u32 unused, text."""
    return blf_object(65, struct.pack("<IIII", source, 0, len(text), 0) + text)


def blf_comment(text: bytes) -> bytes:
    """Type 92: u32 type of the object commented on, u32 length, 8 unused, text."""
    return blf_object(92, struct.pack("<II8x", 1, len(text)) + text)


def blf_marker(group: bytes, name: bytes, description: bytes) -> bytes:
    """Type 96: u32 type commented on, u32 x 2 colours, 4 unused, u32 x 3 lengths, 12 unused, the three texts."""
    return blf_object(96, struct.pack("<III4xIII12x", 1, 0, 0, len(group), len(name), len(description)) + group + name + description)


def blf_container(content: bytes, *, method: int = 2, declared: int | None = None, packed: bytes | None = None) -> bytes:
    """Type 10 around the content, padded as writers do; `declared` lies about the inflated size."""
    data = packed if packed is not None else zlib.compress(content) if method == 2 else content
    body = struct.pack("<H6xI4x", method, len(content) if declared is None else declared) + data
    return struct.pack("<4sHHII", b"LOBJ", 16, 1, 16 + len(body), 10) + body + bytes(len(data) % 4)


def blf_header(size: int, *, objects: int = 1, start: tuple[int, ...] = (2024, 12, 2, 31, 14, 9, 40, 222), header_size: int = 144) -> bytes:
    """LOGG, header size, application, file size, inflated size, counts, start and stop time, padding."""
    head = struct.pack("<4sI8xQQII", b"LOGG", header_size, size, size, objects, 0) + struct.pack("<16H", *start, *start)
    return head.ljust(header_size, b"\0")


def blf(parts: Iterable[bytes], **header: object) -> bytes:
    """A file of containers and objects whose header names the right size."""
    body = b"".join(parts)
    return blf_header(144 + len(body), **header) + body  # type: ignore[arg-type]
