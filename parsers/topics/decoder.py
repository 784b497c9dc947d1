"""What a decoder of topic messages takes and gives: the batch of raw messages, the columns, and the protocol between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parsers.blocks import SignalSpec
from parsers.limits import Limits


@dataclass(frozen=True, slots=True)
class MessageBatch:
    """N messages of one topic that lie in one buffer, in file order.

    Message i is `data[offset[i] : offset[i] + length[i]]` (uint8, int64, int64; the maker has checked that all lie in `data`), `t_ns`
    its time (int64). `origin` is the byte of the file where the buffer begins (a chunk, when it is compressed), for messages about damage.
    """

    t_ns: NDArray[np.int64]
    data: NDArray[np.uint8]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    origin: int = 0

    def __len__(self) -> int:
        return len(self.t_ns)

    def __getitem__(self, rows: slice) -> MessageBatch:
        """Some of the messages, over the same buffer."""
        return MessageBatch(self.t_ns[rows], self.data, self.offset[rows], self.length[rows], self.origin)

    def message(self, index: int) -> bytes:
        """One message, for those who look at few."""
        start = int(self.offset[index])
        return self.data[start : start + int(self.length[index])].tobytes()


@dataclass(frozen=True, slots=True)
class TextSpans:
    """N texts that lie in one buffer: text i is the UTF-8 `data[offset[i] : offset[i] + length[i]]` (uint8, int64, int64)."""

    data: NDArray[np.uint8]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offset)


Column = NDArray[Any] | TextSpans


@dataclass(frozen=True, slots=True)
class Decoded:
    """M rows out of N messages, M <= N: times (int64), and per signal a column and a mask (uint8, 1: valid) or None (all are valid).

    The column of a signal has its storage type and is C-contiguous; that of a text signal is TextSpans, and the numbers of `choices`
    are given later.
    """

    t_ns: NDArray[np.int64]
    columns: list[Column]
    masks: list[NDArray[np.uint8] | None]

    def __len__(self) -> int:
        return len(self.t_ns)


def text_signal(name: str) -> SignalSpec:
    """The signal of a text: int32 with choices that are filled while blocks are made. Its columns come as TextSpans."""
    return SignalSpec(name, storage="int32", choices={})


def is_text(signal: SignalSpec) -> bool:
    """Whether the signal was made by `text_signal`, before any text has come; an enumeration has its choices from the start."""
    return signal.storage == "int32" and signal.choices == {}


def free_name(name: str, taken: set[str]) -> str:
    """The name, or with underscores behind it when another signal of the stream has it, or time has; adds it to those taken."""
    name = name or "_"
    while name in taken or name == "t_ns":
        name += "_"
    taken.add(name)
    return name


class TopicDecoder(Protocol):
    """Turns the messages of one schema into columns. One decoder serves one stream, from its first message to its last.

    `signals` is final once `needs_sample` is False; names are unique, at most `limits.max_signals`. Messages that cannot be read give
    no row: `failed` counts them, `failed_reason` says why (the first one). `left_out` lists fields that give no signal, and why (maps,
    bytes, arrays of objects); it may grow with every batch.
    """

    signals: list[SignalSpec]
    failed: int
    failed_reason: str

    weight: int
    """Fields that the decoder knows, whether they are signals or not: what it takes to keep it."""

    needs_sample: bool = False
    """Whether `learn` is to be called, once and before `decode`, with the first messages (SAMPLE_MESSAGES or SAMPLE_BYTES of them)."""

    @property
    def left_out(self) -> dict[str, str]:
        """Fields without a signal, or without some of their values, and why."""

    def learn(self, sample: MessageBatch) -> None:
        """Finds the signals of messages without a schema in the first of them, which come again to `decode`."""

    def decode(self, batch: MessageBatch) -> Decoded:
        """The rows of the messages that can be read. Never raises for what the messages hold."""


SAMPLE_MESSAGES = 256
SAMPLE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file says about the messages of a topic; encodings as MCAP names them (`ros1` and `ros1msg`, `protobuf` and `protobuf`)."""

    message_encoding: str
    encoding: str
    name: str
    data: bytes = field(repr=False, default=b"")


DecoderFactory = Callable[[Schema, Limits], TopicDecoder]
"""Makes the decoder of a schema. Raises Unsupported with a reason when it cannot; any other ParseError when the schema is broken."""
