"""Where the raw values of channels lie in a record, as fields that `_records` can spread into columns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from parsers.mdf._records import (
    BITS,
    BITS_SWAPPED,
    BYTES,
    COPY,
    FLOAT,
    FLOAT_SWAPPED,
    PACKED,
    PLACE,
    SIGNED,
    SIGNED_SWAPPED,
    STARTS,
    SWAP,
    VALID,
)
from parsers.mdf.tree import INT_BE, INT_LE, REAL_BE, REAL_LE, UINT_BE, UINT_LE, Channel

Field = tuple[int, int, int, int, int, int]
"""Kind, offset, bytes read, bits below the value, bits, bytes of a value in the column."""

_WHOLE = (UINT_LE, UINT_BE, INT_LE, INT_BE)
_REAL = (REAL_LE, REAL_BE)
_SWAPPED = (UINT_BE, INT_BE, REAL_BE)
_SIGNED = (INT_LE, INT_BE)
_HALF = np.dtype(np.float16)


_SLOT = 8


class Unreadable(Exception):
    """A channel gives no signal; the message is the reason that is listed."""


def _whole_bytes(channel: Channel, most: int) -> int:
    """The bytes of a channel. Raises Unreadable when it has none, more than `most`, or parts of some."""
    size = channel.bit_count // 8
    if channel.bit_offset or channel.bit_count % 8 or not size:
        raise Unreadable(f"{channel.bit_count} bits at bit {channel.bit_offset} are no bytes")
    if size > most:
        raise Unreadable(f"{size} bytes, {most} are allowed")
    return size


@dataclass
class Fields:
    """The fields of one part of a record of `size` bytes; equal ones are kept once."""

    size: int
    fields: list[Field] = field(default_factory=list)
    _known: dict[Field, int] = field(default_factory=dict)

    def add(self, wanted: Field) -> int:
        """The number of the field. Raises Unreadable when it leaves the record."""
        known = self._known.get(wanted)
        if known is None:
            offset, size = wanted[1:3]
            if offset < 0 or offset + size > self.size:
                raise Unreadable(f"lies outside of its record of {self.size} bytes")
            known = self._known[wanted] = len(self.fields)
            self.fields.append(wanted)
        return known

    def number(self, channel: Channel, shift: int = 0) -> tuple[int, np.dtype[np.generic]]:
        """The field of a number and the type of its column; `shift` moves the element of an array.

        Half precision comes as float16, single as float64. Raises Unreadable.
        """
        offset = channel.byte_offset + channel.bit_offset // 8 + shift
        if channel.data_type in _WHOLE:
            return self._whole(channel, offset)
        if channel.data_type not in _REAL:
            raise Unreadable(f"data type {channel.data_type} is no number")
        swapped = channel.data_type in _SWAPPED
        if channel.bit_offset or channel.bit_count not in (16, 32, 64):
            raise Unreadable(f"real number of {channel.bit_count} bits at bit {channel.bit_offset}")
        size = channel.bit_count // 8
        if size == 4:
            return self.add((FLOAT_SWAPPED if swapped else FLOAT, offset, 4, 0, 32, 8)), np.dtype(np.float64)
        number = self.add((SWAP if swapped else COPY, offset, size, 0, channel.bit_count, size))
        return number, _HALF if size == 2 else np.dtype(np.float64)

    def _whole(self, channel: Channel, offset: int) -> tuple[int, np.dtype[np.generic]]:
        bits, below = channel.bit_count, channel.bit_offset % 8
        if not 1 <= bits <= 64:
            raise Unreadable(f"whole number of {bits} bits")
        swapped, signed = channel.data_type in _SWAPPED, channel.data_type in _SIGNED
        width = next(width for width in (1, 2, 4, 8) if bits <= 8 * width)
        dtype: np.dtype[np.generic] = np.dtype(f"{'i' if signed else 'u'}{width}")
        if below == 0 and bits == 8 * width:
            return self.add((SWAP if swapped and width > 1 else COPY, offset, width, 0, bits, width)), dtype
        kinds = (BITS, BITS_SWAPPED, SIGNED, SIGNED_SWAPPED)
        kind = kinds[2 * signed + swapped]
        return self.add((kind, offset, (below + bits + 7) // 8, below, bits, width)), dtype

    def bytes(self, channel: Channel, most: int, shift: int = 0) -> tuple[int, int]:
        """The field of so many bytes as the channel has, and their number. Raises Unreadable, also beyond `most` bytes."""
        size = _whole_bytes(channel, most)
        return self.add((BYTES, channel.byte_offset + shift, size, 0, 0, size)), size

    def payload(self, channel: Channel, most: int, longest: int, length: int | None) -> tuple[int, int]:
        """As `bytes`, but of so many bytes as the field `length` says, at most `longest`, each payload right behind the one before.

        The next field is where they begin. More bytes may be kept where the length is not plain.
        """
        size = _whole_bytes(channel, most)
        number = self.add((PACKED, channel.byte_offset, size, 0, 0, -(-min(size, longest) // _SLOT) * _SLOT))
        kind, offset, read, below, bits, _width = (BITS, 0, 0, 0, 0, 0) if length is None else self.fields[length]
        self.add((STARTS, offset, read, below, bits, 4) if kind in (COPY, BITS) else (STARTS, 0, 0, 0, 0, 4))
        return number, size

    def valid(self, base: int, bit: int) -> int:
        """The field of an invalidation bit; the invalidation bytes begin at `base`."""
        return self.add((VALID, base + bit // 8, 1, bit % 8, 1, 1))

    def place(self) -> int:
        """The field that keeps where each record lay."""
        return self.add((PLACE, 0, 0, 0, 0, 8))
