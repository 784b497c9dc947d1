"""MDF 4: decode a logged bus, read 200 channels, beside asammdf and mdfr."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from bench.parsers.can import FRAMES, make_dbc
from bench.parsers.case import Case, Measurement, run_peer

ROWS = 100_000
CHANNELS = 200
NONE, DEFLATED, TRANSPOSED = 0, 1, 2  # compression


def bus(compression: int) -> Callable[[Path], dict[str, str]]:
    """The million frames as a bus logging, and the database, made when they are not there."""

    def prepare(folder: Path) -> dict[str, str]:
        dbc, log = folder / "bench.dbc", folder / f"bench_{FRAMES}_{compression}.mf4"
        dbc.write_text(make_dbc())
        if not log.exists():
            run_peer("mdf:write_bus", path=log, frames=FRAMES, compression=compression)
        return {"log": str(log), "dbc": str(dbc)}

    return prepare


def channels(compression: int) -> Callable[[Path], dict[str, str]]:
    """One group of 200 float64 channels and time."""

    def prepare(folder: Path) -> dict[str, str]:
        log = folder / f"bench_channels_{ROWS}_{compression}.mf4"
        if not log.exists():
            run_peer("mdf:write_channels", path=log, rows=ROWS, compression=compression)
        return {"log": str(log)}

    return prepare


# --- our side


def read_channels(log: str) -> Measurement:
    """Every value of every channel in columns, block by block; only the last block is kept."""
    from parsers.base import Recording
    from parsers.blocks import SampleBlock
    from parsers.registry import parser_for
    from parsers.source import FileSource

    parser = parser_for("mdf")
    values = 0
    with FileSource(log) as source:
        started = time.process_time()
        for block in parser.blocks(source, Recording()):
            assert isinstance(block, SampleBlock)
            values += sum(map(len, block.columns))
        return {"cpu_seconds": time.process_time() - started, "items": values}


def decode_bus(log: str, dbc: str) -> Measurement:
    """Every signal of every frame in columns."""
    from parsers.base import Recording
    from parsers.blocks import FrameBlock
    from parsers.can.database import Database
    from parsers.can.decode import Decoder
    from parsers.registry import parser_for
    from parsers.source import FileSource

    database = Database.from_json(Database.load(Path(dbc).read_bytes(), "bench.dbc").to_json())
    parser = parser_for("mdf")
    recording = Recording()
    with FileSource(log) as source:
        started = time.process_time()
        decoder = Decoder(database, recording.channels)
        for block in parser.blocks(source, recording):
            assert isinstance(block, FrameBlock)
            decoder.channels = recording.channels
            decoder.add(block)
        spent = time.process_time() - started
    values = 0
    for stream in decoder.streams:
        size = stream.columns.size
        _, _, masks = stream.columns.views(size)
        values += sum(size if mask is None else int(mask.sum()) for mask in masks)
    return {"cpu_seconds": spent, "items": values}


HERE = "bench.parsers.mdf"
SAMPLES = f"{CHANNELS} channels x {ROWS:,} samples"
LOGGED = f"{FRAMES:,} frames"

CASES = [
    case
    for compression, stored in ((NONE, ""), (DEFLATED, ", deflated"), (TRANSPOSED, ", transposed and deflated"))
    for case in (
        Case(
            f"decode an MDF bus logging, {LOGGED}{stored}", "CPU s", 7, "asammdf", bus(compression), f"{HERE}:decode_bus", "mdf:decode_bus"
        ),
        Case(
            f"read MDF, {SAMPLES}{stored}",
            "CPU s",
            5,
            "asammdf select",
            channels(compression),
            f"{HERE}:read_channels",
            "mdf:select",
        ),
        Case(f"read MDF, {SAMPLES}{stored}, beside mdfr", "CPU s", 1, "mdfr", channels(compression), f"{HERE}:read_channels", "mdf:load"),
    )
]
