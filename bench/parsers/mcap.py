"""MCAP: 500,000 JSON messages of 20 topics in zstd chunks, written by mcap, beside mcap with and without json.loads."""

from __future__ import annotations

import time
from pathlib import Path

from bench.parsers.case import Case, Measurement, run_peer

MESSAGES = 500_000


def prepare(folder: Path) -> dict[str, str]:
    """The log."""
    log = folder / f"bench_{MESSAGES}.mcap"
    if not log.exists():
        part = log.with_suffix(".part")
        run_peer("mcap:make", path=part, messages=MESSAGES)
        part.rename(log)
    return {"log": str(log)}


def iterate(log: str) -> Measurement:
    """Every message into the columns that a decoder takes: time, place and length, by channel."""
    from parsers.base import Recording
    from parsers.limits import DEFAULT
    from parsers.mcap.walk import Walk
    from parsers.source import FileSource

    messages = 0
    with FileSource(log) as source:
        started = time.process_time()
        for content in Walk(source, Recording(), DEFAULT).contents():
            for _channel, t_ns, _offset, _length in content.scanner.take_grouped():
                messages += len(t_ns)
        return {"cpu_seconds": time.process_time() - started, "items": messages}


def columns(log: str) -> Measurement:
    """Every message into typed columns of its topic."""
    from parsers.base import Recording
    from parsers.registry import parser_for
    from parsers.source import FileSource

    rows = 0
    with FileSource(log) as source:
        started = time.process_time()
        for block in parser_for("mcap").blocks(source, Recording()):
            rows += len(block)
        return {"cpu_seconds": time.process_time() - started, "items": rows}


CASES = [
    Case("iterate MCAP, zstd, 500,000 messages", "CPU s", 20, "mcap", prepare, "bench.parsers.mcap:iterate", "mcap:iterate"),
    Case("JSON in MCAP to columns, 500,000 messages", "CPU s", 8, "mcap, json", prepare, "bench.parsers.mcap:columns", "mcap:loads"),
]
