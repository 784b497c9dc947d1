"""What the columns of a table hold, by their sampled cells: numbers, truth values, texts, or the parts of log messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from parsers.blocks import LEVELS
from parsers.table._cells import number_kind
from parsers.table.timing import Cells

_SHARE = 0.95  # of the cells that must be numbers; the others are then misfits
_LEVEL_NAMES = ("level", "severity", "loglevel", "lvl", "levelname", "severitytext", "verbosity")
_MESSAGE_NAMES = ("message", "msg", "text", "logmessage", "body", "description")
_SOURCE_NAMES = ("source", "module", "logger", "component", "node", "process", "app", "tag", "ecu", "service", "thread", "name")
_LEVELS = {
    "trace": "trace", "verbose": "trace", "finest": "trace",
    "debug": "debug", "fine": "debug", "dbg": "debug",
    "info": "info", "information": "info", "informational": "info", "notice": "info",
    "warn": "warning", "warning": "warning",
    "error": "error", "err": "error", "severe": "error", "fail": "error", "failure": "error",
    "fatal": "fatal", "critical": "fatal", "crit": "fatal", "alert": "fatal", "emergency": "fatal", "emerg": "fatal", "panic": "fatal",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MessageColumns:
    """Which columns are log messages; `source` is -1 when none says where they come from."""

    message: int
    level: int
    source: int

    @property
    def columns(self) -> set[int]:
        """The columns that they take."""
        return {self.message, self.level, self.source} - {-1}


def storage_of(cells: Cells, point: int) -> str:
    """`int64`, `float64`, `bool` or `text`. A column without values is a float64 one, for it may have numbers further on."""
    kinds = [number_kind(cell, point) for cell in cells]
    there = [(cell, kind, fits) for cell, (kind, fits) in zip(cells, kinds, strict=True) if kind != 0]
    if not there:
        return "float64"
    words = [cell.lower() for cell, _, _ in there]
    truths = sum(1 for word in words if word in (b"true", b"false"))
    if truths and truths + words.count(b"0") + words.count(b"1") >= _SHARE * len(words):
        return "bool"
    numbers = [(kind, fits) for _, kind, fits in there if kind in (1, 2)]
    if len(numbers) < _SHARE * len(there):
        return "text"
    return "int64" if all(kind == 1 and fits for kind, fits in numbers) else "float64"


def find_messages(names: Sequence[str], storages: Sequence[str], taken: set[int]) -> MessageColumns | None:
    """The columns of log messages, when there is one of texts and one of levels."""

    def find(wanted: tuple[str, ...], storage: str | None) -> int:
        for name in wanted:
            for index, title in enumerate(names):
                fits = storage is None or storages[index] == storage
                if index not in taken and fits and re.sub(r"[^a-z]", "", title.lower()) == name:
                    return index
        return -1

    message, level = find(_MESSAGE_NAMES, "text"), find(_LEVEL_NAMES, "text")
    return None if message < 0 or level < 0 else MessageColumns(message, level, find(_SOURCE_NAMES, "text"))


def level_of(text: str) -> int:
    """The number in LEVELS of a level's name; 0 when it is none."""
    return LEVELS.index(_LEVELS.get(text.strip().strip("[]").lower(), ""))
