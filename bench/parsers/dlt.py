"""DLT and text logs: half a million messages with their texts, beside pydlt; a million lines of syslog."""

from __future__ import annotations

import random
import time
from pathlib import Path

from bench.parsers.case import Case, Measurement, run_peer

MESSAGES = 500_000
LINES = 1_000_000
PEER = "pydlt"


def dlt_log(folder: Path) -> dict[str, str]:
    """The log that pydlt writes."""
    log = folder / f"bench_{MESSAGES}.dlt"
    if not log.exists():
        run_peer("dlt:write", path=log, messages=MESSAGES)
    return {"log": str(log)}


def text_log(folder: Path) -> dict[str, str]:
    """Lines as Python and log4j write them, with a stack trace now and then."""
    log = folder / f"bench_{LINES}_lines.txt"
    if not log.exists():
        rng = random.Random(4)
        part = log.with_suffix(".part")
        with part.open("w") as file:
            for i in range(LINES):
                level = rng.choice(("INFO", "INFO", "INFO", "DEBUG", "WARNING", "ERROR"))
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_700_000_000 + i // 100))
                module = rng.choice(("planner", "perception.lidar", "can.gateway", "storage"))
                file.write(
                    f"{stamp}.{i % 100 * 10_000:06d}Z {level} {module}: cycle {i} took {rng.random() * 100:.2f} ms, queue {rng.randrange(99)}\n"
                )
        part.rename(log)
    return {"log": str(log)}


def read(log: str) -> Measurement:
    """Every message of the log in columns, none kept."""
    from parsers.base import Recording
    from parsers.registry import parser_for
    from parsers.source import FileSource

    parser = parser_for("dlt" if log.endswith(".dlt") else "textlog")
    messages = size = 0
    with FileSource(log) as source:
        started = time.process_time()
        for block in parser.blocks(source, Recording()):
            messages += len(block)
            size += len(block.text)
        return {"cpu_seconds": time.process_time() - started, "items": messages, "text_mb": size / 1e6}


HERE = "bench.parsers.dlt"

CASES = [
    Case(f"read DLT with all texts, {MESSAGES:,} messages", "CPU s", 40, PEER, dlt_log, f"{HERE}:read", "dlt:read"),
    Case(
        f"read DLT: peak memory, {MESSAGES:,} messages",
        "MiB",
        300,
        PEER,
        dlt_log,
        f"{HERE}:read",
        "dlt:read",
        figure="peak_mb",
        holds="most",
    ),
    Case(f"read a text log with ISO times, {LINES:,} lines", "CPU s", 0.33, "", text_log, f"{HERE}:read", holds="most"),
]
