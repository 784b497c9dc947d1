"""Builds MCAP files record by record (https://mcap.dev/spec), whole or with whatever is to be wrong with them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import pyarrow as pa

MAGIC = b"\x89MCAP0\r\n"
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<I", len(data)) + data


def pairs(values: dict[str, str]) -> bytes:
    return text(b"".join(text(key) + text(value) for key, value in values.items()))


def record(opcode: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<BQ", opcode, len(content) if length is None else length) + content


def header(profile: str = "", library: str = "test") -> bytes:
    return record(1, text(profile) + text(library))


def footer(summary_start: int = 0) -> bytes:
    return record(2, struct.pack("<QQI", summary_start, 0, 0))


def schema(number: int, name: str, encoding: str, data: bytes) -> bytes:
    return record(3, struct.pack("<H", number) + text(name) + text(encoding) + text(data))


def channel(number: int, topic: str, encoding: str = "json", schema: int = 0, metadata: dict[str, str] | None = None) -> bytes:
    return record(4, struct.pack("<HH", number, schema) + text(topic) + text(encoding) + pairs(metadata or {}))


def message(channel: int, data: bytes, t_ns: int = START, publish_ns: int | None = None, sequence: int = 0) -> bytes:
    return record(5, struct.pack("<HIQQ", channel, sequence, t_ns, t_ns if publish_ns is None else publish_ns) + data)


def chunk(
    content: bytes, compression: str = "", *, inflated: int | None = None, crc: int | None = None, packed: bytes | None = None
) -> bytes:
    if packed is None:
        packed = pa.Codec(compression).compress(content, asbytes=True) if compression else content
    fields = struct.pack("<QQQI", 0, 0, len(content) if inflated is None else inflated, zlib.crc32(content) if crc is None else crc)
    return record(6, fields + text(compression) + struct.pack("<Q", len(packed)) + packed)


def message_index(channel: int, entries: Iterable[tuple[int, int]]) -> bytes:
    return record(7, struct.pack("<H", channel) + text(b"".join(struct.pack("<QQ", *entry) for entry in entries)))


def attachment(name: str, media_type: str, data: bytes) -> bytes:
    body = struct.pack("<QQ", START, START) + text(name) + text(media_type) + struct.pack("<Q", len(data)) + data
    return record(9, body + struct.pack("<I", zlib.crc32(body)))


def metadata(name: str, values: dict[str, str]) -> bytes:
    return record(12, text(name) + pairs(values))


def data_end(crc: int = 0) -> bytes:
    return record(15, struct.pack("<I", crc))


def mcap(records: Iterable[bytes], summary: bytes = b"", *, crc: bool = False) -> bytes:
    """A closed file: signature, header, the records, data end, summary, footer, signature."""
    data = MAGIC + header() + b"".join(records)
    end = data_end(zlib.crc32(data) if crc else 0)
    return data + end + summary + footer(len(data + end) if summary else 0) + MAGIC
