"""How numbers, times and names from outside are written for people."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

NOTHING = "–"
# C0 and C1 controls, bidirectional controls, zero-width characters, line and paragraph separators.
INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONG_ENOUGH_FOR_MINUTES = 60
NS = 10**9


def visible(text: object) -> str:
    """Text with every invisible or direction-changing character written as its escape: no name can pose as another."""
    return INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", str(text))


def safe_name(name: str) -> str:
    """A file name for a download: nothing in it that a header, a path or an eye could take for something else."""
    return INVISIBLE.sub("_", name).replace("/", "_").replace("\\", "_").strip(". ") or "file"


def size(octets: int | None) -> str:
    """Bytes in decimal units: 1,536 is "1.5 kB"."""
    if octets is None:
        return NOTHING
    value = float(octets)
    for unit in UNITS:
        if value < 1000 or unit == UNITS[-1]:
            return f"{octets} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError(octets)


def count(number: int | None) -> str:
    """A whole number with commas."""
    return NOTHING if number is None else f"{number:,}"


def number(value: float | int | None) -> str:
    """A measured value with six significant digits and no needless zeros."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOTHING
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e9):
        return f"{int(value):,}"
    return f"{value:,.6g}" if 1e-4 <= abs(value) < 1e9 else f"{value:.4e}"


def duration(seconds: float | None) -> str:
    """The two largest units: "850 ms", "2.5 s", "2 min 5 s", "3 h 10 min", "4 d 2 h"."""
    if seconds is None:
        return NOTHING
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < LONG_ENOUGH_FOR_MINUTES:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    left = int(seconds)
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= length:
            parts.append(f"{left // length} {unit}")
            left %= length
        elif parts:
            break
    return " ".join(parts[:2])


def age(moment: datetime | None) -> str:
    """How long ago a moment is."""
    return NOTHING if moment is None else duration((timezone.now() - moment).total_seconds())


def utc(moment: datetime | None) -> str:
    """Date and time to the second; every time in Argus is UTC, and the headings say so."""
    return NOTHING if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def span(first: datetime | None, last: datetime | None) -> str:
    """A range of time with the date once when both ends share it."""
    if first is None or last is None:
        return utc(first or last)
    first, last = first.astimezone(UTC), last.astimezone(UTC)
    end = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    return f"{first:%Y-%m-%d %H:%M} – {end}"


def recorded(t_ns: int | None, absolute: bool = True) -> str:
    """A time of a recording (nanoseconds) to the millisecond: UTC, or seconds after the start when the recording has no calendar time."""
    if t_ns is None:
        return NOTHING
    if absolute:
        try:
            return f"{EPOCH + timedelta(microseconds=t_ns // 1000):%Y-%m-%d %H:%M:%S.%f}"[:-3]
        except OverflowError:
            pass
    return f"{t_ns / NS:+,.3f} s"


def percent(share: float | None) -> str:
    """A share (0 to 1) in percent; never "0 %" or "100 %" for what is not."""
    if share is None:
        return NOTHING
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{share * 100:.3g} %"


@lru_cache(maxsize=1024)
def pill(text: str, kind: str) -> SafeString:
    """A small label; `kind` colours it (ok, info, warning, error, critical, running, quiet), the text carries the meaning."""
    return format_html('<span class="pill pill-{}">{}</span>', kind, visible(text))
