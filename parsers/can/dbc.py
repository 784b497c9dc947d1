"""Reads a DBC with cantools, as tolerantly as it can be done: strict, then not strict, then repaired line by line."""

from __future__ import annotations

import codecs
import logging
from collections.abc import Callable
from typing import Any

from cantools.database.can.formats import dbc as cantools_dbc

from parsers.can.compile import first_line, messages_of
from parsers.can.database import Message
from parsers.can.dbc_repair import Repaired, repair
from parsers.errors import Corrupt

MAX_WARNINGS = 1000
logging.getLogger("cantools").setLevel(logging.ERROR)


def load(data: bytes) -> tuple[list[Message], list[str]]:
    """Messages of a DBC and what a reader of it should know. Raises Corrupt when there is nothing in it."""
    text = decode_text(data)
    warnings: list[str] = []
    original: Callable[[str], str] = str
    try:
        found = list(cantools_dbc.load_string(text, strict=False).messages)
        warnings.extend(_strict_complaints(found))
    except MemoryError:
        raise
    except Exception as error:  # cantools raises whatever its parts raise
        repaired = repair(text)
        if not repaired.messages:
            raise Corrupt(f"no message can be read from this DBC: {first_line(error)}") from error
        warnings.append(f"not a strict DBC: {first_line(error)}")
        warnings.extend(repaired.warnings)
        found = _load_repaired(repaired, warnings)
        names = repaired.names
        original = lambda name: names.get(name, name)  # noqa: E731
    return messages_of(found, warnings, original), warnings[:MAX_WARNINGS]


def decode_text(data: bytes) -> str:
    """UTF-8, or else cp1252, in which most databases are written."""
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _strict_complaints(messages: list[Any]) -> list[str]:
    complaints = []
    for message in messages:
        try:
            message.refresh(strict=True)
        except MemoryError:
            raise
        except Exception as error:  # as above
            complaints.append(first_line(error))
    return complaints


def _load_repaired(repaired: Repaired, warnings: list[str]) -> list[Any]:
    try:
        return list(cantools_dbc.load_string(repaired.text(), strict=False).messages)
    except MemoryError:
        raise
    except Exception:  # one message spoils the whole: take them one by one
        found = []
        for message in repaired.messages.values():
            try:
                found.extend(cantools_dbc.load_string(repaired.text_of(message), strict=False).messages)
            except MemoryError:
                raise
            except Exception as error:
                warnings.append(f"line {message.line}: message {message.name} left out: {first_line(error)}")
        return found
