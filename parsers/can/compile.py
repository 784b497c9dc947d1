"""What cantools read, of whatever format, as the messages that decoding takes: bounded, and with a warning for all that is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parsers.can.database import MAX_BITS, MAX_MESSAGES, MAX_SIGNALS, MAX_TEXT, Message, Multiplexer, Signal
from parsers.errors import LimitExceeded

FLOAT_LENGTHS = (16, 32, 64)
TIME_COLUMN = "t_ns"


def messages_of(found: list[Any], warnings: list[str], original: Callable[[str], str] = str) -> list[Message]:
    """Messages with distinct ids. `original` gives a name back that had to be replaced for cantools. Raises LimitExceeded."""
    if len(found) > MAX_MESSAGES:
        raise LimitExceeded(f"a signal database of {len(found)} messages, at most {MAX_MESSAGES} are read")
    return _unique([_message(message, original, warnings) for message in found], warnings)


def first_line(error: Exception) -> str:
    """What an error says, in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _unique(messages: list[Message], warnings: list[str]) -> list[Message]:
    """The last of several messages with one id, as cantools decodes it."""
    by_id: dict[tuple[int, bool], Message] = {}
    for message in messages:
        key = (message.arbitration_id, message.extended)
        if key in by_id:
            warnings.append(f"message {message.name}: id {message.arbitration_id:#x} is also {by_id[key].name}, which is left out")
        by_id[key] = message
    return list(by_id.values())


def _message(message: Any, original: Callable[[str], str], warnings: list[str]) -> Message:
    name = original(message.name)
    problems = {signal.name: problem for signal in message.signals if (problem := _problem(signal))}
    parents = {signal.name: signal.multiplexer_signal for signal in message.signals}
    multiplexers = {signal.name for signal in message.signals if signal.is_multiplexer}
    for signal in message.signals:
        if signal.name not in problems and not _reachable(signal.name, parents, multiplexers - problems.keys()):
            problems[signal.name] = "its multiplexer is missing or not marked as one"
    warnings.extend(f"signal {original(s)} of {name} left out: {why}" for s, why in problems.items())
    kept = [signal for signal in message.signals if signal.name not in problems]
    if len(kept) > MAX_SIGNALS:
        warnings.append(f"message {name}: only the first {MAX_SIGNALS} of {len(kept)} signals are read")
        kept = kept[:MAX_SIGNALS]
    index = {signal.name: i for i, signal in enumerate(kept)}
    names = _column_names([original(signal.name) for signal in kept], name, warnings)
    signals = tuple(_signal(signal, column, index) for signal, column in zip(kept, names, strict=True))
    j1939 = message.protocol == "j1939" and message.is_extended_frame
    return Message(message.frame_id, message.is_extended_frame, name[:MAX_TEXT], message.length, j1939, signals)


def _problem(signal: Any) -> str | None:
    if not 1 <= signal.length <= 64:
        return f"{signal.length} bits wide"
    if signal.conversion.is_float and signal.length not in FLOAT_LENGTHS:
        return f"a float of {signal.length} bits"
    if not 0 <= _first_bit(signal) <= MAX_BITS - signal.length:
        return "beyond the longest frame"
    if signal.multiplexer_signal is not None and not signal.multiplexer_ids:
        return "multiplexed without a value"
    return None


def _reachable(name: str, parents: dict[str, str | None], multiplexers: set[str]) -> bool:
    seen = {name}
    parent = parents.get(name)
    while parent is not None:
        if parent in seen or parent not in multiplexers:
            return False
        seen.add(parent)
        parent = parents[parent]
    return True


def _first_bit(signal: Any) -> int:
    if signal.byte_order == "big_endian":
        return int(8 * (signal.start // 8) + 7 - signal.start % 8)
    return int(signal.start)


def _column_names(names: list[str], message: str, warnings: list[str]) -> list[str]:
    """The names made distinct, also from the time column."""
    taken = {TIME_COLUMN}
    columns = []
    for name in names:
        column = name[:MAX_TEXT]
        number = 2
        while column in taken:
            column = f"{name[:MAX_TEXT]}_{number}"
            number += 1
        if column != name:
            warnings.append(f"signal {name} of {message} is called {column}")
        taken.add(column)
        columns.append(column)
    return columns


def _signal(signal: Any, column: str, index: dict[str, int]) -> Signal:
    multiplexer = None
    if signal.multiplexer_signal is not None:
        multiplexer = Multiplexer(index[signal.multiplexer_signal], _ranges(signal.multiplexer_ids))
    choices = signal.conversion.choices
    return Signal(
        name=column,
        first_bit=_first_bit(signal),
        length=signal.length,
        big_endian=signal.byte_order == "big_endian",
        signed=bool(signal.is_signed) and not signal.conversion.is_float,
        is_float=bool(signal.conversion.is_float),
        scale=_number(signal.conversion.scale),
        offset=_number(signal.conversion.offset),
        minimum=None if signal.minimum is None else _number(signal.minimum),
        maximum=None if signal.maximum is None else _number(signal.maximum),
        unit=(signal.unit or "")[:MAX_TEXT],
        choices={int(raw): str(text)[:MAX_TEXT] for raw, text in choices.items()} if choices else None,
        multiplexer=multiplexer,
    )


def _number(value: Any) -> float:
    return value if isinstance(value, int) else float(value)


def _ranges(ids: list[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for value in sorted(set(ids)):
        if ranges and value == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], value)
        else:
            ranges.append((value, value))
    return tuple(ranges)
