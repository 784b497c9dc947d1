"""Read logs of 1,000,000 frames and decode 60 messages: Argus beside python-can + cantools, interleaved, medians.

    python -m bench.parsers [--runs 5] [--frames 1000000] [--skip-peer]

Every measurement is a fresh process pinned to one processor; the figure is its CPU time (user + system) for the task alone,
imports and database loading excluded on both sides. The logs are made once, from a fixed seed, under
var/bench/. Results go to bench/results/parsers.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.report import Row, write
from parsers.sandbox import ENVIRONMENT

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "var" / "bench"
MESSAGES = 60
INTEL, MULTIPLEXED = 30, 14  # the rest is Motorola
SECONDS = 396.0
GOAL_RATIO = 60
PEER = "python-can"
PEER_DECODES = "python-can + cantools"

Measurement = dict[str, float]


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


def make_log(path: Path, frames: int) -> None:
    """Slowly changing payloads as on a real bus, 60 ids in turn, written by python-can in the format of the suffix."""
    import can

    writers: dict[str, Any] = {".blf": can.BLFWriter, ".log": can.CanutilsLogWriter, ".asc": can.ASCWriter}

    rng = random.Random(2)
    payloads = [bytearray(rng.randbytes(8)) for _ in range(MESSAGES)]
    part = path.with_suffix(f".part{path.suffix}")
    with writers[path.suffix](str(part)) as writer:
        for i in range(frames):
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
    part.rename(path)


def argus(log: Path, dbc: Path, depth: str) -> Measurement:
    """`depth`: read (frames to columns), decode (and signals to columns), write (and the whole result directory)."""
    from parsers.base import Recording
    from parsers.can.database import Database
    from parsers.can.decode import Decoder
    from parsers.recording import decode_recording
    from parsers.registry import parser_for
    from parsers.source import FileSource

    database = Database.from_json(Database.load_dbc(dbc.read_bytes(), dbc.name).to_json())
    frames = 0
    with FileSource(log) as source, tempfile.TemporaryDirectory(dir=DATA) as out:
        started = time.process_time()
        if depth == "write":
            summary = decode_recording(source, log.name, [database], out)
            spent = time.process_time() - started
            values = sum(signal["count"] for stream in summary["streams"] for signal in stream["signals"])
            stored = sum(file.stat().st_size for file in Path(out).rglob("*") if file.is_file())
            return {"cpu_seconds": spent, "frames": summary["frames"]["total"], "values": values, "bytes": stored}
        recording = Recording()
        decoder = Decoder(database, recording.channels)
        for block in parser_for(FORMATS[log.suffix]).blocks(source, recording):
            frames += len(block)
            if depth == "decode":
                decoder.add(block)
        spent = time.process_time() - started
    values = 0
    for stream in decoder.streams:
        size = stream.columns.size
        _, _, masks = stream.columns.views(size)
        values += sum(size if mask is None else int(mask.sum()) for mask in masks)
    return {"cpu_seconds": spent, "frames": frames, "values": values}


def peer(log: Path, dbc: Path) -> Measurement:
    """python-can and cantools into one list of times and one of values per signal."""
    import can
    from cantools.database import load_file
    from cantools.database.can.database import Database

    database = load_file(str(dbc))
    assert isinstance(database, Database)
    columns: dict[tuple[int, str], list[Any]] = {}
    times: dict[int, list[float]] = {}
    frames = values = 0
    started = time.process_time()
    with can.LogReader(str(log)) as reader:
        for message in reader:
            frames += 1
            times.setdefault(message.arbitration_id, []).append(message.timestamp)
            decoded: Any = database.decode_message(message.arbitration_id, message.data, decode_choices=False)  # type: ignore[arg-type]
            for name, value in decoded.items():
                columns.setdefault((message.arbitration_id, name), []).append(value)
            values += len(decoded)
    return {"cpu_seconds": time.process_time() - started, "frames": frames, "values": values}


def peer_read(log: Path, _dbc: Path) -> Measurement:
    """python-can alone: every message made, none kept."""
    import can

    frames = 0
    started = time.process_time()
    with can.LogReader(str(log)) as reader:
        for _ in reader:
            frames += 1
    return {"cpu_seconds": time.process_time() - started, "frames": frames, "values": 0}


FORMATS = {".blf": "blf", ".log": "candump", ".asc": "asc"}

TASKS: dict[str, Callable[[Path, Path], Measurement]] = {
    "read": lambda log, dbc: argus(log, dbc, "read"),
    "decode": lambda log, dbc: argus(log, dbc, "decode"),
    "write": lambda log, dbc: argus(log, dbc, "write"),
    "peer_read": peer_read,
    "peer_decode": peer,
}
PLAN = [
    ("read", ".blf"), ("peer_read", ".blf"), ("decode", ".blf"), ("peer_decode", ".blf"), ("write", ".blf"),
    ("read", ".log"), ("peer_read", ".log"), ("read", ".asc"), ("peer_read", ".asc"),
]  # fmt: skip
"""What is measured in each round, in this order: task and format."""


def measure(task: str, log: Path, dbc: Path) -> Measurement:
    """One task in a fresh, pinned process."""
    command = [sys.executable, "-m", "bench.parsers", "--task", task, str(log), str(dbc)]
    env = os.environ | ENVIRONMENT  # both sides in the environment that a child of the sandbox has
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    result: Measurement = json.loads(done.stdout)
    return result


def run_task(task: str, log: Path, dbc: Path) -> None:
    """The measuring process: prints its figures."""
    import resource

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with log.open("rb") as file:
        while file.read(1 << 20):  # into the page cache
            pass
    result = TASKS[task](log, dbc)
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump(result, sys.stdout)


def small_file(log: Path, dbc: Path) -> Measurement:
    """A 1 MB file with 60 streams through the whole sandbox, start-up of the child included."""
    from parsers import sandbox

    compiled, _, _ = sandbox.compile_database(dbc.read_bytes(), dbc.name)
    with tempfile.TemporaryDirectory(dir=DATA) as out:
        fd = os.open(log, os.O_RDONLY)
        started = time.monotonic()
        outcome = sandbox.run(fd, log.name, sandbox.join_databases([(compiled, None)]), out)
        wall = time.monotonic() - started
        os.close(fd)
    if not isinstance(outcome, sandbox.Parsed):
        sys.exit(str(outcome))
    return {"cpu_seconds": outcome.cpu_seconds, "wall_seconds": wall, "bytes": log.stat().st_size, "peak_mb": outcome.peak_bytes / 1e6}


def prepare(frames: int) -> tuple[dict[str, Path], Path, Path]:
    """(log by suffix, small log of about 1 MB, DBC), made when they are not there."""
    DATA.mkdir(parents=True, exist_ok=True)
    dbc, small = DATA / "bench.dbc", DATA / "bench_80000.blf"
    logs = {suffix: DATA / f"bench_{frames}{suffix}" for suffix in FORMATS}
    dbc.write_text(make_dbc())
    for path, count in (*((log, frames) for log in logs.values()), (small, 80_000)):
        if not path.exists():
            make_log(path, count)
    return logs, small, dbc


def compared(name: str, ours: Measurement, theirs: Measurement, peer_name: str, goal: float | None = None) -> Row:
    """CPU seconds beside the peer's; `goal` is a ratio."""
    ratio = theirs["cpu_seconds"] / ours["cpu_seconds"]
    return Row(
        name,
        round(ours["cpu_seconds"], 3),
        "CPU s",
        peer_name,
        round(theirs["cpu_seconds"], 3),
        round(ratio, 1),
        goal,
        None if goal is None else ratio >= goal,
    )


def rows(frames: int, medians: dict[tuple[str, str], Measurement], small: Measurement) -> list[Row]:
    """What the page about the benchmarks shows. Exits when the two sides did not do the same work."""
    for suffix in FORMATS:
        if not medians["read", suffix]["frames"] == medians["peer_read", suffix]["frames"] == frames:
            sys.exit(f"the two sides read a different number of frames from {suffix}")
    decode, peer_decode, written = medians["decode", ".blf"], medians["peer_decode", ".blf"], medians["write", ".blf"]
    if not decode["values"] == peer_decode["values"] == written["values"]:
        sys.exit("the two sides decoded a different number of values")
    count = f"{frames:,} frames"
    return [
        compared(f"read + decode BLF into columns, {count}", decode, peer_decode, PEER_DECODES, GOAL_RATIO),
        compared(f"read BLF, {count}", medians["read", ".blf"], medians["peer_read", ".blf"], PEER),
        compared(f"read candump, {count}", medians["read", ".log"], medians["peer_read", ".log"], PEER),
        compared(f"read ASC, {count}", medians["read", ".asc"], medians["peer_read", ".asc"], PEER),
        Row(f"read + decode BLF + write the results, {count}", round(written["cpu_seconds"], 3), "CPU s"),
        Row("size of these results", round(written["bytes"] / 1e6, 2), "MB"),
        Row("values decoded", decode["values"], "values"),
        Row("read + decode BLF: peak memory", round(decode["peak_mb"]), "MiB", PEER_DECODES, round(peer_decode["peak_mb"])),
        Row("read + decode BLF + write the results: peak memory", round(written["peak_mb"]), "MiB"),
        Row("1 MB BLF of 60 streams through the sandbox, start included", round(small["cpu_seconds"], 3), "CPU s"),
        Row("1 MB BLF of 60 streams through the sandbox: wall time", round(small["wall_seconds"], 3), "s"),
        Row("1 MB BLF of 60 streams through the sandbox: peak memory", round(small["peak_mb"]), "MB"),
    ]


def middle(runs: list[Measurement]) -> Measurement:
    """The median of each figure."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def main() -> None:
    """Measures everything and writes the results."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--frames", type=int, default=1_000_000)
    arguments.add_argument("--skip-peer", action="store_true", help="measure Argus only and keep no results")
    arguments.add_argument("--task", nargs=3, metavar=("TASK", "LOG", "DBC"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.task:
        run_task(options.task[0], Path(options.task[1]), Path(options.task[2]))
        return
    logs, small, dbc = prepare(options.frames)
    plan = [(task, suffix) for task, suffix in PLAN if not (options.skip_peer and task.startswith("peer"))]
    runs: dict[tuple[str, str], list[Measurement]] = {step: [] for step in plan}
    small_runs: list[Measurement] = []
    for _ in range(options.runs):
        for task, suffix in plan:
            runs[task, suffix].append(measure(task, logs[suffix], dbc))
            print(task, suffix, runs[task, suffix][-1], flush=True)
        small_runs.append(small_file(small, dbc))
    medians = {step: middle(measured) for step, measured in runs.items()}
    if options.skip_peer:
        for step, figures in medians.items():
            print(*step, figures)
        return
    found = rows(options.frames, medians, middle(small_runs))
    write("parsers", found)
    for row in found:
        print(f"{row.name}: {row.value} {row.unit}", "" if row.ratio is None else f"(ratio {row.ratio})")


if __name__ == "__main__":
    main()
