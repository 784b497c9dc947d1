"""Master channels into nanoseconds: exact for whole ticks, rounded once for real seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsers.mdf._times import reals_to_ns, ticks_to_ns
from parsers.mdf.conversion import Conversion

SECOND = 10**9
FARTHEST = 1 << 62
"""Times beyond are none: the start of the recording must be added to them without leaving 64 bits."""

_WHOLE = 1 << 53


@dataclass(frozen=True, slots=True)
class Clock:
    """How the raw values of a master channel become nanoseconds since the start of the recording.

    `numerator`, `offset` and `denominator` scale whole ticks, where the conversion is linear and small enough for 128 bits.
    """

    conversion: Conversion
    numerator: int = 0
    offset: int = 0
    denominator: int = 0

    def times(self, raw: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Nanoseconds, and which of them are times at all (None: every one)."""
        # What is not a number, or too large for one, is no time; nothing to warn of.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._times(raw)

    def _times(self, raw: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        if self.denominator and raw.dtype.kind in "iu":
            wide = np.ascontiguousarray(raw, np.uint64 if raw.dtype.kind == "u" else np.int64)
            t_ns, valid = ticks_to_ns(wide, self.numerator, self.offset, self.denominator)
            return (t_ns, None) if valid.all() else (t_ns, valid.astype(np.bool_))
        if self.denominator:
            return _rounded(raw, self.numerator / self.denominator, Fraction(self.offset, self.denominator))
        column, mask = self.conversion.plan(raw.dtype).apply(raw)
        t_ns, valid = _rounded(column, SECOND, Fraction(0))
        if mask is not None:
            valid = mask.astype(np.bool_) if valid is None else valid & mask.astype(np.bool_)
        return t_ns, valid


def clock_of(conversion: Conversion) -> Clock:
    """The clock of a master that counts seconds after its conversion.

    A factor is taken as the decimal number that it is written as: 1e-6 is a microsecond, not the nearest binary fraction.
    """
    scale = conversion.linear
    if scale is None or not all(math.isfinite(value) for value in scale):
        return Clock(conversion)
    offset, factor = (Fraction(Decimal(repr(float(value)))) * SECOND for value in scale)
    denominator = math.lcm(offset.denominator, factor.denominator)
    numerator, added = int(factor * denominator), int(offset * denominator)
    if max(abs(numerator), abs(added), denominator) >= FARTHEST:
        return Clock(conversion)
    return Clock(conversion, numerator, added, denominator)


def _rounded(real: NDArray[Any], factor: float, offset: Fraction) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
    """Reals times a factor plus an exact offset, to whole nanoseconds. Large offsets are added after rounding, so that no digit is lost."""
    small = abs(offset) < _WHOLE
    t_ns, valid = reals_to_ns(np.ascontiguousarray(real, np.float64), factor, float(offset) if small else 0.0)
    if not small:
        t_ns += round(offset)
    return t_ns, None if valid is None else valid.astype(np.bool_)
