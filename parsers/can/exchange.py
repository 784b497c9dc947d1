"""Signal databases of all formats that cantools reads: DBC, ARXML, KCD and SYM, told apart by their content."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import Any

from cantools.database.can.formats import arxml, kcd, sym

from parsers.can import dbc
from parsers.can.compile import first_line, messages_of
from parsers.can.database import Message
from parsers.errors import Corrupt, Unsupported

_AUTOSAR = re.compile(r"<(?:\w+:)?AUTOSAR[\s>]")
_KCD = re.compile(r"<(?:\w+:)?NetworkDefinition[\s>]")
_ROOT = re.compile(r"<([A-Za-z_][\w:.-]{0,80})")
_SYM = re.compile(r"\s*(?://[^\n]*\n\s*)*FormatVersion\s*=")
_HEAD = 4096

FORMATS: dict[str, Callable[[str], Any]] = {
    "arxml": lambda text: arxml.load_string(text, strict=False),
    "kcd": lambda text: kcd.load_string(text, strict=False),
    "sym": lambda text: sym.load_string(text, strict=False),
}


def load(data: bytes) -> tuple[str, list[Message], list[str]]:
    """Format (dbc, arxml, kcd, sym), messages, and what a reader of them should know.

    Raises Corrupt when there is nothing in it, Unsupported for XML of another kind, LimitExceeded.
    """
    kind = kind_of(data)
    if kind == "dbc":
        return kind, *dbc.load(data)
    warnings: list[str] = []
    try:
        database = FORMATS[kind](_text(data, kind))
    except MemoryError:
        raise
    except Exception as error:  # cantools raises whatever its parts raise
        raise Corrupt(f"not a readable {kind.upper()} file: {first_line(error)}") from error
    containers = [message for message in database.messages if message.is_container]
    warnings.extend(f"message {message.name}: a container, whose inner messages are not decoded" for message in containers)
    messages = messages_of(list(database.messages), warnings)
    buses = sorted({str(message.bus_name) for message in database.messages if message.bus_name})
    if len(buses) > 1:
        warnings.append(f"describes {len(buses)} buses ({', '.join(buses)[:500]}): messages of one id on two of them cannot be told apart")
    return kind, messages, warnings[: dbc.MAX_WARNINGS]


def kind_of(data: bytes) -> str:
    """dbc, arxml, kcd or sym; what is nothing else is taken for a DBC. Raises Unsupported for XML of another kind."""
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    head = data[:_HEAD].decode("utf-16", "replace") if utf16 else dbc.decode_text(data[:_HEAD])
    if head.lstrip().startswith("<"):
        text = _text(data, "xml")
        if _AUTOSAR.search(text, 0, 100_000):
            return "arxml"
        if _KCD.search(text, 0, 100_000):
            return "kcd"
        root = _ROOT.search(text)
        raise Unsupported(f"an XML file that is neither ARXML nor KCD: it begins with <{root[1] if root else '?'}>", 0)
    return "sym" if _SYM.match(head) else "dbc"


def _text(data: bytes, kind: str) -> str:
    """The text of the file. Raises Unsupported for XML that declares entities: no database needs them, and they can grow without end."""
    if kind == "sym":
        return dbc.decode_text(data)
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeError:
        text = data.decode("cp1252", errors="replace")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Unsupported("XML with a document type declaration", 0)
    # What has been decoded no longer has the encoding that it declares.
    return re.sub(r"^\s*<\?xml[^>]*\?>", "", text, count=1)
