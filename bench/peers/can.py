"""python-can and cantools: write the logs of the benchmark, read them, decode them."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import can
from cantools.database import load_file

MESSAGES = 60
SECONDS = 396.0

Measurement = dict[str, float]


def write(path: str, frames: str) -> Measurement:
    """Slowly changing payloads as on a real bus, 60 ids in turn, in the format of the suffix."""
    writers: dict[str, Any] = {".blf": can.BLFWriter, ".log": can.CanutilsLogWriter, ".asc": can.ASCWriter}
    rng = random.Random(2)
    payloads = [bytearray(rng.randbytes(8)) for _ in range(MESSAGES)]
    whole = Path(path)
    part = whole.with_suffix(f".part{whole.suffix}")
    started = time.process_time()
    with writers[whole.suffix](str(part)) as writer:
        for i in range(int(frames)):
            number = i % MESSAGES
            payload = payloads[number]
            payload[0] = (payload[0] + 1) & 255
            payload[rng.randrange(8)] ^= 1 << rng.randrange(8)
            writer.on_message_received(
                can.Message(
                    timestamp=1_700_000_000 + i * SECONDS / 1_000_000,
                    arbitration_id=0x100 + 8 * number,
                    is_extended_id=False,
                    data=payload,
                    channel=0,
                )
            )
    part.rename(whole)
    return {"cpu_seconds": time.process_time() - started, "items": int(frames)}


def read(log: str, **_: str) -> Measurement:
    """python-can alone: every message made, none kept."""
    frames = 0
    started = time.process_time()
    with can.LogReader(log) as reader:
        for _message in reader:
            frames += 1
    return {"cpu_seconds": time.process_time() - started, "items": frames}


def decode(dbc: str, log: str, **_: str) -> Measurement:
    """cantools alone, frames in memory: into one list of values per signal."""
    database: Any = load_file(dbc)
    with can.LogReader(log) as reader:
        frames = [(message.arbitration_id, bytes(message.data)) for message in reader]
    columns: dict[tuple[int, str], list[Any]] = {}
    values = 0
    started = time.process_time()
    for arbitration_id, data in frames:
        decoded = database.decode_message(arbitration_id, data, decode_choices=False)
        for name, value in decoded.items():
            columns.setdefault((arbitration_id, name), []).append(value)
        values += len(decoded)
    return {"cpu_seconds": time.process_time() - started, "items": values}


def read_and_decode(log: str, dbc: str, **_: str) -> Measurement:
    """python-can and cantools into one list of times and one of values per signal."""
    database: Any = load_file(dbc)
    columns: dict[tuple[int, str], list[Any]] = {}
    times: dict[int, list[float]] = {}
    values = 0
    started = time.process_time()
    with can.LogReader(log) as reader:
        for message in reader:
            times.setdefault(message.arbitration_id, []).append(message.timestamp)
            decoded = database.decode_message(message.arbitration_id, message.data, decode_choices=False)
            for name, value in decoded.items():
                columns.setdefault((message.arbitration_id, name), []).append(value)
            values += len(decoded)
    return {"cpu_seconds": time.process_time() - started, "items": values}
