"""AUTOSAR DLT, versions 1 and 2, stored or as it comes from the wire: every message as text with its time, level and source.

Non-verbose messages carry a number instead of their text; the description of the ECU's software (FIBEX or ARXML) that names it is not
read, so they are shown as `[number] bytes`.
"""

from __future__ import annotations

import hashlib
import mimetypes
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from parsers._core.messages import MessageColumns
from parsers.base import HEADER, MAGIC, STRUCTURE, Match, Recording
from parsers.blocks import MessageBlock
from parsers.dlt._dlt import STATUS_FULL, STATUS_MORE, DltScanner, MessageHead, chain, plausible_layouts
from parsers.errors import Corrupt
from parsers.limits import DEFAULT, Limits
from parsers.source import Source

MAGICS = (b"DLT\x01", b"DLT\x02")
SERIAL = b"DLS\x01"
_SAMPLE = 65_536
_FILE_START, _SOFTWARE_VERSION, _TIME_ZONE = 1, 4, 5  # kinds in _text.pxd
_STRING, _UNSIGNED, _NAMED = 0x200, 0x40, 0x800  # bits of the type info


@dataclass(frozen=True, slots=True)
class Form:
    """How the messages of one file are written, found out from its first ones."""

    stored: bool
    absolute: bool
    layout: int
    big: bool


class DltParser:
    """Reads DLT files; the source of a message is `ECU/application/context`, its time that of the storage header."""

    format: ClassVar[str] = "dlt"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[tuple[str, ...]] = (".dlt",)

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """The magic; without it, messages that follow each other from the first byte or from the first magic on."""
        if head.startswith(MAGICS):
            return Match(MAGIC, f"begins with the storage header of DLT, version {head[3]}")
        count, reached = max(_chains(head))
        if reached and count >= 3:
            return Match(STRUCTURE, f"begins with {count} DLT messages without storage header")
        if reached and count and size <= len(head):
            return Match(HEADER, f"holds {count} DLT messages without storage header")
        found = min((at for magic in MAGICS if (at := head.find(magic)) >= 0), default=-1)
        if found > 0 and (count := chain(head[found:], True)[0]) >= 2:
            return Match(STRUCTURE, f"{count} DLT messages with storage header follow each other from byte {found} on")
        return None

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[MessageBlock]:
        """Messages in file order. Raises Corrupt, at the first byte that is none, when the file has no message at all."""
        recording.format = self.format
        form = find_form(source, limits)
        recording.absolute = form.absolute
        columns = MessageColumns(limits.block_rows, limits.block_bytes, limits.max_line_length, limits.max_sources)
        scanner = DltScanner(columns, form.stored, form.absolute, form.layout, form.big)
        for _ in _turns(scanner, source, recording, limits):
            if scanner.status == STATUS_FULL:
                recording.sources[:] = columns.sources()
                yield columns.take()
        recording.sources[:] = columns.sources()
        if columns.count:
            yield columns.take()
        if scanner.found == 0:
            raise Corrupt("no DLT message in the file", recording.lost[0].offset if recording.lost else 0)
        _finish(scanner, recording)


def _turns(scanner: DltScanner, source: Source, recording: Recording, limits: Limits) -> Iterator[None]:
    """Walks through the file, window by window; comes back whenever the scanner stops."""
    base = 0  # file offset of the window
    carry = b""
    while True:
        chunk = source.read_at(base + len(carry), limits.read_size)
        window = b"".join((carry, chunk)) if carry else bytes(chunk)
        final = base + len(window) >= source.size or not len(chunk)
        at = 0
        while True:
            at = scanner.walk(window, at, base, final)
            _drain(scanner, recording)
            yield
            if scanner.status == STATUS_MORE:
                break
        base += at
        carry = window[at:]
        if final:
            break
    if base < source.size:
        recording.add_lost(base, source.size - base, "file ended while it was read")


def _drain(scanner: DltScanner, recording: Recording) -> None:
    for offset, length, reason in scanner.drain_bad():
        recording.add_lost(offset, length, reason)
        recording.add_problem(offset, reason)
    for offset, count, reason in scanner.drain_remarks():
        recording.add_problem(offset, reason, count)


def _finish(scanner: DltScanner, recording: Recording) -> None:
    """What can be said when the whole file has been read."""
    if scanner.file_data:
        recording.add_skipped("file transfer data", scanner.file_data)
    if scanner.network_segments:
        recording.add_skipped("network trace segment", scanner.network_segments)
    if scanner.untimed:
        recording.add_problem(0, f"{scanner.untimed} messages have no time")
    if scanner.columns.cut_count:
        recording.add_problem(0, f"{scanner.columns.cut_count} texts are longer than allowed and were cut")
    if scanner.columns.replaced:
        recording.add_problem(0, f"{scanner.columns.replaced} pieces of text are no UTF-8 and stand as U+FFFD")
    for kind, ecu, payload, big in scanner.notes:
        name = ecu.decode("utf-8", "replace")
        if kind == _FILE_START:
            _add_file(recording, payload, big)
        elif kind == _SOFTWARE_VERSION:
            _add_software_version(recording, name, payload, big)
        elif kind == _TIME_ZONE and len(payload) >= 10:
            (seconds,) = struct.unpack_from(">i" if big else "<i", payload, 5)
            recording.add_metadata(f"time zone {name}".strip(), f"{seconds} s from UTC" + (", summer time" if payload[9] else ""))


def _add_file(recording: Recording, payload: bytes, big: bool) -> None:
    """Lists the file that a transfer begins with: FLST, serial number, name, size, date, packets, buffer size, FLST."""
    arguments = list(_arguments(payload, big))
    name, size = (arguments + [None] * 4)[2:4]
    if isinstance(name, bytes):
        text = name.rstrip(b"\0").decode("utf-8", "replace")
        media_type = mimetypes.guess_type(text)[0] or "application/octet-stream"
        recording.add_attachment(text, media_type, size if isinstance(size, int) else None)


def _arguments(payload: bytes, big: bool) -> Iterator[bytes | int]:
    """The texts and unsigned numbers a payload begins with; ends at the first argument of another kind."""
    order: Literal["big", "little"] = "big" if big else "little"
    at = 0
    while at + 6 <= len(payload):
        info = int.from_bytes(payload[at : at + 4], order)
        at += 4
        if info & _STRING and not info & _NAMED:
            length = int.from_bytes(payload[at : at + 2], order)
            yield payload[at + 2 : at + 2 + length]
            at += 2 + length
        elif info & _UNSIGNED and not info & _NAMED and 1 <= info & 15 <= 4:
            length = 1 << ((info & 15) - 1)
            yield int.from_bytes(payload[at : at + length], order)
            at += length
        else:
            return


def _add_software_version(recording: Recording, ecu: str, payload: bytes, big: bool) -> None:
    """An answer to GetSoftwareVersion: u32 service, u8 status, u32 length, text."""
    if len(payload) >= 9:
        (length,) = struct.unpack_from(">I" if big else "<I", payload, 5)
        text = payload[9 : 9 + length].rstrip(b"\0").decode("utf-8", "replace")
        if text:
            recording.add_metadata(f"software version {ecu}".strip(), text)


def dlt_heads(source: Source, limits: Limits = DEFAULT, form: Form | None = None) -> Iterator[MessageHead]:
    """The headers and payloads of all messages in file order, also of those that are not shown; an object for each."""
    form = form or find_form(source, limits)
    heads: list[MessageHead] = []
    scanner = DltScanner(MessageColumns(1, 1, 1, 1), form.stored, form.absolute, form.layout, form.big, heads)
    for _ in _turns(scanner, source, Recording(), limits):
        yield from heads
        heads.clear()


def dlt_rows(source: Source, limits: Limits = DEFAULT) -> Iterator[str]:
    """One line for each message: `storage_time_us,storage_ecu,mcnt,ecu,apid,ctid,msin,noar,sha256 of the payload`.

    Absent fields are empty, msin is two hex digits. For comparing readers message by message.
    """
    for head in dlt_heads(source, limits):
        names = [(name or b"").decode("ascii", "backslashreplace") for name in (head.storage_ecu, head.ecu, head.apid, head.ctid)]
        time = "" if head.storage_ns is None else str(head.storage_ns // 1000)
        info = ("", "") if head.msin is None else (f"{head.msin:02x}", str(head.noar))
        digest = hashlib.sha256(head.payload).hexdigest()
        yield ",".join((time, names[0], str(head.mcnt), *names[1:], *info, digest)) + "\n"


def find_form(source: Source, limits: Limits = DEFAULT) -> Form:
    """Whether there are storage headers, whether times are UTC, and how version 2 writes them: as the first messages tell."""
    head = bytes(source.read_at(0, _SAMPLE))
    raw = not head.startswith(MAGICS) and any(count >= 3 or (count >= 1 and reached) for count, reached in _chains(head))
    start = max(0, head.find(MAGICS[1])) if not raw else 0
    big = chain(head[start:], not raw, True) >= chain(head[start:], not raw, False)
    first: list[MessageHead] = []
    small = replace(limits, read_size=min(limits.read_size, _SAMPLE))
    for message in dlt_heads(source, small, Form(not raw, True, 0, big)):
        first.append(message)
        if len(first) >= 1000 or message.offset > first[0].offset + _SAMPLE:
            break
    counts = plausible_layouts([message.storage_stamp for message in first if message.storage_stamp is not None])
    timed = any(message.storage_ns or (message.storage_stamp and any(message.storage_stamp)) for message in first)
    return Form(not raw, timed, counts.index(max(counts)), big)


def _chains(head: bytes) -> list[tuple[int, bool]]:
    """Messages without storage header from the first byte on, in either order of bytes of version 2."""
    return [chain(head, False, big) for big in (True, False)]
