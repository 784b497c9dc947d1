"""The rows of streams that come as samples, waiting to be written: the counterpart of the decoder's columns."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parsers.blocks import SampleBlock, StreamSpec
from parsers.results.layout import NAME_KEPT, TIME_COLUMN, storable

Views = tuple[NDArray[np.int64], list[NDArray[Any]], list[NDArray[np.uint8] | None]]
"""t_ns, one array per signal, one mask (1: valid) or None per signal; all of one length."""


class WaitingRows(Protocol):
    """Rows of one stream that have not been written yet."""

    @property
    def size(self) -> int:
        """Rows."""

    @property
    def row_bytes(self) -> int:
        """About the bytes of one row."""

    def views(self, n: int, /) -> Views:
        """The first n rows."""

    def drop(self, n: int, /) -> None:
        """Forgets them."""

    def release(self) -> None:
        """Gives back the memory of a table without rows."""


class DescribedSignal(Protocol):
    """What a result says of a signal besides its values."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def storage(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def minimum(self) -> float | None: ...
    @property
    def maximum(self) -> float | None: ...
    def physical_choices(self) -> dict[str, str] | None: ...


class DescribedMessage(Protocol):
    """What a stream carries: a CAN message, a channel group, a topic."""

    @property
    def name(self) -> str: ...
    @property
    def signals(self) -> Sequence[DescribedSignal]: ...


class WrittenStream(Protocol):
    """A stream as the writer and the summary see it; `channel` is a number of `Recording.channels` or a name, the ids are None off CAN."""

    @property
    def message(self) -> DescribedMessage: ...
    @property
    def channel(self) -> int | str: ...
    @property
    def arbitration_id(self) -> int | None: ...
    @property
    def extended(self) -> bool: ...
    @property
    def source_address(self) -> int | None: ...
    @property
    def columns(self) -> WaitingRows: ...


@dataclass
class SampleTable:
    """Blocks of one stream, kept as they came until they are written. Times are shifted by `shift_ns` on the way out."""

    spec: StreamSpec
    shift_ns: int = 0
    size: int = 0
    _blocks: deque[SampleBlock] = field(default_factory=deque)
    _taken: int = 0  # rows of the first block that are gone

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, without masks."""
        return 8 + sum(np.dtype(signal.storage).itemsize for signal in self.spec.signals)

    def append(self, block: SampleBlock) -> None:
        """Takes a block. Raises ValueError when it does not fit the stream."""
        check(self.spec, block)
        self._blocks.append(block)
        self.size += len(block)

    def views(self, n: int) -> Views:
        """The first n rows; joined only where a piece of several blocks is asked for."""
        parts: list[tuple[SampleBlock, int, int]] = []
        missing, start = n, self._taken
        for block in self._blocks:
            if missing == 0:
                break
            stop = min(len(block), start + missing)
            parts.append((block, start, stop))
            missing -= stop - start
            start = 0
        t_ns = _joined([block.t_ns[a:b] for block, a, b in parts], np.dtype(np.int64))
        if self.shift_ns:
            t_ns = t_ns + self.shift_ns
        columns, masks = [], []
        for index, signal in enumerate(self.spec.signals):
            columns.append(_joined([block.columns[index][a:b] for block, a, b in parts], np.dtype(signal.storage)))
            masks.append(_joined_masks([(block.masks[index], a, b) for block, a, b in parts]))
        return t_ns, columns, masks

    def drop(self, n: int) -> None:
        """Forgets the first n rows."""
        self.size -= n
        n += self._taken
        while self._blocks and n >= len(self._blocks[0]):
            n -= len(self._blocks.popleft())
        self._taken = n

    def release(self) -> None:
        """There is no memory besides the blocks."""


@dataclass
class SampleStream:
    """A stream of samples as the writer and the summary see it."""

    message: StreamSpec
    columns: SampleTable
    arbitration_id: None = None
    extended: bool = False
    source_address: None = None

    @property
    def channel(self) -> str:
        """Where it comes from."""
        return self.message.source


def stored(spec: StreamSpec) -> StreamSpec:
    """The stream with names and units of signals as columns and summary take them: storable, the names distinct and none the time's.

    The value tables are shared: the parser may still add to them.
    """
    taken = {TIME_COLUMN}
    signals = []
    for signal in spec.signals:
        plain = name = storable(signal.name[:NAME_KEPT])
        number = 1
        while name in taken:
            number += 1
            name = f"{plain}#{number}"
        taken.add(name)
        signals.append(replace(signal, name=name, unit=storable(signal.unit[:NAME_KEPT])))
    return StreamSpec(spec.name, signals, spec.source)


def check(spec: StreamSpec, block: SampleBlock) -> None:
    """Raises ValueError when a block has not one column of the right type and length for each signal."""
    rows = len(block)
    if len(block.columns) != len(spec.signals) or len(block.masks) != len(spec.signals) or block.t_ns.dtype != np.int64:
        raise ValueError(f"a block of {spec.name} does not fit its {len(spec.signals)} signals")
    for signal, column, mask in zip(spec.signals, block.columns, block.masks, strict=True):
        if column.dtype != np.dtype(signal.storage) or len(column) != rows or not column.flags.c_contiguous:
            raise ValueError(f"{spec.name}.{signal.name}: not {rows} contiguous values of {signal.storage}")
        if mask is not None and (mask.dtype != np.uint8 or len(mask) != rows or not mask.flags.c_contiguous):
            raise ValueError(f"{spec.name}.{signal.name}: not a mask of {rows}")


def _joined(parts: list[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _joined_masks(parts: list[tuple[NDArray[np.uint8] | None, int, int]]) -> NDArray[np.uint8] | None:
    if all(mask is None for mask, _, _ in parts):
        return None
    return _joined([np.ones(b - a, np.uint8) if mask is None else mask[a:b] for mask, a, b in parts], np.dtype(np.uint8))
