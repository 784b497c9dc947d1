"""Which format a file is, by its content; the suffix only decides between readers that are equally sure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from parsers.base import HINT, Match
from parsers.errors import Empty, UnknownFormat
from parsers.registry import parsers
from parsers.source import Source

HEAD = 65_536  # bytes looked at

# What people upload by mistake, so that the refusal names it.
_SIGNATURES = (
    (0, b"%PDF-", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ\x00", "an xz file"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file"),
    (0, b"\x04\x22\x4d\x18", "an lz4 file"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"#ROSRECORD", "a ROS bag of a version before 2.0"),
    (0, b"DLT\x01", "a DLT log"),
    (0, b"DLT\x02", "a DLT version 2 log"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a Windows program"),
    (0, b"SQLite format 3\x00", "an SQLite database"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"\xff\xfe", "UTF-16 text"),
    (0, b"\xfe\xff", "UTF-16 text"),
    (0, b"VERSION ", "a CAN database (DBC)"),
    (0, b"<?xml", "an XML document"),
    (0, b"<!DOCTYPE html", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"{", "a JSON document"),
)


@dataclass(frozen=True, slots=True)
class Detection:
    """The format's name in `registry.parsers()`, and why it was chosen."""

    format: str
    reason: str


def detect(source: Source, name: str = "") -> Detection:
    """The format of the file. `name` is what its sender called it (the source's own name when empty).

    Raises Empty, or UnknownFormat with what the first bytes look like.
    """
    if source.size == 0:
        raise Empty("the file is empty", 0)
    head = bytes(source.read_at(0, HEAD))
    suffix = PurePath((name or source.name).lower()).suffix
    found: list[tuple[int, bool, str, Match]] = []
    for format_name, parser in parsers().items():
        match = parser.sniff(head, source.size)
        if match is not None:
            found.append((match.confidence, suffix in parser.suffixes, format_name, match))
    # max keeps the first of equals, so the order of the registry decides the last tie.
    best = max(found, key=lambda entry: entry[:2], default=None)
    if best is None or (best[0] <= HINT and not best[1]):
        raise UnknownFormat(f"not a log that Argus reads: first bytes look like {_looks_like(head)}", 0)
    confidence, suffix_fits, format_name, match = best
    reason = match.reason
    tied = [other for other in found if other[0] == confidence]
    if len(tied) > 1 and suffix_fits:
        reason += f"; the suffix {suffix} decided against {', '.join(other[2] for other in tied if other[2] != format_name)}"
    elif suffix and not suffix_fits and any(suffix in parser.suffixes for parser in parsers().values()):
        reason += f"; the suffix {suffix} says otherwise"
    return Detection(format_name, reason)


def _looks_like(head: bytes) -> str:
    for offset, signature, name in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return name
    sample = head[:4096]
    if not sample.strip(b"\0"):
        return "zeros"
    text = sum(1 for byte in sample if byte >= 0x20 or byte in b"\t\r\n")
    if b"\0" in sample or text < 0.95 * len(sample):
        return f"binary data ({sample[:8].hex(' ')})"
    first = sample.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].strip()[:40]
    return f"text beginning {first.decode('utf-8', 'replace')!r}"
