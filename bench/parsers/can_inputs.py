"""What the benchmarks of CAN feed to both sides: the signal database, frames in memory as a plain file, and compiled C."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from bench.parsers.case import ROOT

MESSAGES = 60
INTEL, MULTIPLEXED = 30, 14  # the rest is Motorola
CEILING = ROOT / "bench" / "ceiling"


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


def write_frames(log: Path, path: Path) -> None:
    """All times (int64 ns), then all payloads (8 bytes each), then all identifiers (uint32) of a BLF file of classic frames."""
    import numpy as np

    from parsers.base import Recording
    from parsers.can.blf import BlfParser
    from parsers.source import FileSource

    with FileSource(log) as source:
        blocks = list(BlfParser().blocks(source, Recording()))
    words = [np.lib.stride_tricks.sliding_window_view(block.data, 8)[block.data_offset] for block in blocks]
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        for columns in ([block.t_ns for block in blocks], words, [block.arbitration_id for block in blocks]):
            file.write(np.ascontiguousarray(np.concatenate(columns)).tobytes())
    part.rename(path)


def write_signals(dbc: Path, path: Path) -> None:
    """One line of numbers for each signal, as ceiling/decode.c and peers/numpy_decode.py read them."""
    from parsers.can.database import Database
    from parsers.can.decode import STORAGE_NAMES

    database = Database.from_json(Database.load(dbc.read_bytes(), dbc.name).to_json())
    lines = []
    for number in range(MESSAGES):
        frame_id = 0x100 + 8 * number
        message = database.find(frame_id, False, "1")
        assert message is not None
        for signal in message.signals:
            spare = 64 - signal.length
            up = signal.first_bit if signal.big_endian else spare - signal.first_bit
            real = signal.storage == "float64"
            width = 8 if real else 1 << STORAGE_NAMES.index(signal.storage) // 2
            mux_up, mux_spare, mux_value = 0, 0, -1
            if signal.multiplexer is not None:
                parent = message.signals[signal.multiplexer.parent]
                mux_spare = 64 - parent.length
                mux_up, mux_value = mux_spare - parent.first_bit, signal.multiplexer.ranges[0][0]
            whole = (0, 0) if real else (int(signal.scale), int(signal.offset))
            fields = (
                frame_id,
                up,
                spare,
                int(signal.big_endian),
                int(signal.signed),
                width,
                int(real),
                signal.scale,
                signal.offset,
                *whole,
            )
            lines.append(" ".join(map(str, (*fields, mux_up, mux_spare, mux_value))))
    path.write_text("\n".join(lines) + "\n")


def compiled(name: str, folder: Path) -> Path:
    """The program ceiling/<name>.c, compiled when it is not there or older than its source. Ends the benchmark without a C compiler."""
    program = folder / f"ceiling_{name}"
    sources = [CEILING / f"{name}.c", *CEILING.glob("*.h")]
    if program.exists() and program.stat().st_mtime >= max(source.stat().st_mtime for source in sources):
        return program
    libraries = ["-l:libdeflate.so.0"] if name == "blf" else []
    command = ["cc", "-O3", "-Wall", "-Wextra", "-o", str(program), str(sources[0]), *libraries]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed: the ceilings need a C compiler and libdeflate0\n{done.stderr}")
    return program
