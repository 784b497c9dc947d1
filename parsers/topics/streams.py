"""From batches of messages to blocks: one stream of samples per topic, log messages apart."""

from __future__ import annotations

from collections.abc import Iterator

from parsers.base import Recording
from parsers.blocks import Block
from parsers.limits import Limits
from parsers.topics.decoder import MessageBatch, Schema


class TopicStreams:
    """Collects the rows of every topic over batches and makes blocks of them; what cannot be decoded is listed with its message count.

    A topic whose schema changes goes on as a second stream of the same name; the same topic and schema from another channel or
    connection continues the first.
    """

    def __init__(self, recording: Recording, limits: Limits) -> None: ...

    def topic(self, name: str, schema: Schema, source: str = "") -> int:
        """The number of a topic with a schema, for `add`; the same for the same arguments. Never raises."""
        raise NotImplementedError

    def add(self, topic: int, batch: MessageBatch) -> Iterator[Block]:
        """Takes messages of a topic, in file order, and gives the blocks that are full. The buffer of the batch is not kept."""
        raise NotImplementedError

    def finish(self) -> Iterator[Block]:
        """The blocks that are not full; then lists in the recording what could not be decoded. To be called once."""
        raise NotImplementedError
