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
from parsers.limits import MIB, Limits
from parsers.texts import MAX_TEXTS
from parsers.topics._texts import SpanCoder, TextBudget
from parsers.topics.decoder import SAMPLE_BYTES, SAMPLE_MESSAGES, Decoded, MessageBatch, Schema, TextSpans, TopicDecoder, is_text
from parsers.topics.encodings import decoder_for
from parsers.topics.logs import LogTopic, log_topic

_MOST_WAITING = 32 * MIB  # bytes of rows of all topics that wait for a full block
_MOST_TEXT = 32 * MIB  # bytes of different texts of one file
_MOST_GROWTH = 200  # bytes of columns for each byte of messages, on top of _FREE_COLUMNS
_FREE_COLUMNS = 256 * MIB
_SMALLEST_ROOM = 64


@dataclass
class _Rows:
    """Decoded rows of one topic that wait for a block; a text column holds its numbers."""

    signals: list[SignalSpec]
    coders: list[SpanCoder | None]
    most: int
    size: int = 0
    _room: int = 0
    _t_ns: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    _columns: list[NDArray[Any]] = field(default_factory=list)
    _masks: list[NDArray[np.uint8] | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reset()

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self._t_ns.nbytes + sum(c.nbytes for c in self._columns) + sum(m.nbytes for m in self._masks if m is not None)

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
class _Topic:
    """One topic with one schema."""

    name: str
    schema_name: str
    source: str
    decoder: TopicDecoder | None
    reason: str = ""  # why there is no decoder
    messages: int = 0
    undecoded: int = 0
    held: list[MessageBatch] = field(default_factory=list)  # the first messages of a topic without a schema
    held_messages: int = 0
    held_bytes: int = 0
    ready: bool = False
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
        self._budget = _FREE_COLUMNS

    @property
    def decoded(self) -> bool:
        """Whether any topic has given a row, or has one waiting."""
        return any(topic.messages > topic.undecoded + topic.failed for topic in self._topics)

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
        try:
            decoder = decoder_for(schema, self.limits)
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
        if entry.decoder.needs_sample and not entry.ready:
            batch = self._hold(entry, batch)
            if entry.held_messages < SAMPLE_MESSAGES and entry.held_bytes < SAMPLE_BYTES:
                return
            yield from self._learn(topic)
        yield from self._decode(topic, batch)
        yield from self._relieve()

    def _hold(self, entry: _Topic, batch: MessageBatch) -> MessageBatch:
        """Keeps copies of the first messages; gives back the rest of the batch."""
        ends = np.cumsum(batch.length)
        enough = int(np.searchsorted(ends, SAMPLE_BYTES - entry.held_bytes)) + 1
        count = max(0, min(len(batch), SAMPLE_MESSAGES - entry.held_messages, enough))
        if count:
            data = [batch.data[a : a + n] for a, n in zip(batch.offset[:count].tolist(), batch.length[:count].tolist(), strict=True)]
            starts = np.concatenate([np.zeros(1, np.int64), ends[: count - 1]])
            entry.held.append(
                MessageBatch(batch.t_ns[:count].copy(), np.concatenate(data), starts, batch.length[:count].copy(), batch.origin)
            )
            entry.held_messages += count
            entry.held_bytes += int(ends[count - 1])
        return batch[count:]

    def _learn(self, topic: int) -> Iterator[Block]:
        """Ends the holding: the decoder sees what was kept, then reads it."""
        entry = self._topics[topic]
        held, entry.held = entry.held, []
        assert entry.decoder is not None
        shifts = np.cumsum([0] + [len(batch.data) for batch in held])[:-1]
        whole = MessageBatch(
            np.concatenate([batch.t_ns for batch in held]),
            np.concatenate([batch.data for batch in held]),
            np.concatenate([batch.offset + shift for batch, shift in zip(held, shifts, strict=True)]),
            np.concatenate([batch.length for batch in held]),
            held[0].origin,
        )
        entry.decoder.learn(whole)
        entry.ready = True
        yield from self._decode(topic, whole)

    def _begin(self, entry: _Topic, decoder: TopicDecoder) -> _Rows:
        entry.log = log_topic(entry.name, entry.schema_name, decoder.signals)
        row_bytes = 8 + sum(1 + np.dtype(signal.storage).itemsize for signal in decoder.signals)
        most = max(1, min(self.limits.block_rows, self.limits.block_bytes // row_bytes))
        coders = [SpanCoder(signal.choices, self._texts, MAX_TEXTS) if is_text(signal) else None for signal in decoder.signals]
        return _Rows(decoder.signals, coders, most)

    def _decode(self, topic: int, batch: MessageBatch) -> Iterator[Block]:
        entry = self._topics[topic]
        decoder = entry.decoder
        assert decoder is not None
        rows = entry.rows = entry.rows or self._begin(entry, decoder)
        row_bytes = 8 + sum(1 + np.dtype(signal.storage).itemsize for signal in decoder.signals)
        at = 0
        while at < len(batch):
            piece = batch[at : at + rows.most - rows.size]
            at += len(piece)
            self._budget -= row_bytes * len(piece)
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
            self._waiting[topic] = rows.nbytes

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
        self._waiting.pop(topic, None)
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
        total = sum(self._waiting.values())
        if total <= _MOST_WAITING:
            return
        for topic, size in sorted(self._waiting.items(), key=lambda item: -item[1]):
            yield from self._flush(topic)
            total -= size
            if total <= _MOST_WAITING // 2:
                break

    def finish(self) -> Iterator[Block]:
        """The blocks that are not full; then lists in the recording what could not be decoded. To be called once."""
        for topic, entry in enumerate(self._topics):
            if entry.held:
                yield from self._learn(topic)
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
