"""Inputs that once broke a parser, built here, by format; every one is replayed by the tests and begins each fuzzing run."""

from __future__ import annotations

import struct

from tests import mcap_logs
from tests.logs import blf, blf_can, blf_container
from tests.parsers import bags


def cases(name: str) -> dict[str, bytes]:
    """The inputs of one format by what was wrong with them."""
    return {title: data for (format_name, title), data in CASES.items() if format_name == name}


def with_u64(data: bytes, at: int, value: int) -> bytes:
    """The bytes with another number at one place."""
    return data[:at] + struct.pack("<Q", value) + data[at + 8 :]


def with_text(data: bytes, before: bytes, value: bytes) -> bytes:
    """The bytes with another value behind the first place where `before` stands."""
    at = data.index(before) + len(before)
    return data[:at] + value + data[at + len(value) :]


BLF = blf([blf_container(blf_can(0x100, b"12345678")), blf_can(0x101, b"")])
BAG = bags.bag([bags.chunk(bags.connection(0, "/f", "c/F", "bool on") + bags.message(0, bags.T0, b"\1"))])
NESTED = mcap_logs.chunk(mcap_logs.message(1, bytes(5000)))

CASES: dict[tuple[str, str], bytes] = {
    ("blf", "a file size in the header that no counter holds"): with_u64(BLF, 16, (1 << 64) - 1),
    ("blf", "times that are too late once the start is added"): blf([blf_can(0x100, b"", time=(1 << 63) - 1)]),
    ("blf", "a lost container that ended behind the file"): blf([blf_can(0x101, b""), blf_container(b"", method=512)]),
    ("mcap", "a chunk in a compressed chunk that ended behind the file"): mcap_logs.mcap([mcap_logs.chunk(NESTED, "zstd")]),
    ("mcap", "a map of metadata whose error lay behind its record"): mcap_logs.MAGIC
    + mcap_logs.record(12, mcap_logs.text("car") + mcap_logs.text(struct.pack("<I", 3) + b"\0\0r" + struct.pack("<I", 1 << 30))),
    ("mcap", "a text of a message that is no JSON in the end"): mcap_logs.mcap(
        [mcap_logs.channel(2, "/j"), *(mcap_logs.message(2, text) for text in (b'{"v":1,"x":"y"}', b'{"v":1,"x":"z"}!', b'{"v":2}'))]
    ),
    ("rosbag", "an index that begins where no file ends"): with_text(BAG, b"index_pos=", struct.pack("<Q", (1 << 63) + 500)),
    ("rosbag", "a NUL in what a problem is called by"): with_text(BAG, b"compression=", b"n\0ne"),
}
"""(format, what went wrong) -> the bytes that showed it."""

ROS = mcap_logs.schema(1, "a/B", "ros2msg", b"float64 x\nstring s\nint16[] v\nc/D d\n" + b"=" * 80 + b"\nMSG: c/D\nuint8[3] z\nbool b\n")
CDR = b"\0\1\0\0" + struct.pack("<dI4sI2h3B?", 1.5, 4, b"abc\0", 2, -1, 1, 1, 2, 3, True)
STORED = [
    mcap_logs.chunk(
        ROS
        + mcap_logs.channel(1, "/b", "cdr", 1)
        + mcap_logs.channel(2, "/json")
        + b"".join(mcap_logs.message(1, CDR, mcap_logs.START + i) for i in range(3))
        + mcap_logs.message(2, b'{"v":1.5,"w":[1,2],"x":{"y":"z"}}')
    ),
    mcap_logs.message(2, b'{"v":2}'),
]
SEEDS: dict[str, list[bytes]] = {"mcap": [mcap_logs.mcap(STORED)]}
"""Further files of a format that fuzzing begins with: without compression, so that changes reach what it would hide."""
