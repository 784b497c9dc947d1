"""Every format that Argus reads, by name: the built-in ones, and those that installed packages add as entry points."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from parsers.apollo.record import ApolloParser
from parsers.base import Parser
from parsers.can.asc import AscParser
from parsers.can.blf import BlfParser
from parsers.can.busmaster import BusmasterParser
from parsers.can.candump import CandumpParser
from parsers.dlt.dlt import DltParser
from parsers.errors import Unsupported
from parsers.mcap.reader import McapParser
from parsers.mdf.reader import MdfParser
from parsers.procstat.reader import ProcstatParser
from parsers.rosbag.bag import RosbagParser
from parsers.table.reader import CsvParser
from parsers.textlog.textlog import TextlogParser
from parsers.ulog.reader import UlogParser

ENTRY_POINTS = "argus.parsers"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")

BUILT_IN: dict[str, type[Parser]] = {
    "blf": BlfParser,
    "asc": AscParser,
    "candump": CandumpParser,
    "busmaster": BusmasterParser,
    "mdf": MdfParser,
    "mcap": McapParser,
    "rosbag": RosbagParser,
    "apollo": ApolloParser,
    "ulog": UlogParser,
    "procstat": ProcstatParser,
    "csv": CsvParser,
    "dlt": DltParser,
    "textlog": TextlogParser,
}


class BadPlugIn(Exception):
    """A package offers a parser that cannot be used; the message names the package and says what is wrong."""


@cache
def parsers() -> dict[str, type[Parser]]:
    """All formats: the built-in ones first. Raises BadPlugIn rather than leaving out what an operator has installed."""
    found = dict(BUILT_IN)
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        parser = _load(entry)
        if parser.format in found:
            raise BadPlugIn(f"{_origin(entry)}: there is already a parser for the format {parser.format!r}")
        found[parser.format] = parser
    return found


def parser_for(name: str) -> Parser:
    """A fresh reader of the named format. Raises Unsupported when there is none."""
    try:
        return parsers()[name]()
    except KeyError:
        raise Unsupported(f"no reader for format {name!r}") from None


def _load(entry: EntryPoint) -> type[Parser]:
    try:
        parser = entry.load()
    except Exception as error:
        raise BadPlugIn(f"{_origin(entry)}: {type(error).__name__}: {error}") from error
    for attribute, kind in (("format", str), ("version", str), ("suffixes", tuple)):
        if not isinstance(getattr(parser, attribute, None), kind):
            raise BadPlugIn(f"{_origin(entry)}: {attribute} is not a {kind.__name__}")
    if not NAME.fullmatch(parser.format) or parser.format != entry.name:
        raise BadPlugIn(f"{_origin(entry)}: the format {parser.format!r} must be the entry point's name, in small letters")
    for method in ("sniff", "blocks"):
        if not callable(getattr(parser, method, None)):
            raise BadPlugIn(f"{_origin(entry)}: no method {method}")
    checked: type[Parser] = parser
    return checked


def _origin(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist is not None else "an unknown package"
    return f"parser {entry.name!r} of {package}"
