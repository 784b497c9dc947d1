"""What a parser yields: blocks of CAN frames, of samples of one stream, or of log messages; all as typed columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsers.can.frames import FrameBlock

LEVELS = ("", "trace", "debug", "info", "warning", "error", "fatal")
"""Levels of log messages, by the number that stands in `MessageBlock.level`; 0 is unknown."""

WARNING = LEVELS.index("warning")
NO_TIME = -(1 << 63)
"""The time of a log message that has none."""

STORAGES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float64")


@dataclass(slots=True)
class SignalSpec:
    """One column of a stream: physical values in `unit`, stored as the numpy type `storage` (one of STORAGES).

    `choices` names values of a column of whole numbers and makes it an enumeration; a parser may add to it as long as it yields blocks
    (texts are stored that way: `parsers.texts`).
    """

    name: str
    unit: str = ""
    storage: str = "float64"
    choices: dict[int, str] | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def kind(self) -> str:
        """`enum`, `int` or `float`."""
        if self.choices is not None:
            return "enum"
        return "float" if self.storage == "float64" else "int"

    def physical_choices(self) -> dict[str, str] | None:
        """The value table with the keys as text."""
        return None if self.choices is None else {str(value): text for value, text in self.choices.items()}


@dataclass(slots=True)
class StreamSpec:
    """A stream that is not decoded from CAN frames: an MDF channel group, a topic, a CPU. `source` names the bus or ECU it comes from."""

    name: str
    signals: list[SignalSpec]
    source: str = ""


@dataclass(frozen=True, slots=True)
class SampleBlock:
    """N rows of one stream in file order.

    `stream` is what `Recording.add_stream` gave. `t_ns` is the time as the file writes it (`Recording.start_ns` is added to get UTC).
    `columns` has one array of length N per signal, C-contiguous and of the signal's storage type; `masks` one uint8 array of length N
    (1: valid) or None (all are valid) per signal. Nobody writes to the arrays after the block has been yielded.
    """

    stream: int
    t_ns: NDArray[np.int64]
    columns: list[NDArray[Any]]
    masks: list[NDArray[np.uint8] | None]

    def __len__(self) -> int:
        return len(self.t_ns)

    @property
    def nbytes(self) -> int:
        """Bytes of all columns and masks."""
        return self.t_ns.nbytes + sum(a.nbytes for a in self.columns) + sum(m.nbytes for m in self.masks if m is not None)


@dataclass(frozen=True, slots=True)
class MessageBlock:
    """N log messages in file order.

    `t_ns` as in SampleBlock, or NO_TIME. `level` indexes LEVELS, `source` indexes `Recording.sources`. Text i is the UTF-8
    `text[text_offset[i]:text_offset[i + 1]]`; `text_offset` is int32 and has N + 1 entries.
    """

    t_ns: NDArray[np.int64]
    level: NDArray[np.uint8]
    source: NDArray[np.int32]
    text_offset: NDArray[np.int32]
    text: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.t_ns)

    def text_of(self, index: int) -> str:
        """One text, for those who look at few."""
        return self.text[self.text_offset[index] : self.text_offset[index + 1]].tobytes().decode("utf-8", "replace")


@dataclass
class MessageList:
    """Gathers single messages into a block, for parsers that meet few of them."""

    _rows: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    size: int = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, t_ns: int, level: int, source: int, text: str) -> None:
        """One message; `source` as in MessageBlock."""
        data = text.encode("utf-8", "replace")
        self._rows.append((t_ns, level, source, data))
        self.size += len(data)

    def take(self) -> MessageBlock:
        """What has been gathered, and begins anew."""
        rows, self._rows, self.size = self._rows, [], 0
        lengths = [len(row[3]) for row in rows]
        return MessageBlock(
            np.array([row[0] for row in rows], np.int64),
            np.array([row[1] for row in rows], np.uint8),
            np.array([row[2] for row in rows], np.int32),
            np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)]),
            np.frombuffer(b"".join(row[3] for row in rows), np.uint8),
        )


Block = FrameBlock | SampleBlock | MessageBlock
