"""ASAM MDF 4: data groups one after the other, sorted, unsorted or spread over columns, as samples, CAN frames and log messages."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import ClassVar

from parsers.base import MAGIC, Match, Recording
from parsers.blocks import Block
from parsers.errors import ParseError, Unsupported
from parsers.limits import DEFAULT, Limits
from parsers.mdf.frames import Channels
from parsers.mdf.header import read_comments, read_events, read_header, read_id
from parsers.mdf.sorted import SortedReader
from parsers.mdf.state import FILE_HEADS, State
from parsers.mdf.tree import Tree
from parsers.mdf.unsorted import UnsortedReader
from parsers.source import Source

_GENERIC = b"Generic File"


class MdfParser:
    """Reads the channel groups of MDF 4.00 to 4.2 files; bus logging becomes CAN frames, everything else samples."""

    format: ClassVar[str] = "mdf"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[tuple[str, ...]] = (".mf4", ".mdf", ".dat")

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """The signature of MDF, finished or not, or that of the container in which CANedge loggers compress and encrypt it."""
        if head.startswith(FILE_HEADS[0]):
            return Match(MAGIC, "begins with MDF, the signature of ASAM MDF")
        if head.startswith(FILE_HEADS[1]):
            return Match(MAGIC, "begins with UnFinMF, the signature of an unfinished ASAM MDF file")
        if head.startswith(_GENERIC):
            return Match(MAGIC, "begins with Generic File, the container of compressed or encrypted CANedge logs")
        return None

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[Block]:
        """Events first, then one channel group after the other; of an unsorted data group all of its groups at once.

        Times are relative to `recording.start_ns`. Raises Unsupported for versions before 4 and for packed CANedge logs, Corrupt without
        the signature, and the first loss when nothing could be read.
        """
        recording.format = self.format
        yield from _Reading(source, recording, limits).blocks()


class _Reading:
    """One file being read."""

    def __init__(self, source: Source, recording: Recording, limits: Limits) -> None:
        self.state = State(source, recording, limits)
        self.tree = Tree(self.state)
        channels = Channels(self.state)
        self.sorted = SortedReader(self.state, self.tree, channels)
        self.unsorted = UnsortedReader(self.state, self.tree, channels)

    def blocks(self) -> Iterator[Block]:
        state = self.state
        if bytes(state.source.read_at(0, len(_GENERIC))) == _GENERIC:
            raise Unsupported("a compressed or encrypted CANedge log (Generic File): unpack it with the tools of CSS Electronics first", 0)
        read_id(state)
        header = read_header(state)
        read_comments(state, header)
        something = False
        for block in itertools.chain(read_events(state, header), self._data(header.link(0))):
            something = True
            yield block
        if state.first_error is not None and not something and not state.recording.skipped:
            raise state.first_error

    def _data(self, link: int) -> Iterator[Block]:
        groups = self.tree.data_groups(link)
        self.sorted.join(groups)
        for data_group in groups:
            if not data_group.groups:
                continue
            try:
                yield from (self.unsorted if data_group.id_size else self.sorted).blocks(data_group)
            except ParseError as error:
                self.state.lose_block(error)
