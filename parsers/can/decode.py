"""Decodes CAN frames by a database: takes blocks in file order, keeps one growing table of signal columns per message and bus."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsers.can._decode import STORAGE_NAMES, Columns, append_groups
from parsers.can._group import Grouper
from parsers.can.database import Database, Message, Signal
from parsers.can.frames import FrameBlock
from parsers.limits import DEFAULT, Limits

RESERVE = 192 << 20


@dataclass
class Stream:
    """One message on one bus; a J1939 message also from one source address.

    `columns.views(n)` gives (t_ns int64, one array per signal of `message.signals` in its storage type, one uint8 mask or None each).
    """

    message: Message
    channel: int
    arbitration_id: int
    extended: bool
    source_address: int | None
    columns: Columns
    slots: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Sorted:
    """The frames of a block, those of one stream behind those of another: room that every block uses again."""

    times: NDArray[np.int64]
    words: NDArray[np.uint64]
    offsets: NDArray[np.uint32]
    lengths: NDArray[np.uint8]

    @classmethod
    def of(cls, count: int) -> _Sorted:
        return cls(np.empty(count, np.int64), np.empty(count, np.uint64), np.empty(count, np.uint32), np.empty(count, np.uint8))


class Decoder:
    """Turns FrameBlocks into streams.

    `channels` are the display names that `FrameBlock.channel` indexes; the list may grow while blocks come. `shift_ns` is added to every
    time of a stream. With `j1939_null` a J1939 value of all ones (not available) is null. `reserve` is how many bytes of address space
    all streams together may set aside for rows to come, so that columns need not be moved when they grow. At most `limits.max_streams`
    streams are made; frames of further messages count as known but are not decoded.
    """

    def __init__(
        self,
        database: Database,
        channels: list[str],
        limits: Limits = DEFAULT,
        *,
        shift_ns: int = 0,
        j1939_null: bool = True,
    ) -> None:
        self.database = database
        self.channels = channels
        self.limits = limits
        self.shift_ns = shift_ns
        self.j1939_null = j1939_null
        self.reserve = RESERVE
        self.grouper = Grouper()
        self.streams: list[Stream] = []
        self.streams_dropped = 0
        self._tables: list[Columns] = []  # of the streams
        self.messages: list[Message | None] = []  # by slot
        self._stream_of: dict[tuple[int, int, int | None], int] = {}
        self._groups = np.empty(0, np.int32)  # by slot
        self._sorted = _Sorted.of(0)
        self._starts = np.empty(0, np.int64)

    def add(self, block: FrameBlock) -> list[int]:
        """Decodes one block; returns the indices of the streams that grew. Raises ValueError for a malformed block."""
        count = len(block)
        slots = self.grouper.assign(block.t_ns, block.channel, block.arbitration_id, block.flags, block.length)
        for slot in range(len(self.messages), slots):
            self._open(slot)
        if not self.streams or count == 0:
            return []
        groups = len(self.streams)
        if len(self._sorted.times) < count:
            self._sorted = _Sorted.of(count)
        if len(self._starts) < groups + 2:
            self._starts = np.empty(2 * groups + 2, np.int64)
        frames, starts = self._sorted, self._starts[: groups + 2]
        to = (starts, frames.times, frames.words, frames.offsets, frames.lengths)
        self.grouper.sort(block.t_ns, self.shift_ns, block.data, block.data_offset, block.length, self._groups, groups, *to)
        return append_groups(self._tables, *to, block.data, self.reserve // groups)

    def _open(self, slot: int) -> None:
        """Finds the message of a new (channel, id) and the stream that its frames go to."""
        channel, extended, arbitration_id = self.grouper.key(slot)
        name = self.channels[channel] if channel < len(self.channels) else str(channel)
        message = self.database.find(arbitration_id, extended, name)
        self.messages.append(message)
        group = -1
        if message is not None:
            source = arbitration_id & 0xFF if message.j1939 else None
            group = self._stream(message, channel, arbitration_id, extended, source)
        if slot >= len(self._groups):
            self._groups = np.concatenate([self._groups, np.full(len(self._groups) + 64, -1, np.int32)])
        self._groups[slot] = group
        if group >= 0:
            self.streams[group].slots.append(slot)

    def _stream(self, message: Message, channel: int, arbitration_id: int, extended: bool, source: int | None) -> int:
        key = (channel, id(message), source)
        if key not in self._stream_of:
            if not message.signals:
                return -1
            if len(self.streams) >= self.limits.max_streams:
                self.streams_dropped += 1
                return -1
            self._stream_of[key] = len(self.streams)
            columns = make_columns(message, self.j1939_null)
            self._tables.append(columns)
            self.streams.append(Stream(message, channel, arbitration_id, extended, source, columns))
        return self._stream_of[key]


def make_columns(message: Message, j1939_null: bool = False) -> Columns:
    """Empty columns for one message; `j1939_null` as for Decoder."""
    selectors, selector_of, ranges = _selectors(message.signals)
    specs = []
    for signal, selector in zip(message.signals, selector_of, strict=True):
        storage = signal.storage
        whole = storage != "float64"
        specs.append(
            (
                signal.first_bit,
                signal.length,
                signal.big_endian,
                signal.signed,
                signal.length if signal.is_float else 0,
                STORAGE_NAMES.index(storage),
                selector,
                j1939_null and message.j1939 and signal.length > 1 and not signal.signed and not signal.is_float,
                _wrapped(signal.scale) if whole else 0,
                _wrapped(signal.offset) if whole else 0,
            )
        )
    scaling = [(signal.scale, signal.offset) for signal in message.signals]
    count = len(specs)
    return Columns(np.array(specs, np.int64).reshape(count, 10), np.array(scaling, np.float64).reshape(count, 2), selectors, ranges)


def _wrapped(value: float) -> int:
    """A whole number modulo 2**64, as the integer columns are computed."""
    return (int(value) + (1 << 63)) % (1 << 64) - (1 << 63)


def _selectors(signals: tuple[Signal, ...]) -> tuple[NDArray[np.int32], list[int], NDArray[np.uint64]]:
    """The distinct conditions under which multiplexed signals are present, the outer ones first.

    Returns (rows of parent, outer, first range, last range), the selector of each signal (-1: always present), and the ranges.
    """
    rows: list[tuple[int, int, int, int]] = []
    ranges: list[tuple[int, int]] = []
    known: dict[Any, int] = {}
    of_signal: dict[int, int] = {}

    def resolve(index: int) -> int:
        chain = []
        while index not in of_signal:
            if index in chain:
                raise ValueError(f"signal {signals[index].name} is multiplexed by itself")
            chain.append(index)
            multiplexer = signals[index].multiplexer
            if multiplexer is None:
                of_signal[index] = -1
                break
            index = multiplexer.parent
        for inner in reversed(chain):
            multiplexer = signals[inner].multiplexer
            if multiplexer is None:
                continue
            if multiplexer not in known:
                known[multiplexer] = len(rows)
                rows.append((multiplexer.parent, of_signal[multiplexer.parent], len(ranges), len(ranges) + len(multiplexer.ranges)))
                ranges.extend((low, min(high, (1 << 64) - 1)) for low, high in multiplexer.ranges)
            of_signal[inner] = known[multiplexer]
        return of_signal[chain[0]] if chain else of_signal[index]

    selector_of = [resolve(index) for index in range(len(signals))]
    table = np.array(rows, np.int32).reshape(len(rows), 4)
    return table, selector_of, np.array(ranges, np.uint64).reshape(len(ranges), 2)
