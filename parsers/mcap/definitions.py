"""Which channel numbers and schema numbers mean what, while a file is read; and what its summary says when a definition is lost."""

from __future__ import annotations

from parsers.errors import Corrupt, LimitExceeded, ParseError
from parsers.limits import MIB, Limits
from parsers.mcap import records
from parsers.mcap.records import MAGIC, RECORD_HEAD, Channel, Fields, read_channel
from parsers.source import Source
from parsers.topics.decoder import Schema

_MOST_SCHEMAS = 64 * MIB  # bytes of all schemas together
_MOST_SUMMARY = 32 * MIB
_FOOTER = RECORD_HEAD + 20 + len(MAGIC)  # u64 start of the summary, u64 start of its offsets, u32 crc


class Definitions:
    """The channels and schemas read so far. A number may be given another meaning; the messages before it keep theirs."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._meanings = 0
        self.forget()

    def forget(self) -> None:
        """Another file begins."""
        self._schemas: dict[int, Schema] = {}
        self._schema_bytes = 0
        self._channels: dict[int, Channel] = {}
        self._meaning: dict[int, int] = {}
        self._summary: Definitions | None = None

    def meaning(self, number: int) -> int:
        """Changes when the channel or its schema is defined anew; 0 for an unknown channel."""
        return self._meaning.get(number, 0)

    def channel(self, number: int) -> Channel | None:
        """The channel of that number."""
        return self._channels.get(number)

    def schema(self, channel: Channel) -> Schema | None:
        """Encoding and schema of a channel's messages; None when its schema is missing."""
        if channel.schema == 0:
            return Schema(channel.encoding, "", "")
        found = self._schemas.get(channel.schema)
        return None if found is None else Schema(channel.encoding, found.encoding, found.name, found.data)

    def add_schema(self, fields: Fields) -> None:
        """A schema record: u16 id, name, encoding, data. Raises Corrupt, or LimitExceeded when all schemas are too large."""
        number = fields.number(2)
        schema = Schema("", name=fields.text(), encoding=fields.text(), data=fields.blob())
        if number == 0:
            raise Corrupt("a schema has the number 0, which means that there is none", fields.offset)
        old = self._schemas.get(number)
        if old == schema:
            return
        grown = len(schema.data) - (len(old.data) if old else 0)
        if self._schema_bytes + grown > _MOST_SCHEMAS:
            raise LimitExceeded(f"schemas of more than {_MOST_SCHEMAS} bytes in one file", fields.offset)
        self._schema_bytes += grown
        self._schemas[number] = schema
        for channel in self._channels.values():
            if channel.schema == number:
                self._give_meaning(channel)

    def add_channel(self, fields: Fields) -> None:
        """A channel record. Raises Corrupt."""
        channel = read_channel(fields)
        if self._channels.get(channel.number) != channel:
            self._channels[channel.number] = channel
            self._give_meaning(channel)

    def _give_meaning(self, channel: Channel) -> None:
        self._meanings += 1
        self._meaning[channel.number] = self._meanings

    def channel_of_summary(self, number: int, source: Source) -> Channel | None:
        """A channel, and its schema, that only the summary at the end of the file describes; kept as if its record had been read."""
        if self._summary is None:
            self._summary = Definitions(self._limits)
            self._summary.read_summary(source)
        channel = self._summary.channel(number)
        if channel is None:
            return None
        self._channels[number] = channel
        self._give_meaning(channel)
        schema = self._summary._schemas.get(channel.schema)
        if schema is not None:
            self._schemas.setdefault(channel.schema, schema)
        return channel

    def read_summary(self, source: Source) -> None:
        """Takes the definitions of the summary, as far as they can be read."""
        size = source.size
        end = bytes(source.read_at(max(0, size - _FOOTER), _FOOTER))
        if len(end) < _FOOTER or end[0] != records.FOOTER or not end.endswith(MAGIC):
            return
        start = int.from_bytes(end[RECORD_HEAD : RECORD_HEAD + 8], "little")
        if not 0 < start < size - _FOOTER or size - _FOOTER - start > _MOST_SUMMARY:
            return
        summary = Fields(bytes(source.read_at(start, size - _FOOTER - start)), start, "summary")
        try:
            while summary.left:
                opcode = summary.number(1)
                content = Fields(summary.take(summary.number(8)), summary.offset, "summary")
                if opcode == records.SCHEMA:
                    self.add_schema(content)
                elif opcode == records.CHANNEL:
                    self.add_channel(content)
        except ParseError:
            return
