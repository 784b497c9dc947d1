"""Every format that Argus reads, by name; to add one, write its module and name its class here."""

from __future__ import annotations

from parsers.base import Parser
from parsers.can.asc import AscParser
from parsers.can.blf import BlfParser
from parsers.can.candump import CandumpParser
from parsers.errors import Unsupported

PARSERS: dict[str, type[Parser]] = {
    "blf": BlfParser,
    "asc": AscParser,
    "candump": CandumpParser,
}


def parser_for(name: str) -> Parser:
    """A fresh reader of the named format. Raises Unsupported when there is none."""
    try:
        return PARSERS[name]()
    except KeyError:
        raise Unsupported(f"no reader for format {name!r}") from None
