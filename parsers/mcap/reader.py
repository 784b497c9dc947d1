"""MCAP: the records of the file, its chunks and its topics (https://mcap.dev/spec); the summary is not needed and not believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from parsers.base import MAGIC as SURE
from parsers.base import Match, Recording
from parsers.blocks import Block
from parsers.limits import DEFAULT, Limits
from parsers.mcap.records import MAGIC
from parsers.mcap.walk import Walk
from parsers.source import Source
from parsers.topics.decoder import MessageBatch
from parsers.topics.streams import TopicStreams

# A clock before the year 2000 was never set: it counts from the start of the device.
_FIRST_UTC_NS = 946_684_800 * 10**9

RawMessage = tuple[int, int, str, str, str, bytes]


class McapParser:
    """Reads the topics of MCAP files, chunked or not, closed or not; samples per topic, log messages apart."""

    format: ClassVar[str] = "mcap"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[tuple[str, ...]] = (".mcap",)

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """The eight bytes of the signature."""
        return Match(SURE, "begins with the signature of MCAP") if head.startswith(MAGIC) else None

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[Block]:
        """Rows of each topic in file order, at the messages' log times; topics without a decoder are listed with their message counts.

        Raises Corrupt without the signature, Truncated when it is cut, and the first loss when no message could be read.
        """
        recording.format = self.format
        walk = Walk(source, recording, limits)
        streams = TopicStreams(recording, limits)
        topics: dict[tuple[int, int], int] = {}  # channel and its definition -> topic
        for content in walk.contents():
            groups = content.scanner.take_grouped()
            if not walk.messages:
                recording.absolute = content.scanner.first_ns >= _FIRST_UTC_NS
            for number, t_ns, offset, length in groups:
                walk.messages += len(t_ns)
                key = number, walk.definitions.meaning(number)
                topic = topics.get(key)
                if topic is None:
                    if len(topics) > limits.max_streams:
                        topics.clear()
                    topic = topics[key] = _topic(walk, streams, number, content.origin)
                yield from streams.add(topic, MessageBatch(t_ns, content.window, offset, length, content.origin))
        yield from streams.finish()
        walk.finish()


def _topic(walk: Walk, streams: TopicStreams, number: int, place: int) -> int:
    channel = walk.channel(number, place)
    if channel is None:
        return streams.unreadable(f"channel {number}", "its channel record is missing")
    schema = walk.definitions.schema(channel)
    if schema is None:
        return streams.unreadable(channel.topic, f"its schema {channel.schema} is missing or too large")
    return streams.topic(channel.topic, schema)


def raw_messages(source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[RawMessage]:
    """Every message as it lies in the file: log time, publish time, topic, message encoding, schema name, data; for comparing readers.

    Raises as `McapParser.blocks`.
    """
    walk = Walk(source, recording, limits)
    for content in walk.contents():
        for number, t_ns, publish_ns, offset, length in zip(*(column.tolist() for column in content.scanner.take()), strict=True):
            walk.messages += 1
            channel = walk.channel(number, content.origin)
            schema = None if channel is None else walk.definitions.schema(channel)
            data = content.window[offset : offset + length].tobytes()
            yield (
                t_ns,
                publish_ns,
                channel.topic if channel else "",
                channel.encoding if channel else "",
                schema.name if schema else "",
                data,
            )
    walk.finish()
