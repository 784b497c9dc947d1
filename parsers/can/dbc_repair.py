"""A DBC that the strict loader refuses, rewritten line by line to what it can take; every line changed or left out is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

EXTENDED_BIT = 0x8000_0000
MAX_STANDARD_ID = 0x7FF
MAX_EXTENDED_ID = 0x1FFF_FFFF
INDEPENDENT_SIGNALS = "VECTOR__INDEPENDENT_SIG_MSG"
KEPT_ATTRIBUTES = frozenset({"VFrameFormat", "SystemMessageLongSymbol", "SystemSignalLongSymbol"})

_MESSAGE = re.compile(r"^\s*BO_\s+(\d+)\s+([^\s:]+)\s*:\s*(\d+)\s*(\S*)\s*$")
_SIGNAL = re.compile(
    r"^\s*SG_\s+([^\s:]+)\s*(M|m\d+M?)?\s*:\s*(\d+)\s*\|\s*(\d+)\s*@\s*([01])\s*([+-])\s*"
    r"\(\s*([^,)]+?)\s*,\s*([^)]+?)\s*\)\s*\[\s*([^|\]]*?)\s*\|\s*([^\]]*?)\s*\]\s*\"((?:[^\"\\]|\\.)*)\".*$"
)
_STATEMENT = re.compile(r"^\s*(VAL_|SIG_VALTYPE_|SG_MUL_VAL_|BA_DEF_DEF_|BA_DEF_|BA_|CM_|EV_|VAL_TABLE_)\s")
_VALUES = re.compile(r"^\s*VAL_\s+(\d+)\s+(\S+)\s+(.*);\s*$", re.DOTALL)
_VALUE = re.compile(r"(-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*\"((?:[^\"\\]|\\.)*)\"")
_FLOAT_TYPE = re.compile(r"^\s*SIG_VALTYPE_\s+(\d+)\s+(\S+?)\s*:?\s*([0-3])\s*;\s*$")
_MUX_VALUES = re.compile(r"^\s*SG_MUL_VAL_\s+(\d+)\s+(\S+)\s+(\S+)\s+((?:\d+\s*-\s*\d+\s*,?\s*)+);\s*$")
_ATTRIBUTE_DEFINITION = re.compile(r"^\s*(?:BA_DEF_|BA_DEF_DEF_)\s+(?:(?:BO_|SG_)\s+)?\"([^\"]*)\"")
_ATTRIBUTE = re.compile(r"^\s*BA_\s+\"([^\"]*)\"\s+(BO_|SG_)\s+(\d+)\s+(.*);\s*$", re.DOTALL)
_IDENTIFIER = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


@dataclass
class RepairedMessage:
    """One message block as text: `lines` are the `BO_` line and its signals, `statements` what is said about it further down."""

    line: int
    name: str
    lines: list[str]
    signals: set[str] = field(default_factory=set)
    statements: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The block as it stands in a DBC."""
        return "\n".join(self.lines)


@dataclass
class Repaired:
    """What could be kept of a DBC. `names` maps the identifiers that had to be changed back to what the file says."""

    header: list[str] = field(default_factory=list)
    messages: dict[int, RepairedMessage] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The whole database as one DBC."""
        return self._assemble(list(self.messages.values()))

    def text_of(self, message: RepairedMessage) -> str:
        """One message alone as a DBC."""
        return self._assemble([message])

    def _assemble(self, messages: list[RepairedMessage]) -> str:
        parts = ['VERSION ""', "BS_:", "BU_: Vector__XXX", *(message.text() for message in messages), *self.header]
        parts.extend(statement for message in messages for statement in message.statements)
        return "\n\n".join(parts) + "\n"


def repair(text: str) -> Repaired:
    """Keeps every message, signal and value table that is understood. Needs no strict grammar around them."""
    return _Repair(text).run()


class _Repair:
    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.out = Repaired()
        self.ids: dict[int, int] = {}  # the id as written -> the id as it goes out
        self.current: RepairedMessage | None = None

    def run(self) -> Repaired:
        statements = []
        for number, line, statement in self._logical_lines():
            if statement:
                statements.append((number, line))
            elif re.match(r"^\s*BO_\s", line):
                self._message(number, line)
            elif re.match(r"^\s*SG_\s", line):
                self._signal(number, line)
        for number, statement_text in statements:  # after all messages: a statement may stand before its message
            self._statement(number, statement_text)
        return self.out

    def _logical_lines(self) -> Iterator[tuple[int, str, bool]]:
        """(line number, text, whether it is a statement): a statement runs to the semicolon outside quotes."""
        number = 0
        while number < len(self.lines):
            line = self.lines[number]
            first = number + 1
            number += 1
            if not _STATEMENT.match(line):
                yield first, line, False
                continue
            while not _complete(line) and number < len(self.lines) and not _STATEMENT.match(self.lines[number]):
                line += "\n" + self.lines[number]
                number += 1
            yield first, line, True

    def _warn(self, number: int, text: str) -> None:
        self.out.warnings.append(f"line {number}: {text}")

    def _message(self, number: int, line: str) -> None:
        self.current = None
        match = _MESSAGE.match(line)
        if match is None:
            self._warn(number, "message not understood, left out with its signals")
            return
        written, name, length, sender = int(match[1]), match[2], int(match[3]), match[4]
        if name == INDEPENDENT_SIGNALS:
            return
        frame_id = self._frame_id(number, written, name)
        if frame_id is None:
            return
        if frame_id in self.out.messages:
            self._warn(number, f"message {name}: id {written} is used twice, the first one is kept")
            return
        safe = self._identifier(number, name)
        del sender  # who sends it is no part of decoding
        self.current = RepairedMessage(number, name, [f"BO_ {frame_id} {safe}: {length} Vector__XXX"])
        self.ids[written] = frame_id
        self.out.messages[frame_id] = self.current

    def _frame_id(self, number: int, written: int, name: str) -> int | None:
        plain = written & ~EXTENDED_BIT
        if written & EXTENDED_BIT and plain <= MAX_EXTENDED_ID and written <= 0xFFFF_FFFF:
            return written
        if written <= MAX_STANDARD_ID:
            return written
        if written <= MAX_EXTENDED_ID:
            self._warn(number, f"message {name}: id {written:#x} has more than 11 bits, read as a 29-bit id")
            return written | EXTENDED_BIT
        self._warn(number, f"message {name}: id {written:#x} has more than 29 bits, left out")
        return None

    def _signal(self, number: int, line: str) -> None:
        if self.current is None:
            return
        match = _SIGNAL.match(line)
        if match is None or not all(_is_number(match[i]) for i in (7, 8)):
            self._warn(number, "signal not understood, left out")
            return
        name, mux = match[1], match[2] or ""
        safe = self._identifier(number, name)
        if safe in self.current.signals:
            self._warn(number, f"signal {name} stands twice in {self.current.name}, the first one is kept")
            return
        if not 1 <= int(match[4]) <= 64:
            self._warn(number, f"signal {name} has {match[4]} bits, left out")
            return
        low, high = (text if _is_number(text) else "0" for text in (match[9], match[10]))
        self.current.signals.add(safe)
        self.current.lines.append(
            f" SG_ {safe} {mux} : {match[3]}|{match[4]}@{match[5]}{match[6]} ({match[7]},{match[8]}) "
            f'[{low}|{high}] "{match[11]}" Vector__XXX'
        )

    def _identifier(self, number: int, name: str) -> str:
        if _IDENTIFIER.match(name):
            return name
        safe = "_" + re.sub(r"[^A-Za-z0-9_]", "_", name)
        while safe in self.out.names and self.out.names[safe] != name:
            safe += "_"
        if safe not in self.out.names:
            self._warn(number, f"{name} is no DBC identifier, read nevertheless")
            self.out.names[safe] = name
        return safe

    def _safe(self, name: str) -> str:
        return name if _IDENTIFIER.match(name) else "_" + re.sub(r"[^A-Za-z0-9_]", "_", name)

    def _statement(self, number: int, line: str) -> None:
        keyword = line.split(None, 1)[0]
        handler = {
            "VAL_": self._values,
            "SIG_VALTYPE_": self._float_type,
            "SG_MUL_VAL_": self._mux_values,
            "BA_": self._attribute,
            "BA_DEF_": self._definition,
            "BA_DEF_DEF_": self._definition,
        }.get(keyword)
        if handler is not None:
            handler(number, line)

    def _target(self, number: int, what: str, frame_id: str, *signals: str) -> tuple[int, RepairedMessage, list[str]] | None:
        known = self.ids.get(int(frame_id))
        if known is None:
            self._warn(number, f"{what} of unknown message {frame_id}, left out")
            return None
        message = self.out.messages[known]
        names = [self._safe(signal) for signal in signals]
        missing = [signal for signal, name in zip(signals, names, strict=True) if name not in message.signals]
        if missing:
            self._warn(number, f"{what} of signal {missing[0]}, which message {message.name} does not have, left out")
            return None
        return known, message, names

    def _values(self, number: int, line: str) -> None:
        match = _VALUES.match(line)
        if match is None:
            if not re.match(r"^\s*VAL_\s+[A-Za-z_]\w*\s", line):  # the values of an environment variable
                self._warn(number, "value table not understood, left out")
            return
        target = self._target(number, "value table", match[1], match[2])
        if target is None:
            return
        frame_id, message, (signal,) = target
        pairs = [(float(value), text) for value, text in _VALUE.findall(match[3])]
        whole = [f'{int(value)} "{text}"' for value, text in pairs if value.is_integer()]
        if len(whole) < len(pairs):
            self._warn(number, f"value table of {match[2]}: entries with a fraction are left out")
        if whole:
            message.statements.append(f"VAL_ {frame_id} {signal} {' '.join(whole)} ;")

    def _float_type(self, number: int, line: str) -> None:
        match = _FLOAT_TYPE.match(line)
        target = self._target(number, "value type", match[1], match[2]) if match else None
        if match is None:
            self._warn(number, "value type not understood, left out")
        elif target is not None:
            frame_id, message, (signal,) = target
            message.statements.append(f"SIG_VALTYPE_ {frame_id} {signal} : {match[3]};")

    def _mux_values(self, number: int, line: str) -> None:
        match = _MUX_VALUES.match(line)
        target = self._target(number, "multiplexer values", match[1], match[2], match[3]) if match else None
        if match is None:
            self._warn(number, "multiplexer values not understood, left out")
        elif target is not None:
            frame_id, message, (signal, multiplexer) = target
            ranges = ", ".join(f"{low}-{high}" for low, high in re.findall(r"(\d+)\s*-\s*(\d+)", match[4]))
            message.statements.append(f"SG_MUL_VAL_ {frame_id} {signal} {multiplexer} {ranges};")

    def _definition(self, number: int, line: str) -> None:
        match = _ATTRIBUTE_DEFINITION.match(line)
        if match and match[1] in KEPT_ATTRIBUTES and _complete(line):
            self.out.header.append(line.strip())

    def _attribute(self, number: int, line: str) -> None:
        match = _ATTRIBUTE.match(line)
        if match is None or match[1] not in KEPT_ATTRIBUTES:
            return
        rest = match[4].strip()
        signals = rest.split(None, 1)[:1] if match[2] == "SG_" else []
        target = self._target(number, f"attribute {match[1]}", match[3], *signals)
        if target is not None:
            frame_id, message, names = target
            value = rest.split(None, 1)[-1] if names else rest
            message.statements.append(" ".join([f'BA_ "{match[1]}" {match[2]} {frame_id}', *names, f"{value};"]))


def _complete(statement: str) -> bool:
    """Whether the statement's closing semicolon, outside quotes, has been reached."""
    outside = re.sub(r"\"(?:[^\"\\]|\\.)*\"", "", statement)
    return '"' not in outside and ";" in outside


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", text) is not None
