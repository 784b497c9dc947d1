"""CAN logs: read, decode and store a million frames, beside python-can, cantools, numpy and plain C."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.parsers.can_inputs import compiled, make_dbc, write_frames, write_signals
from bench.parsers.case import Case, Measurement, run_peer
from bench.repeated import RepeatedSource

if TYPE_CHECKING:
    from parsers.source import Source

FRAMES = 1_000_000
SMALL = 80_000  # frames of a BLF file of about 1 MB
FORMATS = {".blf": "blf", ".log": "candump", ".asc": "asc"}
PEER = "python-can"
PEER_DECODES = "python-can + cantools"


def prepared(suffix: str, frames: int = FRAMES) -> Callable[[Path], dict[str, str]]:
    """Makes the log of the suffix, and the database, when they are not there."""

    def prepare(folder: Path) -> dict[str, str]:
        dbc, log = folder / "bench.dbc", folder / f"bench_{frames}{suffix}"
        dbc.write_text(make_dbc())
        if not log.exists():
            run_peer("can:write", path=log, frames=frames)
        return {"log": str(log), "dbc": str(dbc)}

    return prepare


def with_ceiling(suffix: str, program: str) -> Callable[[Path], dict[str, str]]:
    """The log of the suffix, and the program in C that reads it as fast as this machine can."""

    def prepare(folder: Path) -> dict[str, str]:
        return {**prepared(suffix)(folder), "program": str(compiled(program, folder))}

    return prepare


def in_memory(folder: Path) -> dict[str, str]:
    """The frames and the signals as plain files, for whoever decodes frames in memory without reading a log."""
    given = prepared(".blf")(folder)
    frames, signals = folder / f"bench_{FRAMES}.frames", folder / "bench.signals"
    if not frames.exists():
        write_frames(Path(given["log"]), frames)
    write_signals(Path(given["dbc"]), signals)
    return {**given, "frames": str(frames), "signals": str(signals), "program": str(compiled("decode", folder))}


def virtual(suffix: str, size: int) -> Callable[[Path], dict[str, str]]:
    """The log of the suffix again and again, `size` bytes in all."""

    def prepare(folder: Path) -> dict[str, str]:
        return {**prepared(suffix, SMALL)(folder), "size": str(size)}  # a small one, for it is kept in memory

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


def decode(log: str, dbc: str, frames_first: bool = True, **_: str) -> Measurement:
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


def store(log: str, dbc: str, size: str = "") -> Measurement:
    """From the file, or the same again and again up to `size` bytes, to the whole result directory: Parquet, overview, summary."""
    from parsers.can.database import Database
    from parsers.recording import decode_recording
    from parsers.registry import parsers
    from parsers.source import FileSource

    path = Path(log)
    parsers()  # imports them all
    database = Database.from_json(Database.load(Path(dbc).read_bytes(), "bench.dbc").to_json())
    gc.disable()  # as in a child of the sandbox
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(tempfile.TemporaryDirectory(dir=path.parent))
        source: Source = repeated(path, int(size)) if size else stack.enter_context(FileSource(path))
        started = time.process_time()
        summary = decode_recording(source, path.name, [database], out)
        spent = time.process_time() - started
        values = sum(signal["count"] for stream in summary["streams"] for signal in stream["signals"])
        stored = sum(file.stat().st_size for file in Path(out).rglob("*") if file.is_file())
    return {"cpu_seconds": spent, "items": values, "stored_mb": stored / 1e6}


def repeated(path: Path, size: int) -> RepeatedSource:
    """The log again and again; of a BLF file everything behind its header, of an ASC or candump log every line."""
    content = path.read_bytes()
    head = 144 if path.suffix == ".blf" else 0
    return RepeatedSource(content[:head], content[head:], size, path.name)


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
C = "plain C"
AGAINST_C = (f"{HERE}:read", "ceiling:log")

CASES = [
    Case(f"read BLF, {COUNT}", "CPU s", 45, PEER, BLF, f"{HERE}:read", "can:read"),
    Case(f"read ASC, {COUNT}", "CPU s", 75, PEER, prepared(".asc"), f"{HERE}:read", "can:read"),
    Case(f"read candump, {COUNT}", "CPU s", 80, PEER, prepared(".log"), f"{HERE}:read", "can:read"),
    Case(f"read BLF, share of inflating it and walking its objects, {COUNT}", "CPU s", 0.5, C, with_ceiling(".blf", "blf"), *AGAINST_C),
    Case(f"read ASC, share of C, {COUNT}", "CPU s", 0.35, C, with_ceiling(".asc", "asc"), *AGAINST_C),
    Case(f"read candump, share of C, {COUNT}", "CPU s", 0.35, C, with_ceiling(".log", "candump"), *AGAINST_C),
    Case(f"decode {COUNT} in memory", "CPU s", 40, "cantools", BLF, f"{HERE}:decode", "can:decode"),
    Case(f"decode, numpy by identifier, {COUNT}", "CPU s", 1, "numpy", in_memory, f"{HERE}:decode", "numpy_decode"),
    Case(f"decode, share of C, {COUNT}", "CPU s", 0.5, C, in_memory, f"{HERE}:decode", "ceiling:decode"),
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
        Case(f"{name} + DBC + write the results: peak memory", "MiB", 300, "", given, f"{HERE}:store", figure="peak_mb", holds="most", once=True)
        for name, given in (("2 GB candump", virtual(".log", 2 << 30)), ("0.5 GB BLF, 2 GB inflated", virtual(".blf", 512 << 20)))
    ),
    *(
        Case(f"1 MB BLF of 60 streams through the sandbox: {name}", unit, None, "", prepared(".blf", SMALL), f"{HERE}:sandboxed", figure=key)
        for name, unit, key in (("CPU, start included", "CPU s", "cpu_seconds"), ("wall time", "s", "wall_seconds"), ("memory", "MiB", "child_mb"))
    ),
]  # fmt: skip
