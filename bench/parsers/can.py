"""CAN logs: read, decode and store a million frames, beside python-can, cantools, numpy and plain C."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.parsers.case import Case, Measurement, run_peer

FRAMES = 1_000_000
SMALL = 80_000  # frames of a BLF file of about 1 MB
MESSAGES = 60
INTEL, MULTIPLEXED = 30, 14  # the rest is Motorola
FORMATS = {".blf": "blf", ".log": "candump", ".asc": "asc"}
PEER = "python-can"
PEER_DECODES = "python-can + cantools"


def make_dbc() -> str:
    """60 messages of 8 bytes, about 720 signals: 30 Intel, 14 Intel with value tables and multiplexing, 16 Motorola."""
    rng = random.Random(1)
    lines = ['VERSION ""', "BS_:", "BU_: X"]
    tables = []
    for number in range(MESSAGES):
        frame_id = 0x100 + 8 * number
        lines.append(f"BO_ {frame_id} Message{number}: 8 X")
        motorola, multiplexed = number >= INTEL + MULTIPLEXED, INTEL <= number < INTEL + MULTIPLEXED
        bit = 0
        if multiplexed:
            lines.append(' SG_ Selector M : 0|2@1+ (1,0) [0|3] "" X')
            bit = 2
        end = 40 if multiplexed else 64
        places = _places(rng, bit, end, "") + [place for value in range(4) if multiplexed for place in _places(rng, 40, 64, f"m{value} ")]
        for index, (bit, width, mux) in enumerate(places):
            start = 8 * (bit // 8) + 7 - bit % 8 if motorola else bit
            scale = rng.choice(["1,0"] * 4 + ["0.1,-40", "0.0625,0"])
            sign = rng.choice("+++-")
            lines.append(f' SG_ Signal{index} {mux}: {start}|{width}@{0 if motorola else 1}{sign} ({scale}) [0|0] "u" X')
            if multiplexed and width <= 2:
                tables.append(f'VAL_ {frame_id} Signal{index} 0 "off" 1 "on" ;')
    return "\n\n".join(["\n".join(lines), "\n".join(tables)]) + "\n"


def _places(rng: random.Random, bit: int, end: int, mux: str) -> list[tuple[int, int, str]]:
    """Signals that fill the bits up to `end`: (first bit, width, multiplexer mark)."""
    places = []
    while bit < end:
        width = min(rng.choice([1, 2, 2, 4, 6, 8, 12]), end - bit)
        places.append((bit, width, mux))
        bit += width
    return places


def prepared(suffix: str, frames: int = FRAMES) -> Callable[[Path], dict[str, str]]:
    """Makes the log of the suffix, and the database, when they are not there."""

    def prepare(folder: Path) -> dict[str, str]:
        dbc, log = folder / "bench.dbc", folder / f"bench_{frames}{suffix}"
        dbc.write_text(make_dbc())
        if not log.exists():
            run_peer("can:write", path=log, frames=frames)
        return {"log": str(log), "dbc": str(dbc)}

    return prepare


# --- our side


def read(log: str, **_: str) -> Measurement:
    """Every frame of the log in columns, none kept."""
    from parsers.base import Recording
    from parsers.registry import parser_for
    from parsers.source import FileSource

    path = Path(log)
    parser = parser_for(FORMATS[path.suffix])
    frames = 0
    with FileSource(path) as source:
        started = time.process_time()
        for block in parser.blocks(source, Recording()):
            frames += len(block)
        return {"cpu_seconds": time.process_time() - started, "items": frames}


def decode(log: str, dbc: str, frames_first: bool = True) -> Measurement:
    """All signals of all frames into columns; with `frames_first` the frames are in memory before the time starts."""
    from parsers.base import Recording
    from parsers.can.database import Database
    from parsers.can.decode import Decoder
    from parsers.registry import parser_for
    from parsers.source import FileSource

    path = Path(log)
    database = Database.from_json(Database.load(Path(dbc).read_bytes(), "bench.dbc").to_json())
    parser = parser_for(FORMATS[path.suffix])
    recording = Recording()
    with FileSource(path) as source:
        blocks = parser.blocks(source, recording)
        if frames_first:
            blocks = iter(list(blocks))
        decoder = Decoder(database, recording.channels)
        started = time.process_time()
        for block in blocks:
            decoder.add(block)
        spent = time.process_time() - started
    values = 0
    for stream in decoder.streams:
        size = stream.columns.size
        _, _, masks = stream.columns.views(size)
        values += sum(size if mask is None else int(mask.sum()) for mask in masks)
    return {"cpu_seconds": spent, "items": values}


def read_and_decode(log: str, dbc: str) -> Measurement:
    """From the file to columns of signals."""
    return decode(log, dbc, frames_first=False)


def store(log: str, dbc: str) -> Measurement:
    """From the file to the whole result directory: Parquet, overview, summary."""
    from parsers.can.database import Database
    from parsers.recording import decode_recording
    from parsers.source import FileSource

    path = Path(log)
    database = Database.from_json(Database.load(Path(dbc).read_bytes(), "bench.dbc").to_json())
    with FileSource(path) as source, tempfile.TemporaryDirectory(dir=path.parent) as out:
        started = time.process_time()
        summary = decode_recording(source, path.name, [database], out)
        spent = time.process_time() - started
        values = sum(signal["count"] for stream in summary["streams"] for signal in stream["signals"])
        stored = sum(file.stat().st_size for file in Path(out).rglob("*") if file.is_file())
    return {"cpu_seconds": spent, "items": values, "stored_mb": stored / 1e6}


def sandboxed(log: str, dbc: str) -> Measurement:
    """The whole sandbox, start of the child included."""
    from parsers import sandbox

    path = Path(log)
    compiled, _, _ = sandbox.compile_database(Path(dbc).read_bytes(), "bench.dbc")
    with tempfile.TemporaryDirectory(dir=path.parent) as out:
        fd = os.open(path, os.O_RDONLY)
        started = time.monotonic()
        outcome = sandbox.run(fd, path.name, sandbox.join_databases([(compiled, None)]), out)
        wall = time.monotonic() - started
        os.close(fd)
    if not isinstance(outcome, sandbox.Parsed):
        raise SystemExit(str(outcome))
    return {"cpu_seconds": outcome.cpu_seconds, "items": 1, "wall_seconds": wall, "child_mb": outcome.peak_bytes / 2**20}


COUNT = f"{FRAMES:,} frames"
HERE = "bench.parsers.can"
BLF = prepared(".blf")

CASES = [
    Case(f"read BLF, {COUNT}", "CPU s", 45, PEER, BLF, f"{HERE}:read", "can:read"),
    Case(f"read ASC, {COUNT}", "CPU s", 75, PEER, prepared(".asc"), f"{HERE}:read", "can:read"),
    Case(f"read candump, {COUNT}", "CPU s", 80, PEER, prepared(".log"), f"{HERE}:read", "can:read"),
    Case(f"decode {COUNT} in memory", "CPU s", 40, "cantools", BLF, f"{HERE}:decode", "can:decode"),
    Case(f"read + decode BLF into columns, {COUNT}", "CPU s", 100, PEER_DECODES, BLF, f"{HERE}:read_and_decode", "can:read_and_decode"),
    Case(
        f"read + decode BLF: peak memory, {COUNT}", "MiB", 300, PEER_DECODES, BLF, f"{HERE}:read_and_decode", "can:read_and_decode",
        figure="peak_mb", holds="most",
    ),
    Case(f"read + decode BLF + write the results, {COUNT}", "CPU s", 0.45, "", BLF, f"{HERE}:store", holds="most"),
    Case(f"read + decode BLF + write the results: size of them, {COUNT}", "MB", None, "", BLF, f"{HERE}:store", figure="stored_mb"),
    Case(
        f"read + decode BLF + write the results: peak memory, {COUNT}", "MiB", 300, "", BLF, f"{HERE}:store", figure="peak_mb", holds="most"
    ),
    *(
        Case(f"1 MB BLF of 60 streams through the sandbox: {name}", unit, None, "", prepared(".blf", SMALL), f"{HERE}:sandboxed", figure=key)
        for name, unit, key in (("CPU, start included", "CPU s", "cpu_seconds"), ("wall time", "s", "wall_seconds"), ("memory", "MiB", "child_mb"))
    ),
]  # fmt: skip
