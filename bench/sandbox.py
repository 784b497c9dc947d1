"""What the sandbox costs for each file: small logs, one after the other, by one worker. `python -m bench.sandbox`."""

from __future__ import annotations

import argparse
import os
import statistics
import struct
import tempfile
import time
import zlib
from pathlib import Path

from bench.report import Row, write
from parsers import nursery, sandbox

GOAL_MS = 30.0
DBC = b'VERSION ""\nBU_: X\n' + b"".join(
    f'BO_ {0x100 + i} M{i}: 8 X\n SG_ A : 0|16@1+ (0.1,0) [0|0] "V" X\n SG_ B : 16|16@1+ (1,0) [0|0] "" X\n'.encode() for i in range(4)
)


def make_blf(frames: int) -> bytes:
    """Frames of four messages in containers of 2,000; 200 of them are about 3 kB."""
    body = b""
    for first in range(0, frames, 2000):
        inner = b"".join(
            struct.pack(
                "<4sHHIIIHHQHBBI8s", b"LOBJ", 32, 1, 48, 1, 2, 0, 0, i * 1_000_000, 1, 0, 8, 0x100 + i % 4, struct.pack("<Q", i * 7919)
            )
            for i in range(first, min(first + 2000, frames))
        )
        packed = zlib.compress(inner)
        body += struct.pack("<4sHHIIH6xI4x", b"LOBJ", 16, 1, 32 + len(packed), 10, 2, len(inner)) + packed + bytes(len(packed) % 4)
    day = struct.pack("<8H", 2024, 12, 2, 31, 14, 9, 40, 0)
    header = struct.pack("<4sI8xQQII", b"LOGG", 144, 144 + len(body), 144 + 48 * frames, frames, 0) + day + day
    return header.ljust(144, b"\0") + body


def measure(path: Path, databases: bytes, runs: int, *, alone: bool = False) -> list[float]:
    """Wall milliseconds of each run, the making of its folder not included; `alone`: nothing has been imported before it."""
    fd = os.open(path, os.O_RDONLY)
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as out:
            if alone:
                nursery.close()
            started = time.perf_counter()
            outcome = sandbox.run(fd, path.name, databases, out)
            found.append((time.perf_counter() - started) * 1000)
        assert isinstance(outcome, sandbox.Parsed), outcome
    os.close(fd)
    return found


def main() -> None:
    """Measures and writes the results."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=100)
    options = arguments.parse_args()
    compiled, _, _ = sandbox.compile_database(DBC, "bench.dbc")
    databases = sandbox.join_databases([(compiled, None)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "small.blf")
        path.write_bytes(make_blf(200))
        size = path.stat().st_size
        times = measure(path, databases, options.runs)
        cold = measure(path, databases, max(3, options.runs // 10), alone=True)
    median, median_cold = statistics.median(times), statistics.median(cold)
    rows = [
        Row(
            f"a BLF of {size:,} bytes and 4 streams through the sandbox: median wall time", round(median, 1), "ms",
            "a process started for the file", round(median_cold, 1), round(median_cold / median, 1), GOAL_MS, median < GOAL_MS,
        ),
        Row(f"the slowest of {options.runs}", round(max(times), 1), "ms"),
        Row("files in a second, one worker", round(1000 * len(times) / sum(times), 1), "1/s"),
    ]  # fmt: skip
    for row in rows:
        print(f"{row.name}: {row.value} {row.unit}")
    write("sandbox", rows)


if __name__ == "__main__":
    main()
