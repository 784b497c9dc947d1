"""From batches of messages to blocks: one stream of samples per topic, log messages apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsers.base import Recording
from parsers.blocks import Block, SampleBlock, SignalSpec, StreamSpec
from parsers.errors import ParseError
from parsers.limits import KIB, MIB, Limits
from parsers.texts import MAX_TEXTS
from parsers.topics._texts import SpanCoder, TextBudget, gathered
from parsers.topics.decoder import SAMPLE_BYTES, SAMPLE_MESSAGES, Decoded, MessageBatch, Schema, TextSpans, TopicDecoder, is_text
from parsers.topics.encodings import decoder_for
from parsers.topics.logs import LogTopic, log_topic

_MOST_WAITING = 32 * MIB  # bytes of rows of all topics that wait for a full block
_MOST_TEXT = 32 * MIB  # bytes of different texts of one file
_MOST_GROWTH = 200  # bytes of columns for each byte of messages, on top of _FREE_COLUMNS
_FREE_COLUMNS = 256 * MIB
_SMALLEST_ROOM = 64
_MOST_FIELDS = 400_000  # fields of the schemas of one file with all that they hold; a large real one has a tenth
_TOO_MANY_FIELDS = f"topics of more than {_MOST_FIELDS} fields in one file"
_FEW_MESSAGES = 1024
_FEW_BYTES = 256 * KIB
_MOST_HELD = 16 * MIB
_MESSAGE_OVERHEAD = 64  # bytes for each message that is held, besides its own
_BATCH_OVERHEAD = 1000


@dataclass
class _Rows:
    """Decoded rows of one topic that wait for a block; a text column holds its numbers."""

    signals: list[SignalSpec]
    coders: list[SpanCoder | None]
    most: int  # rows of a block
    row_bytes: int
    size: int = 0
    _room: int = 0
    _t_ns: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    _columns: list[NDArray[Any]] = field(default_factory=list)
    _masks: list[NDArray[np.uint8] | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reset()

    @property
    def nbytes(self) -> int:
        """About the bytes of the arrays."""
        return self._room * self.row_bytes

    def append(self, rows: Decoded) -> None:
        """Takes rows, at most `most - size` of them."""
        start, end = self.size, self.size + len(rows)
        if end > self._room:
            self._grow(end)
        self._t_ns[start:end] = rows.t_ns
        for index, coder in enumerate(self.coders):
            column, mask = rows.columns[index], rows.masks[index]
            if isinstance(column, TextSpans):
                assert coder is not None
                column, mask = coder.codes(column.data, column.offset, column.length, mask)
            self._columns[index][start:end] = column
            self._put_mask(index, mask, start, end)
        self.size = end

    def _put_mask(self, index: int, mask: NDArray[np.uint8] | None, start: int, end: int) -> None:
        kept = self._masks[index]
        if mask is not None and kept is None:
            kept = self._masks[index] = np.ones(self._room, np.uint8)
        if kept is not None:
            kept[start:end] = 1 if mask is None else mask

    def take(self, stream: int) -> SampleBlock:
        """All rows as a block, and begins anew."""
        n = self.size
        whole = n > self._room // 2
        block = SampleBlock(
            stream,
            self._t_ns[:n] if whole else self._t_ns[:n].copy(),
            [column[:n] if whole else column[:n].copy() for column in self._columns],
            [None if mask is None else mask[:n] if whole else mask[:n].copy() for mask in self._masks],
        )
        self._reset()
        return block

    def _grow(self, wanted: int) -> None:
        room = min(self.most, max(2 * self._room, wanted, _SMALLEST_ROOM))
        self._t_ns = _resized(self._t_ns, room, self.size)
        self._columns = [_resized(column, room, self.size) for column in self._columns]
        self._masks = [None if mask is None else _resized(mask, room, self.size) for mask in self._masks]
        self._room = room

    def _reset(self) -> None:
        self.size = self._room = 0
        self._t_ns = np.empty(0, np.int64)
        self._columns = [np.empty(0, signal.storage) for signal in self.signals]
        self._masks = [None] * len(self.signals)


@dataclass
class _Held:
    """Copies of messages that are not decoded yet: the first ones of a topic without a schema, and those of small batches."""

    batches: list[MessageBatch] = field(default_factory=list)
    messages: int = 0
    size: int = 0  # bytes of the messages and of their places
    room: int = 0  # bytes that all this takes

    def add(self, batch: MessageBatch) -> None:
        """Copies the messages; not their whole buffer."""
        if not len(batch):
            return
        data, offset = gathered(batch.data, batch.offset, batch.length)
        self.batches.append(MessageBatch(batch.t_ns.copy(), data, offset, batch.length.copy(), batch.origin))
        self.messages += len(batch)
        size = len(data) + _MESSAGE_OVERHEAD * len(batch)
        self.size += size
        self.room += size + _BATCH_OVERHEAD

    def take(self) -> MessageBatch:
        """All of them, and begins anew."""
        batches, self.batches = self.batches, []
        self.messages = self.size = self.room = 0
        if len(batches) == 1:
            return batches[0]
        shifts = np.cumsum([0] + [len(batch.data) for batch in batches])[:-1]
        return MessageBatch(
            np.concatenate([batch.t_ns for batch in batches]),
            np.concatenate([batch.data for batch in batches]),
            np.concatenate([batch.offset + shift for batch, shift in zip(batches, shifts, strict=True)]),
            np.concatenate([batch.length for batch in batches]),
            batches[0].origin,
        )


@dataclass
class _Topic:
    """One topic with one schema."""

    name: str
    schema_name: str
    source: str
    decoder: TopicDecoder | None
    reason: str = ""  # why there is no decoder
    messages: int = 0
    undecoded: int = 0
    held: _Held = field(default_factory=lambda: _Held())
    rows: _Rows | None = None
    log: LogTopic | None = None
    stream: int = -1
    failed: int = 0


class TopicStreams:
    """Collects the rows of every topic over batches and makes blocks of them; what cannot be decoded is listed with its message count.

    A topic whose schema changes goes on as a second stream of the same name; the same topic and schema from another channel or
    connection continues the first.
    """

    def __init__(self, recording: Recording, limits: Limits) -> None:
        self.recording = recording
        self.limits = limits
        self._topics: list[_Topic] = []
        self._known: dict[bytes, int] = {}
        self._texts = TextBudget(_MOST_TEXT)
        self._waiting: dict[int, int] = {}  # topic -> bytes of its rows
        self._total = 0  # of all these
        self._budget = _FREE_COLUMNS
        self._fields = _MOST_FIELDS
        self._held = 0  # bytes of messages that are not decoded yet

    def topic(self, name: str, schema: Schema, source: str = "") -> int:
        """The number of a topic with a schema, for `add`; the same for the same arguments. Never raises."""
        parts = (name, schema.message_encoding, schema.encoding, schema.name, source)
        key = sha256(repr(parts).encode("utf-8", "replace") + schema.data).digest()
        number = self._known.get(key)
        if number is not None:
            return number
        if len(self._topics) >= 4 * self.limits.max_streams:
            return self._undecodable(f"more than {4 * self.limits.max_streams} topics in one file")
        decoder, reason = None, ""
        if self._fields < 0:
            return self._undecodable(_TOO_MANY_FIELDS)
        try:
            decoder = decoder_for(schema, self.limits)
            self._fields -= decoder.weight
        except ParseError as error:
            reason = error.reason
        self._known[key] = len(self._topics)
        self._topics.append(_Topic(name, schema.name, source, decoder, reason))
        return len(self._topics) - 1

    def unreadable(self, name: str, reason: str) -> int:
        """The number of a topic whose messages are only counted, for example because its schema is missing."""
        key = sha256(f"{name}\0{reason}".encode("utf-8", "replace")).digest()
        number = self._known.get(key)
        if number is None:
            if len(self._topics) >= 4 * self.limits.max_streams:
                return self._undecodable(f"more than {4 * self.limits.max_streams} topics in one file")
            number = self._known[key] = len(self._topics)
            self._topics.append(_Topic(name, "", "", None, reason))
        return number

    def _undecodable(self, reason: str) -> int:
        key = b"others"
        if key not in self._known:
            self._known[key] = len(self._topics)
            self._topics.append(_Topic("further topics", "", "", None, reason))
        return self._known[key]

    def add(self, topic: int, batch: MessageBatch) -> Iterator[Block]:
        """Takes messages of a topic, in file order, and gives the blocks that are full. The buffer of the batch is not kept."""
        entry = self._topics[topic]
        entry.messages += len(batch)
        self._budget += _MOST_GROWTH * (int(batch.length.sum()) + 32 * len(batch))
        if entry.decoder is None:
            entry.undecoded += len(batch)
            return
        if entry.decoder.needs_sample:
            batch = self._sample(entry, batch)
            if entry.held.messages < SAMPLE_MESSAGES and entry.held.size < SAMPLE_BYTES:
                yield from self._relieve_held()
                return
            yield from self._learn(topic)
        size = int(batch.length.sum())
        if len(batch) < _FEW_MESSAGES and size < _FEW_BYTES:
            # The work that is done once for each batch would cost more than the messages of a small one.
            before = entry.held.room
            entry.held.add(batch)
            self._held += entry.held.room - before
            if entry.held.messages >= _FEW_MESSAGES or entry.held.size >= _FEW_BYTES:
                yield from self._release(topic)
            yield from self._relieve_held()
        else:
            yield from self._release(topic)
            yield from self._decode(topic, batch)

    def _sample(self, entry: _Topic, batch: MessageBatch) -> MessageBatch:
        """Keeps the first messages of a topic, as many as its decoder is to see; gives back the others."""
        ends = np.cumsum(batch.length + _MESSAGE_OVERHEAD)
        enough = int(np.searchsorted(ends, SAMPLE_BYTES - entry.held.size)) + 1
        count = max(0, min(len(batch), SAMPLE_MESSAGES - entry.held.messages, enough))
        before = entry.held.room
        entry.held.add(batch[:count])
        self._held += entry.held.room - before
        return batch[count:]

    def _learn(self, topic: int) -> Iterator[Block]:
        """The decoder sees the first messages, then reads them."""
        entry = self._topics[topic]
        assert entry.decoder is not None
        self._held -= entry.held.room
        batch = entry.held.take()
        entry.decoder.learn(batch)
        yield from self._decode(topic, batch)

    def _release(self, topic: int) -> Iterator[Block]:
        """Decodes what was held."""
        entry = self._topics[topic]
        if not entry.held.messages:
            return
        if entry.decoder is not None and entry.decoder.needs_sample:
            yield from self._learn(topic)
            return
        self._held -= entry.held.room
        yield from self._decode(topic, entry.held.take())

    def _relieve_held(self) -> Iterator[Block]:
        """Decodes the messages of all topics that are held when together they take too much room."""
        if self._held > _MOST_HELD:
            for topic in range(len(self._topics)):
                yield from self._release(topic)

    def _begin(self, entry: _Topic, decoder: TopicDecoder) -> _Rows:
        entry.log = log_topic(entry.name, entry.schema_name, decoder.signals)
        row_bytes = 8 + sum(1 + np.dtype(signal.storage).itemsize for signal in decoder.signals)
        most = max(1, min(self.limits.block_rows, self.limits.block_bytes // row_bytes))
        coders = [SpanCoder(signal.choices, self._texts, MAX_TEXTS) if is_text(signal) else None for signal in decoder.signals]
        return _Rows(decoder.signals, coders, most, row_bytes)

    def _decode(self, topic: int, batch: MessageBatch) -> Iterator[Block]:
        entry = self._topics[topic]
        decoder = entry.decoder
        if decoder is None:  # stopped while messages were held
            entry.undecoded += len(batch)
            return
        if entry.rows is None:
            self._fields -= len(decoder.signals)
            if self._fields < 0:
                entry.decoder, entry.reason = None, _TOO_MANY_FIELDS
                entry.undecoded += len(batch)
                return
        rows = entry.rows = entry.rows or self._begin(entry, decoder)
        at = 0
        while at < len(batch):
            piece = batch[at : at + rows.most - rows.size]
            at += len(piece)
            self._budget -= rows.row_bytes * len(piece)
            if self._budget < 0:
                self._stop(entry, len(batch) - at + len(piece), batch.origin)
                break
            decoded = decoder.decode(piece)
            self._count_failed(entry, decoder, batch.origin)
            if entry.log is not None:
                yield from entry.log.blocks(decoded, self.recording, self.limits, decoder.signals)
                continue
            rows.append(decoded)
            if rows.size == rows.most:
                yield from self._flush(topic)
                if entry.decoder is None:
                    entry.undecoded += len(batch) - at
                    break
        if rows.size:
            self._total += rows.nbytes - self._waiting.get(topic, 0)
            self._waiting[topic] = rows.nbytes
            yield from self._relieve()

    def _count_failed(self, entry: _Topic, decoder: TopicDecoder, origin: int) -> None:
        if decoder.failed > entry.failed:
            count = decoder.failed - entry.failed
            self.recording.add_problem(origin, f"{count} messages of {entry.name} cannot be read: {decoder.failed_reason}", count)
            entry.failed = decoder.failed

    def _stop(self, entry: _Topic, messages: int, origin: int) -> None:
        """No more rows of a topic: small messages would make columns out of all proportion."""
        entry.decoder = None
        entry.undecoded += messages
        entry.reason = f"its {len(entry.rows.signals) if entry.rows else 0} signals take far more room than its messages"
        self.recording.add_problem(origin, f"{entry.name}: {entry.reason}; its further messages are not read")

    def _flush(self, topic: int) -> Iterator[Block]:
        entry = self._topics[topic]
        rows = entry.rows
        self._total -= self._waiting.pop(topic, 0)
        if rows is None or not rows.size:
            return
        if entry.stream < 0:
            entry.stream = self.recording.add_stream(StreamSpec(entry.name, rows.signals, entry.source))
        if entry.stream < 0:
            entry.decoder = None
            entry.reason = f"more than {self.limits.max_streams} streams in one file"
            entry.undecoded += rows.size
            entry.rows = None
            return
        yield rows.take(entry.stream)

    def _relieve(self) -> Iterator[Block]:
        """Gives up waiting for full blocks when all rows together take too much room: the largest go first."""
        if self._total <= _MOST_WAITING:
            return
        for topic in sorted(self._waiting, key=self._waiting.__getitem__, reverse=True):
            yield from self._flush(topic)
            if self._total <= _MOST_WAITING // 2:
                break

    def finish(self) -> Iterator[Block]:
        """The blocks that are not full; then lists in the recording what could not be decoded. To be called once."""
        for topic in range(len(self._topics)):
            yield from self._release(topic)
            yield from self._flush(topic)
        for entry in self._topics:
            if entry.undecoded or (entry.decoder is None and not entry.messages):
                self.recording.add_undecoded(entry.name, f"{entry.reason} ({entry.undecoded} messages)")
            self._list_left_out(entry)

    def _list_left_out(self, entry: _Topic) -> None:
        if entry.decoder is None:
            return
        for name, reason in entry.decoder.left_out.items():
            self.recording.add_undecoded(f"{entry.name}: {name}", reason)
        if entry.rows is None:
            return
        for signal, coder in zip(entry.rows.signals, entry.rows.coders, strict=True):
            if coder is not None and coder.dropped:
                self.recording.add_problem(
                    0,
                    f"{entry.name}: {signal.name} has more than {len(coder.choices)} different texts; {coder.dropped} rows are without one",
                )


def _resized(array: NDArray[Any], room: int, used: int) -> NDArray[Any]:
    grown = np.empty(room, array.dtype)
    grown[:used] = array[:used]
    return grown
