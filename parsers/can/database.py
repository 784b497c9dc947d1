"""The signals that a CAN database names, compiled once to plain data, so that decoding a log needs no parser of databases."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from parsers.errors import Corrupt, LimitExceeded, Unsupported

COMPILED_FORMAT = 1
MAX_FILE_SIZE = 32 * 1024 * 1024
MAX_MESSAGES = 20_000
MAX_SIGNALS = 4096  # of one message
MAX_BITS = 64 * 8
MAX_MUX_RANGES = 65_536
MAX_TEXT = 1000
PGN_MASK = 0x03FF_FF00
PDU1_MASK = 0x03FF_0000  # the lower byte of a PGN below 0xF000 is the destination address

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Multiplexer:
    """When a multiplexed signal is present: its parent (index in the message) has a raw value in one of the ranges, both ends included."""

    parent: int
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal of a message.

    `first_bit` counts along the wire for big-endian signals (bit 0 = most significant bit of byte 0), by significance for
    little-endian ones (bit 0 = least significant bit of byte 0); in both the signal ends before `first_bit + length`.
    The physical value is `raw * scale + offset`; `choices` name raw values.
    """

    name: str
    first_bit: int
    length: int
    big_endian: bool
    signed: bool
    is_float: bool
    scale: float
    offset: float
    minimum: float | None
    maximum: float | None
    unit: str
    choices: dict[int, str] | None
    multiplexer: Multiplexer | None

    @property
    def end_byte(self) -> int:
        """Bytes a frame needs to hold the signal."""
        return (self.first_bit + self.length + 7) // 8

    @property
    def kind(self) -> str:
        """`enum` with a value table, else `int` or `float` as the values are stored."""
        if self.choices:
            return "enum"
        return "float" if self.storage == "float64" else "int"

    @property
    def storage(self) -> str:
        """The numpy type that holds every physical value: the narrowest whole one that can, else float64."""
        return "float64" if self.is_float else _storage(self.length, self.signed, self.scale, self.offset)

    def physical_choices(self) -> dict[str, str] | None:
        """The value table with the keys as they stand in the decoded column."""
        if not self.choices:
            return None
        if self.storage == "float64":
            return {repr(raw * self.scale + self.offset): text for raw, text in self.choices.items()}
        return {str(raw * int(self.scale) + int(self.offset)): text for raw, text in self.choices.items()}


@lru_cache(maxsize=1024)
def _storage(length: int, signed: bool, scale: float, offset: float) -> str:
    if not (float(scale).is_integer() and float(offset).is_integer()):
        return "float64"
    low, high = (-(1 << (length - 1)), (1 << (length - 1)) - 1) if signed else (0, (1 << length) - 1)
    least, most = sorted(raw * int(scale) + int(offset) for raw in (low, high))
    for bits in (8, 16, 32, 64):
        if -(1 << (bits - 1)) <= least and most < 1 << (bits - 1):
            return f"int{bits}"
        if least >= 0 and most < 1 << bits:
            return f"uint{bits}"
    return "float64"


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `arbitration_id` carries no flag bits; `j1939` messages match every source address."""

    arbitration_id: int
    extended: bool
    name: str
    length: int
    j1939: bool
    signals: tuple[Signal, ...]
    channels: tuple[str, ...] | None = None


@dataclass
class Database:
    """Messages by id, from one file or from several; `kind` is the file's format (dbc, arxml, kcd, sym).

    `channels` restricts all messages to buses of these names (`Recording.channels`); None means every bus.
    """

    name: str = ""
    sha256: str = ""
    messages: list[Message] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    channels: tuple[str, ...] | None = None
    sources: list[tuple[str, str]] = field(default_factory=list)
    kind: str = "dbc"
    _exact: dict[tuple[int, bool], list[Message]] = field(default_factory=dict, repr=False)
    _by_pgn: dict[int, list[Message]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.sources and self.name:
            self.sources = [(self.name, self.sha256)]
        for message in self.messages:
            self._exact.setdefault((message.arbitration_id, message.extended), []).append(message)
            if message.j1939 and message.extended:
                self._by_pgn.setdefault(pgn_of(message.arbitration_id), []).append(message)

    @classmethod
    def load(cls, data: bytes, name: str, channels: tuple[str, ...] | None = None) -> Database:
        """Compiles a DBC, ARXML, KCD or SYM file. `warnings` name what was changed or left out.

        Raises LimitExceeded when it is too large, Unsupported for another kind of XML, and Corrupt when no message could be read from it.
        """
        from parsers.can.exchange import load  # here, because cantools takes a quarter of a second; whoever only decodes never pays it

        if len(data) > MAX_FILE_SIZE:
            raise LimitExceeded(f"a signal database of {len(data)} bytes, at most {MAX_FILE_SIZE} are read")
        kind, messages, warnings = load(data)
        return cls(name, hashlib.sha256(data).hexdigest(), messages, warnings, channels, kind=kind)

    @classmethod
    def merge(cls, databases: list[Database]) -> Database:
        """One database out of several: an earlier one wins, and one restricted to a bus wins there over one for every bus."""
        ordered = [d for d in databases if d.channels is not None] + [d for d in databases if d.channels is None]
        merged = cls()
        merged.sources = [source for database in databases for source in database.sources]
        merged.warnings = [f"{database.name}: {warning}" for database in databases for warning in database.warnings]
        for database in ordered:
            for message in database.messages:
                merged.messages.append(_restricted(message, database.channels))
        merged.__post_init__()
        merged.warnings.extend(_shadowed(merged))
        return merged

    def find(self, arbitration_id: int, extended: bool, channel: str = "") -> Message | None:
        """The message with this id on this bus: by the exact id first, then, for 29-bit ids, by J1939 PGN."""
        for message in self._exact.get((arbitration_id, extended), ()):
            if message.channels is None or channel in message.channels:
                return message
        if extended:
            for message in self._by_pgn.get(pgn_of(arbitration_id), ()):
                if message.channels is None or channel in message.channels:
                    return message
        return None

    def to_json(self) -> bytes:
        """The compiled form. `from_json` of it gives an equal database."""
        return json.dumps(
            {
                "format": COMPILED_FORMAT,
                "name": self.name,
                "sha256": self.sha256,
                "kind": self.kind,
                "channels": self.channels,
                "warnings": self.warnings,
                "messages": [_message_to_json(message) for message in self.messages],
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Database:
        """Reads the compiled form and checks every bound that decoding relies on. Raises Corrupt or Unsupported."""
        try:
            return cls.from_document(json.loads(data))
        except (ValueError, RecursionError) as error:
            raise Corrupt(f"compiled database is damaged: {error}") from error

    @classmethod
    def from_document(cls, document: Json) -> Database:
        """`from_json` for what has been parsed already."""
        try:
            if document["format"] != COMPILED_FORMAT:
                raise Unsupported(f"compiled database of format {document['format']!r}, this is {COMPILED_FORMAT}")
            if len(document["messages"]) > MAX_MESSAGES:
                raise LimitExceeded(f"compiled database of more than {MAX_MESSAGES} messages")
            channels = document["channels"]
            return cls(
                _text(document["name"]),
                _text(document["sha256"]),
                [_message_from_json(message) for message in document["messages"]],
                [_text(warning) for warning in document["warnings"]],
                None if channels is None else tuple(_text(channel) for channel in channels),
                kind=_text(document.get("kind", "dbc")),
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
            raise Corrupt(f"compiled database is damaged: {error}") from error


def pgn_of(arbitration_id: int) -> int:
    """The part of a 29-bit id that names its parameter group; PDU1 groups without the destination address."""
    group = arbitration_id & PGN_MASK
    return group if (arbitration_id >> 16) & 0xFF >= 240 else group & PDU1_MASK


def _restricted(message: Message, channels: tuple[str, ...] | None) -> Message:
    return Message(message.arbitration_id, message.extended, message.name, message.length, message.j1939, message.signals, channels)


def _shadowed(database: Database) -> list[str]:
    warnings = []
    for (arbitration_id, _extended), messages in database._exact.items():
        seen: set[tuple[str, ...] | None] = set()
        for message in messages:
            if None in seen or message.channels in seen:
                warnings.append(f"message {message.name}: id {arbitration_id:#x} is also {messages[0].name}, which is used")
            seen.add(message.channels)
    return warnings


def _message_to_json(message: Message) -> Json:
    return {
        "id": message.arbitration_id,
        "extended": message.extended,
        "name": message.name,
        "length": message.length,
        "j1939": message.j1939,
        "signals": [_signal_to_json(signal) for signal in message.signals],
    }


def _signal_to_json(signal: Signal) -> Json:
    document: Json = {
        "name": signal.name,
        "bit": signal.first_bit,
        "length": signal.length,
        "order": "big" if signal.big_endian else "little",
        "type": "float" if signal.is_float else "signed" if signal.signed else "unsigned",
        "scale": signal.scale,
        "offset": signal.offset,
    }
    optional = {"min": signal.minimum, "max": signal.maximum, "unit": signal.unit or None, "choices": signal.choices}
    document.update({key: value for key, value in optional.items() if value is not None})
    if signal.multiplexer is not None:
        document["mux"] = [signal.multiplexer.parent, signal.multiplexer.ranges]
    return document


def _message_from_json(document: Json) -> Message:
    extended = bool(document["extended"])
    if len(document["signals"]) > MAX_SIGNALS:
        raise ValueError(f"message of more than {MAX_SIGNALS} signals")
    signals = tuple(_signal_from_json(signal, index) for index, signal in enumerate(document["signals"]))
    for signal in signals:
        if signal.multiplexer is not None and signal.multiplexer.parent >= len(signals):
            raise ValueError(f"signal {signal.name} is multiplexed by a signal that does not exist")
    return Message(
        _whole(document["id"], 0, 0x1FFF_FFFF if extended else 0x7FF),
        extended,
        _text(document["name"]),
        _whole(document["length"], 0, 1 << 16),
        bool(document["j1939"]),
        signals,
    )


def _signal_from_json(document: Json, index: int) -> Signal:
    length = _whole(document["length"], 1, 64)
    mux = document.get("mux")
    choices = document.get("choices")
    multiplexer = None
    if mux is not None:
        if len(mux[1]) > MAX_MUX_RANGES:
            raise ValueError("too many multiplexer ranges")
        parent = _whole(mux[0], 0, MAX_SIGNALS - 1)
        if parent == index:
            raise ValueError("a signal multiplexes itself")
        multiplexer = Multiplexer(parent, tuple((_whole(low, 0, 1 << 64), _whole(high, 0, 1 << 64)) for low, high in mux[1]))
    if document["type"] == "float" and length not in (16, 32, 64):
        raise ValueError(f"float of {length} bits")
    return Signal(
        _text(document["name"]),
        _whole(document["bit"], 0, MAX_BITS - length),
        length,
        document["order"] == "big",
        document["type"] == "signed",
        document["type"] == "float",
        _finite(document["scale"]),
        _finite(document["offset"]),
        None if document.get("min") is None else _finite(document["min"]),
        None if document.get("max") is None else _finite(document["max"]),
        _text(document.get("unit", "")),
        None if choices is None else {int(raw): _text(text) for raw, text in choices.items()},
        multiplexer,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, found {type(value).__name__}")
    return value[:MAX_TEXT]


def _whole(value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{value!r} is not a whole number from {low} to {high}")
    return value


def _finite(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return value
