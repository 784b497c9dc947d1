"""Blocks of an MDF 4 file: every link and length is checked before anything is read by it."""

from __future__ import annotations

import re
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from xml.parsers import expat

from parsers.errors import Corrupt, LimitExceeded, ParseError, Truncated
from parsers.limits import KIB, MIB, Limits
from parsers.source import Source

HEADER = struct.Struct("<4s4xQQ")  # ##XX, 4 reserved, u64 length with this header, u64 number of links; then the links (u64) and the data
DATA_IDS = frozenset({b"##DT", b"##SD", b"##RD", b"##DV", b"##DI", b"##RV", b"##RI", b"##DZ"})
"""Blocks that hold records or parts of them; their content is never loaded with the block."""

_MOST_METADATA = 4 * MIB  # of one block that is looked at as a whole
_MOST_READINGS = 8  # of each byte of the file, by blocks that are looked at; on top of _READINGS_FREE
_READINGS_FREE = 64 * MIB
_FIRST_BYTES = {b"##AT": 40}  # an attachment is listed, not read
_MOST_TEXT = 256 * KIB
_KEPT_TEXTS = 4096
_PAGE = 64 * KIB
_PAGES = 32


@dataclass(frozen=True, slots=True)
class Block:
    """One block. `data` is what follows the links, `data_offset` where that lies in the file.

    Of a DATA_IDS block `data` is empty, of an attachment its fields only; `data_length` is what the block declares, and of these blocks it
    may reach beyond the end of the file.
    """

    id: bytes
    offset: int
    links: tuple[int, ...]
    data: bytes
    data_offset: int
    data_length: int

    def link(self, index: int) -> int:
        """The link of that number; 0 when the block has fewer."""
        return self.links[index] if index < len(self.links) else 0

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """The fields at the beginning of the data. Raises Corrupt when the block is too short for them."""
        if len(self.data) < layout.size:
            raise Corrupt(f"{self.id[2:].decode()} block has {len(self.data)} bytes of data, {layout.size} are needed", self.data_offset)
        return layout.unpack_from(self.data)


class BlockFile:
    """Random access to the blocks of one file.

    `report(offset, reason)` is told of texts that cannot be read; everything else raises ParseError.
    """

    def __init__(self, source: Source, limits: Limits, report: Callable[[int, str], None] | None = None) -> None:
        self.source = source
        self.limits = limits
        self.size = source.size
        self._report = report
        self._budget = _MOST_READINGS * self.size + _READINGS_FREE
        self._pages: OrderedDict[int, bytes] = OrderedDict()
        self._texts: dict[tuple[int, bool], str] = {}

    def complain(self, offset: int, reason: str) -> None:
        """Reports what is wrong with a block but does not stop the reading."""
        if self._report is not None:
            self._report(offset, reason)

    def block(self, offset: int, *expected: bytes) -> Block:
        """The block at `offset`, which must be one of the `expected` ids (any when none is named).

        Raises Corrupt (no block there, another id, impossible lengths), Truncated (it ends behind the file) or LimitExceeded.
        """
        name, length, count = self.header(offset)
        if expected and name not in expected:
            wanted = " or ".join(known[2:].decode() for known in expected)
            raise Corrupt(f"link leads to a {_shown(name)} block where {wanted} must stand", offset)
        begin = HEADER.size + 8 * count
        if length < begin:
            raise Corrupt(f"{_shown(name)} block of {length} bytes cannot hold {count} links", offset + 8)
        whole = begin if name in DATA_IDS else min(length, begin + _FIRST_BYTES.get(name, length))
        if whole > _MOST_METADATA:
            raise LimitExceeded(f"{_shown(name)} block of {length} bytes, {_MOST_METADATA} are allowed", offset + 8)
        if offset + whole > self.size:
            raise Truncated(f"{_shown(name)} block of {length} bytes ends behind the file", offset)
        self._budget -= whole
        if self._budget < 0:
            raise LimitExceeded("blocks overlap or are linked to again and again: more is read than the file holds", offset)
        content = self.read(offset + HEADER.size, whole - HEADER.size)
        links = struct.unpack_from(f"<{count}Q", content)
        return Block(name, offset, links, content[8 * count :], offset + begin, length - begin)

    def header(self, offset: int) -> tuple[bytes, int, int]:
        """Id, length and number of links of the block at `offset`, as they stand there. Raises Corrupt or Truncated."""
        if offset <= 0:
            raise Corrupt("link leads nowhere", 0)
        if offset >= self.size:
            raise Truncated(f"link leads to byte {offset}, the file ends at {self.size}", self.size)
        data = self.read(offset, HEADER.size)
        if len(data) < HEADER.size:
            raise Truncated(f"block header needs {HEADER.size} bytes, {len(data)} are there", offset)
        name, length, count = HEADER.unpack(data)
        if not name.startswith(b"##"):
            raise Corrupt(f"link leads to no block but to {data[:4].hex(' ')}", offset)
        return name, length, count

    def text(self, link: int) -> str:
        """The text of a TX block, or that of an MD block without its markup; empty for link 0 and for what cannot be read."""
        return self._text(link, plain=True)

    def markup(self, link: int) -> str:
        """As `text`, but an MD block comes with its XML as it is."""
        return self._text(link, plain=False)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file, fewer only where it ends; neighbouring small reads cost one read of the source."""
        if length > _PAGE:
            return bytes(self.source.read_at(offset, length))
        number, start = divmod(offset, _PAGE)
        data = self._page(number)[start : start + length]
        if start + length > _PAGE:
            data += self._page(number + 1)[: start + length - _PAGE]
        return data

    def _page(self, number: int) -> bytes:
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = bytes(self.source.read_at(number * _PAGE, _PAGE)) if number * _PAGE < self.size else b""
            if len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
        else:
            self._pages.move_to_end(number)
        return page

    def _text(self, link: int, plain: bool) -> str:
        if link == 0:
            return ""
        known = self._texts.get((link, plain))
        if known is None:
            try:
                known = self._read_text(link, plain)
            except ParseError as error:
                if self._report is not None:
                    self._report(error.offset or 0, error.reason)
                known = ""
            if len(self._texts) < _KEPT_TEXTS:
                self._texts[link, plain] = known
        return known

    def _read_text(self, link: int, plain: bool) -> str:
        block = self.block(link, b"##TX", b"##MD")
        # Ends with a zero byte (MDF 4.1, TX and MD blocks).
        text = block.data[:_MOST_TEXT].split(b"\0", 1)[0].decode("utf-8", "replace")
        return plain_text(text) if plain and block.id == b"##MD" else text.strip()


def plain_text(markup: str) -> str:
    """The text of the first TX element of an MD comment; without markup altogether when it is no XML. No entity is ever expanded."""
    found = elements(markup)
    if found is None:
        return " ".join(re.sub(r"<[^<>]*>", " ", markup).split())
    return next((text for name, _, text in found if name == "TX"), "").strip()


def elements(markup: str) -> list[tuple[str, dict[str, str], str]] | None:
    """Name, attributes and own text of every element, in order of their ends; None when it is not XML or declares a document type."""
    found: list[tuple[str, dict[str, str], str]] = []
    opened: list[tuple[str, dict[str, str], list[str]]] = []

    def begin(name: str, attributes: dict[str, str]) -> None:
        opened.append((name.rsplit(":", 1)[-1], attributes, []))

    def text(part: str) -> None:
        if opened:
            opened[-1][2].append(part)

    def end(_name: str) -> None:
        name, attributes, parts = opened.pop()
        found.append((name, attributes, "".join(parts).strip()))

    def doctype(*_rest: object) -> None:
        raise _DocumentType

    parser = expat.ParserCreate()
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(markup.encode("utf-8", "replace"), True)
    except (expat.ExpatError, _DocumentType):
        return None
    return found


class _DocumentType(Exception):
    """A document type could define entities without end."""


def _shown(name: bytes) -> str:
    return name[2:].decode("ascii", "replace") if name[2:].isalnum() else name.hex(" ")
