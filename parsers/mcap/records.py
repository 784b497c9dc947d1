"""The records of an MCAP file that describe others: header, schema, channel, chunk, attachment, metadata; every length is checked."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from parsers.errors import Corrupt

MAGIC = b"\x89MCAP0\r\n"
RECORD_HEAD = 9  # u8 opcode, u64 length of what follows
CHUNK_HEAD = struct.Struct("<QQQII")  # start and end time, inflated size, crc of it, length of the compression's name
MOST_CHUNK_HEAD = CHUNK_HEAD.size + 32 + 8

HEADER = 0x01
FOOTER = 0x02
SCHEMA = 0x03
CHANNEL = 0x04
CHUNK = 0x06
ATTACHMENT = 0x09
METADATA = 0x0C
DATA_END = 0x0F

NAMES = {
    HEADER: "header",
    FOOTER: "footer",
    SCHEMA: "schema",
    CHANNEL: "channel",
    CHUNK: "chunk",
    ATTACHMENT: "attachment",
    METADATA: "metadata",
    DATA_END: "data end",
}
# Indices and statistics repeat what the records themselves say.
REDUNDANT = frozenset((0x07, 0x08, 0x0A, 0x0B, 0x0D, 0x0E))


class Fields:
    """The content of one record, field by field. Every method raises Corrupt, with the byte of the file, when it does not fit."""

    def __init__(self, data: bytes, offset: int, name: str) -> None:
        self._data = data
        self._offset = offset
        self._name = name
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes that have not been taken."""
        return len(self._data) - self._at

    @property
    def offset(self) -> int:
        """The byte of the file that comes next."""
        return self._offset + self._at

    def take(self, length: int) -> bytes:
        """So many bytes."""
        if length > self.left:
            raise Corrupt(f"{self._name} record: a field needs {length} bytes, {self.left} are left", self.offset)
        piece = self._data[self._at : self._at + length]
        self._at += length
        return piece

    def number(self, size: int) -> int:
        """An unsigned whole number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def text(self) -> str:
        """A text with its length (u32) before it; what is not UTF-8 is replaced."""
        return self.take(self.number(4)).decode("utf-8", "replace")

    def blob(self) -> bytes:
        """Bytes with their length (u32) before them."""
        return self.take(self.number(4))

    def pairs(self, most: int) -> dict[str, str]:
        """A map of texts with its length in bytes (u32) before it; at most so many entries are kept."""
        data = self.blob()
        inner = Fields(data, self.offset - len(data), self._name)
        found: dict[str, str] = {}
        while inner.left:
            key, value = inner.text(), inner.text()
            if key in found or len(found) < most:
                found[key] = value
        return found


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel record: messages of one topic in one encoding; `schema` is 0 when it has none."""

    number: int
    schema: int
    topic: str
    encoding: str


@dataclass(frozen=True, slots=True)
class ChunkHead:
    """What a chunk says of its content, which begins `at` bytes behind the begin of the record's own content."""

    inflated: int
    crc: int
    compression: str
    at: int
    length: int


def read_channel(fields: Fields) -> Channel:
    """u16 id, u16 schema, topic, message encoding; the metadata behind them is not looked at."""
    return Channel(fields.number(2), fields.number(2), fields.text(), fields.text())


def read_chunk_head(data: bytes, offset: int, length: int) -> ChunkHead:
    """The head of a chunk record whose content of `length` bytes begins with `data`. Raises Corrupt when its lengths contradict."""
    if len(data) < CHUNK_HEAD.size:
        raise Corrupt("chunk record is shorter than its fields", offset)
    _, _, inflated, crc, name_length = CHUNK_HEAD.unpack_from(data)
    at = CHUNK_HEAD.size + name_length + 8
    if at > min(len(data), MOST_CHUNK_HEAD):
        raise Corrupt("chunk record: the name of its compression does not fit", offset + 28)
    name = data[CHUNK_HEAD.size : CHUNK_HEAD.size + name_length].decode("utf-8", "replace")
    size = int.from_bytes(data[at - 8 : at], "little")
    if size > length - at:
        raise Corrupt(f"chunk of {length} bytes claims records of {size} bytes", offset + at - 8)
    return ChunkHead(inflated, crc, name, at, size)
