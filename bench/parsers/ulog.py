"""ULog: a flight of about 60 MB into columns, beside pyulog."""

from __future__ import annotations

import struct
import sys
import time
from pathlib import Path

from bench.parsers.case import Case, Measurement

REPEATS = 15
PASS_US = 70_000_000  # what one pass is later than the one before


def prepare(folder: Path) -> dict[str, str]:
    """A real flight of 69 s whose data messages are written 15 times, each time later; pyulog has no writer."""
    log = folder / f"bench_{REPEATS}.ulg"
    if not log.exists():
        from tests.parsers.blocks import CORPUS

        flight = CORPUS / "ulg" / "pyulog__sample.ulg"
        if not flight.is_file():
            sys.exit(f"no flight to repeat at {flight}; set ARGUS_CORPUS to the folder of real logs")
        part = log.with_suffix(".part")
        part.write_bytes(repeated(flight.read_bytes()))
        part.rename(log)
    return {"log": str(log)}


def repeated(flight: bytes) -> bytes:
    """Everything but the data messages once, then these as often as wanted; their first field is the time."""
    others, rows = bytearray(flight[:16]), []
    at = 16
    while at + 3 <= len(flight):
        size, kind = struct.unpack_from("<HB", flight, at)
        message = flight[at : at + 3 + size]
        if kind == ord("D"):
            rows.append((message[:5], struct.unpack_from("<Q", message, 5)[0], message[13:]))
        else:
            others += message
        at += 3 + size
    out = [bytes(others)]
    for number in range(REPEATS):
        out += [head + struct.pack("<Q", time_us + number * PASS_US) + fields for head, time_us, fields in rows]
    return b"".join(out)


def read(log: str) -> Measurement:
    """Every topic into one array per field, block by block; the peer holds all at once, ours need not."""
    from parsers.base import Recording
    from parsers.blocks import SampleBlock
    from parsers.registry import parser_for
    from parsers.source import FileSource

    values = 0
    with FileSource(log) as source:
        started = time.process_time()
        for block in parser_for("ulog").blocks(source, Recording()):
            if isinstance(block, SampleBlock):
                values += len(block) * (1 + len(block.columns))
        return {"cpu_seconds": time.process_time() - started, "items": values}


CASES = [
    Case("read ULog, 60 MB, 15 topics", "CPU s", 10, "pyulog", prepare, "bench.parsers.ulog:read", "ulog:read"),
]
