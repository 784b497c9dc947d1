"""Inputs that once broke a parser, built here, by format; every one is replayed by the tests and begins each fuzzing run."""

from __future__ import annotations

import struct

from tests.logs import blf, blf_can, blf_container


def cases(name: str) -> dict[str, bytes]:
    """The inputs of one format by what was wrong with them."""
    return {title: data for (format_name, title), data in CASES.items() if format_name == name}


def with_u64(data: bytes, at: int, value: int) -> bytes:
    """The bytes with another number at one place."""
    return data[:at] + struct.pack("<Q", value) + data[at + 8 :]


BLF = blf([blf_container(blf_can(0x100, b"12345678")), blf_can(0x101, b"")])

CASES: dict[tuple[str, str], bytes] = {
    ("blf", "a file size in the header that no counter holds"): with_u64(BLF, 16, (1 << 64) - 1),
    ("blf", "times that are too late once the start is added"): blf([blf_can(0x100, b"", time=(1 << 63) - 1)]),
    ("blf", "a lost container that ended behind the file"): blf([blf_can(0x101, b""), blf_container(b"", method=512)]),
}
"""(format, what went wrong) -> the bytes that showed it."""
