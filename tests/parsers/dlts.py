"""Builds DLT messages byte by byte: arguments, payloads, headers of versions 1 and 2, storage headers."""

from __future__ import annotations

import struct

SECONDS = 1_700_000_000
LOG, APP_TRACE, NETWORK, CONTROL = range(4)
FATAL, ERROR, WARN, INFO, DEBUG, VERBOSE = range(1, 7)
REQUEST, RESPONSE = 1, 2
# Type info
BOOL, SINT, UINT, FLOA, ARAY, STRG, RAWD, VARI, FIXP, TRAI, STRU = (1 << bit for bit in range(4, 15))
UTF8, HEXADECIMAL, BINARY = 0x8000, 0x10000, 0x18000


def argument(info: int, data: bytes, big: bool = False) -> bytes:
    """Type info and what follows it."""
    return struct.pack(">I" if big else "<I", info) + data


def u16(*values: int, big: bool = False) -> bytes:
    """Lengths and counts."""
    return struct.pack(f"{'>' if big else '<'}{len(values)}H", *values)


def text(value: str | bytes, big: bool = False, info: int = STRG | UTF8) -> bytes:
    """A text argument with the zero at its end."""
    data = (value.encode() if isinstance(value, str) else value) + b"\0"
    return argument(info, u16(len(data), big=big) + data, big)


def uint(value: int, big: bool = False) -> bytes:
    """A whole number of 32 bits."""
    return argument(UINT | 3, struct.pack(">I" if big else "<I", value), big)


def raw(data: bytes, big: bool = False) -> bytes:
    """Bytes."""
    return argument(RAWD, u16(len(data), big=big) + data, big)


def standard(
    payload: bytes,
    *,
    noar: int = 1,
    kind: int = LOG,
    detail: int = INFO,
    verbose: bool = True,
    extended: bool = True,
    big: bool = False,
    ecu: bytes | None = b"ECU1",
    session: int | None = None,
    uptime: int | None = None,
    apid: bytes = b"APP\0",
    ctid: bytes = b"CTX\0",
    counter: int = 0,
    length: int | None = None,
) -> bytes:
    """A message of version 1 as it goes over the wire; `uptime` in 0.1 ms, `length` lies about its size."""
    htyp = 0x20 | extended | big << 1 | (ecu is not None) << 2 | (session is not None) << 3 | (uptime is not None) << 4
    head = (ecu or b"") + b"".join(struct.pack(">I", value) for value in (session, uptime) if value is not None)
    if extended:
        head += bytes((verbose | kind << 1 | detail << 4, noar)) + apid + ctid
    size = 4 + len(head) + len(payload)
    return struct.pack(">BBH", htyp, counter, size if length is None else length) + head + payload


def stored(message: bytes, *, seconds: int = SECONDS, micros: int = 0, ecu: bytes = b"ECU1") -> bytes:
    """With the storage header of version 1."""
    return struct.pack("<4sIi4s", b"DLT\x01", seconds, micros, ecu) + message


def log(*arguments: bytes, micros: int = 0, **options: object) -> bytes:
    """A stored verbose message."""
    return stored(standard(b"".join(arguments), noar=len(arguments), **options), micros=micros)  # type: ignore[arg-type]


def control(service: int, rest: bytes, detail: int = RESPONSE, big: bool = False) -> bytes:
    """A stored control message."""
    payload = struct.pack(">I" if big else "<I", service) + rest
    return stored(standard(payload, kind=CONTROL, detail=detail, verbose=False, big=big))


def named(name: bytes) -> bytes:
    """A name with its length in front, as version 2 writes it."""
    return bytes((len(name),)) + name


def standard_2(
    payload: bytes, *, content: int = 0, flags: int = 0, extra: bytes = b"", msin: int = 0x40, noar: int = 1, stamp: bytes = bytes(9),
    number: int = 0, big: bool = True, length: int | None = None,
) -> bytes:  # fmt: skip
    """A message of version 2 with names of ECU, application and context; `extra` are the fields that `flags` announce."""
    order = ">" if big else "<"
    head = bytes((msin, noar)) if content != 1 else b""
    head += stamp if content != 2 else b""
    head += struct.pack(order + "I", number) if content == 1 else b""
    head += named(b"ECU2") + named(b"LOGGER") + named(b"CONTEXT") + extra
    size = 7 + len(head) + len(payload)
    return struct.pack("<IB", 0x4C | content | flags, 0) + struct.pack(order + "H", size if length is None else length) + head + payload


def stored_2(message: bytes, *, stamp: bytes | None = None, ecu: bytes = b"ECU2") -> bytes:
    """With the storage header of version 2; without a `stamp`, seconds big-endian before nanoseconds little-endian."""
    if stamp is None:
        stamp = SECONDS.to_bytes(5, "big") + (5).to_bytes(4, "little")
    return b"DLT\x02" + stamp + named(ecu) + message
