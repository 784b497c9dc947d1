"""Text logs of any program: one message a line, its time, level and source taken off the front, JSON lines by their keys.

Hosts, process and thread numbers of syslog, logcat and glog are not kept apart; whoever needs them has the file.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from parsers._core.messages import MessageColumns
from parsers.base import HEADER, HINT, STRUCTURE, Match, Recording
from parsers.blocks import MessageBlock
from parsers.errors import Corrupt, Truncated, Unsupported
from parsers.limits import DEFAULT, Limits
from parsers.source import Source
from parsers.textlog._textlog import STATUS_FULL, STATUS_MORE, Survey, TextScanner, survey

_SAMPLE = 65_536
_PIECES = 8  # looked at when the beginning has no times
_UTF8_MARK = b"\xef\xbb\xbf"
# Kinds of time in _stamp.pxd
_NONE, _ZONED, _ZONELESS, _YEARLESS, _SINCE_BOOT, _CLOCK = range(6)
_LEAP_YEAR = 2000  # stands for the year of times that have none

# Text that is no log, whatever is in it.
_OTHER_TEXT = (
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"{\\rtf", "an RTF document"),
    (b"<?xml", "an XML document"),
    (b"<!DOCTYPE", "a web page"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"VERSION ", "a CAN database (DBC)"),
    (b"***BUSMASTER", "a BUSMASTER log"),
    (b";$FILEVERSION", "a PEAK trace"),
    (b"[{", "a JSON document"),
)
_JSON_DOCUMENT = re.compile(rb"\s*[{\[]\s*\r?\n")
_HEX_TAIL = rb"(?:[ \t]+[0-9A-Fa-f]{2}){1,64}(?:[ \t]|$)"
_CAN_FRAME = re.compile(
    rb"^.{0,40}?\(\s*[\d:. -]{1,32}\)\s+\S{1,64}\s+(?:RX |TX )?[0-9A-Fa-f]{3,8}(?:#|\s+\[\d)"  # candump, with something in front
    rb"|^.{0,60}?\b(?:Rx|Tx|RX|TX)\b.{0,60}?" + _HEX_TAIL +  # ASC, BUSMASTER, PEAK
    rb"|^\s*\d{1,10}\.\d{1,9}\s+\S{1,16}\s+[0-9A-Fa-f]{1,8}x?\s+(?:Rx|Tx)\b"
)  # fmt: skip
_COLOURS = re.compile(rb"\x1b\[[0-?]{0,32}[ -/]{0,4}[@-~]")
_MOST_CONTROLS = 0.02  # of the bytes that are not zero


@dataclass(frozen=True, slots=True)
class Form:
    """How a text is written: its encoding, and how its times are to be read."""

    encoding: str  # utf-8, latin-1, utf-16-le, utf-16-be; empty while all is ASCII
    mode: int = _NONE
    year: int = _LEAP_YEAR


class TextlogParser:
    """Reads logs as text; a line without time has that of the line before."""

    format: ClassVar[str] = "textlog"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[tuple[str, ...]] = (".log", ".txt", ".jsonl", ".ndjson", ".syslog")

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """Structure when half of the lines have times or are JSON objects of a logger, a header for one, a hint for any text."""
        encoding = encoding_of(head)
        if encoding is None:
            return None
        text = _as_utf8(head, encoding)
        if other_text(text) or can_share(text) >= 0.5:
            return None
        found = survey(_whole_lines(text, size <= len(head)))
        known = found.known
        if found.lines == 0:
            return None
        reason = f"{known} of the first {found.lines} lines have a time or are JSON objects of a log"
        if known >= 2 and 2 * known >= found.lines - found.followers:
            return Match(STRUCTURE, reason)
        return Match(HEADER, reason) if known else Match(HINT, "is text, without times that are known")

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[MessageBlock]:
        """Messages in file order. Raises Truncated when the file is empty, Corrupt when it is no text, Unsupported when it is the log of
        a CAN bus in a dialect that is not read, or another kind of text.
        """
        recording.format = self.format
        form = find_form(source)
        recording.absolute = form.mode == _ZONED
        columns = MessageColumns(limits.block_rows, limits.block_bytes, limits.max_line_length, limits.max_sources)
        scanner = TextScanner(columns, form.mode, form.year, limits.max_line_length, form.encoding == "latin-1", not form.encoding)
        for _ in _turns(scanner, source, recording, limits, form.encoding):
            if scanner.status == STATUS_FULL:
                recording.sources[:] = columns.sources()
                yield columns.take()
        scanner.end_of_file(source.size)
        _drain(scanner, recording, source.size)
        recording.sources[:] = columns.sources()
        if columns.count:
            yield columns.take()
        if columns.total == 0:
            raise Corrupt("no line of text in the file", recording.lost[0].offset if recording.lost else 0)
        _finish(scanner, recording, form, source.size)


def _finish(scanner: TextScanner, recording: Recording, form: Form, size: int) -> None:
    """What can be said when the whole file has been read."""
    if form.mode == _YEARLESS:
        recording.add_problem(0, "times have no year: they count from the first one on")
    elif form.mode == _CLOCK:
        recording.add_problem(0, "times have no date: they count from the midnight before the first one on")
    if scanner.zoneless_at >= 0:
        recording.add_problem(scanner.zoneless_at, "times have no zone: taken as UTC")
    if scanner.misfits:
        recording.add_problem(0, f"{scanner.misfits} times count differently from those of the file and are shown as text")
    if scanner.unterminated:
        recording.add_problem(size, "last line has no line end: the file may be cut")
    if scanner.columns.cut_count:
        recording.add_problem(0, f"{scanner.columns.cut_count} texts are longer than allowed and were cut")
    if scanner.columns.replaced:
        recording.add_problem(0, f"{scanner.columns.replaced} pieces of text are no UTF-8 and stand as U+FFFD")
    if scanner.latin1 or form.encoding.startswith("utf-16"):
        recording.add_metadata("encoding", "ISO 8859-1" if scanner.latin1 else form.encoding.upper())


def _turns(scanner: TextScanner, source: Source, recording: Recording, limits: Limits, encoding: str) -> Iterator[None]:
    """Walks through the file, window by window; comes back whenever the scanner stops."""
    wide = encoding.startswith("utf-16")
    decoder = codecs.getincrementaldecoder(encoding if wide else "utf-8")("replace")
    scale = 2 if wide else 1
    at_file = 0  # bytes of the file that have been read
    carry = b""
    begun = not wide
    while True:
        chunk = bytes(source.read_at(at_file, limits.read_size))
        final = at_file + len(chunk) >= source.size or not chunk
        text = decoder.decode(chunk, final).encode() if wide else chunk
        if text and not begun:
            text = text.removeprefix(_UTF8_MARK)
            begun = True
        window = carry + text if carry else text
        base = at_file - len(carry) * scale
        at = len(_UTF8_MARK) if base == 0 and not wide and window.startswith(_UTF8_MARK) else 0
        while True:
            at = scanner.walk(window, at, base, final, scale)
            _drain(scanner, recording, source.size)
            yield
            if scanner.status == STATUS_MORE:
                break
        at_file += len(chunk)
        carry = window[at:]
        if final:
            break
    if at_file < source.size:
        recording.add_lost(at_file, source.size - at_file, "file ended while it was read")


def _drain(scanner: TextScanner, recording: Recording, size: int) -> None:
    for offset, length, reason in scanner.drain_bad():
        offset = max(0, min(offset, size - 1))  # in UTF-16 it is only about right
        recording.add_lost(offset, max(1, min(length, size - offset)), reason)
        recording.add_problem(offset, reason)


def encoding_of(head: bytes) -> str | None:
    """The encoding of a text by its beginning; empty for ASCII, None when it is no text."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        name = "utf-16-le" if head.startswith(codecs.BOM_UTF16_LE) else "utf-16-be"
        return name if _is_text(_as_utf8(head, name)) else None
    for name, zeros in (("utf-16-le", head[1:2000:2]), ("utf-16-be", head[0:2000:2])):
        if len(zeros) >= 8 and zeros.count(0) > 0.7 * len(zeros) and head[:2000].count(0) < 0.6 * len(head[:2000]):
            return name if _is_text(_as_utf8(head, name)) else None
    if not _is_text(head):
        return None
    if head.isascii():
        return ""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        # A few bad bytes in a text that else is UTF-8 are damage; in ISO 8859-1 next to nothing is valid UTF-8.
        text = head.decode("utf-8", "replace")
        good = sum(1 for character in text if character > "\x7f" and character != "\ufffd")
        return "utf-8" if good > text.count("\ufffd") else "latin-1"
    return "utf-8"


def _is_text(head: bytes) -> bool:
    """Whether next to no control characters are in it. Zeros that a lost write left are passed over, as long as there is more text."""
    zeros = head.count(0)
    controls = len(head.translate(None, _NOT_CONTROLS)) - zeros
    return len(head) > 0 and zeros <= len(head) // 2 and controls <= _MOST_CONTROLS * (len(head) - zeros)


_NOT_CONTROLS = bytes(byte for byte in range(256) if byte >= 0x20 or byte in b"\t\n\r\f\b\x1b")


def _as_utf8(head: bytes, encoding: str) -> bytes:
    if encoding.startswith("utf-16"):
        head = head[: len(head) // 2 * 2].decode(encoding, "replace").encode()
    return head.removeprefix(_UTF8_MARK)


def _whole_lines(text: bytes, complete: bool) -> bytes:
    """Without colours, and without the last line when it may go on."""
    text = _COLOURS.sub(b"", text)
    if complete:
        return text
    return text[: text.rfind(b"\n") + 1] or text


def other_text(text: bytes) -> str:
    """What kind of text this is when it is certainly no log, else nothing."""
    for signature, name in _OTHER_TEXT:
        if text.startswith(signature):
            return name
    return "a JSON document" if _JSON_DOCUMENT.match(text) else ""


def can_share(text: bytes) -> float:
    """The share of lines that look like frames of a CAN bus."""
    lines = [line[:300] for line in text[:16_384].splitlines()[:200] if line.strip() and line[:1] not in b"*;#"]
    return sum(1 for line in lines if _CAN_FRAME.match(line)) / len(lines) if lines else 0.0


def find_form(source: Source) -> Form:
    """Encoding and kind of time, by the beginning; when that has no times, by pieces from all over the file."""
    head = bytes(source.read_at(0, _SAMPLE))
    if not head:
        raise Truncated("the file is empty", 0)
    encoding = encoding_of(head)
    if encoding is None:
        raise Corrupt("this is no text", next((at for at, byte in enumerate(head) if byte < 9), 0))
    text = _as_utf8(head, encoding)
    other = other_text(text)
    if other:
        raise Unsupported(f"this is {other}, not a log", 0)
    if can_share(text) >= 0.5:
        raise Unsupported("the lines look like frames of a CAN bus in a form that is not read", 0)
    found = survey(_whole_lines(text, source.size <= len(head)))
    if not sum(found.kinds[_ZONED:]) and source.size > len(head):
        for piece in range(1, _PIECES + 1):
            offset = (source.size - _SAMPLE) * piece // _PIECES // 2 * 2
            found = survey(_as_utf8(bytes(source.read_at(max(offset, 0), _SAMPLE)), encoding))
            if sum(found.kinds[_ZONED:]):
                break
    return _with_times(source, found, encoding)


def _with_times(source: Source, found: Survey, encoding: str) -> Form:
    """The kind that most lines have; dates without year are completed by a date with one, here or at the end of the file."""
    kinds = found.kinds
    dated = kinds[_ZONED] + kinds[_ZONELESS]
    mode = max(
        (_ZONED, dated), (_YEARLESS, kinds[_YEARLESS]), (_SINCE_BOOT, kinds[_SINCE_BOOT]), (_CLOCK, kinds[_CLOCK]), key=lambda e: e[1]
    )
    if mode[1] == 0:
        return Form(encoding)
    if mode[0] != _YEARLESS:
        return Form(encoding, mode[0], found.year or _LEAP_YEAR)
    year, month = found.year, found.year_month
    if not year:
        end = survey(_as_utf8(bytes(source.read_at(max(0, source.size - _SAMPLE) // 2 * 2, _SAMPLE)), encoding))
        year, month = end.year, end.year_month
    if not year:
        return Form(encoding, _YEARLESS)
    return Form(encoding, _ZONED, year - (found.first_month > month))
