"""What a rule hands over, and the words in which findings tell numbers, times and lengths of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

SEVERITIES = ("info", "warning", "error", "critical")
INFO, WARNING, ERROR, CRITICAL = SEVERITIES

MAX_SENTENCE = 500
MAX_COUNT = 2**31 - 1
LISTED = 20  # entries of a list in `details`

SECOND_NS = 1_000_000_000
UNITS = {"degC": "°C", "degF": "°F", "deg": "°", "m/s2": "m/s²", "Ohm": "Ω"}


@dataclass(frozen=True, slots=True)
class FoundFinding:
    """One thing that is wrong or worth knowing, seen from `from_ns` to `to_ns`; the engine fills in `rule` and `rule_version`."""

    severity: str
    sentence: str
    action: str = ""
    code: str = ""
    file_id: str | None = None
    stream: str = ""
    signal: str = ""
    from_ns: int | None = None
    to_ns: int | None = None
    count: int = 1
    details: dict[str, Any] = field(default_factory=dict)
    rule: str = ""
    rule_version: str = ""


def worse(one: str, other: str) -> str:
    """The graver of two severities."""
    return max(one, other, key=SEVERITIES.index)


def milder(severity: str) -> str:
    """One step down; `info` stays."""
    return SEVERITIES[max(0, SEVERITIES.index(severity) - 1)]


def number(value: float, unit: str = "") -> str:
    """At most six digits, with the unit behind a space: `122.25 °C`."""
    text = f"{value:.6g}" if abs(value) < 1e15 else f"{value:.3e}"
    text = "0" if text == "-0" else text
    shown = UNITS.get(unit, unit)
    return f"{text} {shown}" if shown else text


def percent(share: float) -> str:
    """A share of 1 in percent with two digits: `3.9 %`."""
    if 0 < share < 1e-4:
        return "less than 0.01 %"
    return f"{min(share * 100, 100):.2g} %" if share < 0.995 else ("100 %" if share >= 1 else "99 %")


def length(ns: int) -> str:
    """A length of time in the two units that matter: `0.35 s`, `5.8 s`, `1 min 30 s`, `2 h`, `3 d 4 h`."""
    seconds = ns / SECOND_NS
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    for size, name, smaller_size, smaller in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {name} {rest} {smaller}" if rest else f"{whole // size} {name}"
    return f"{whole} s"


def moment(t_ns: int, *, absolute: bool) -> str:
    """`2026-04-30 09:52:35 UTC`, or `155 s after the start` in a recording without a date."""
    if absolute:
        try:
            return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=t_ns // SECOND_NS):%Y-%m-%d %H:%M:%S} UTC"
        except OverflowError:
            return f"{t_ns} ns after 1970"
    return f"{length(t_ns)} after the start" if t_ns >= 0 else f"{length(-t_ns)} before the start"


def times(count: int) -> str:
    """`once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(names: Sequence[str], most: int = 5) -> str:
    """`a, b and c`, or `a, b, c, d, e and 3 more`."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def clean(text: str) -> str:
    """The text as a database takes it: control characters and halves of surrogate pairs (names in logs may hold any) become U+FFFD."""
    return "".join(
        "\ufffd" if ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 or 0xD800 <= ord(letter) < 0xE000 else letter for letter in text
    )


def shortened(text: str, most: int = MAX_SENTENCE) -> str:
    """At most `most` characters, with an ellipsis where some are missing."""
    return text if len(text) <= most else text[: most - 1] + "…"
