"""Read and decode a BLF of 1,000,000 frames with 60 messages: Argus beside python-can + cantools, interleaved, medians.

    python -m bench.parsers [--runs 3] [--frames 1000000] [--skip-peer]

Every measurement is a fresh process pinned to one processor; the figure is its CPU time (user + system) for the task alone,
imports and database loading excluded on both sides. The log is made once, from a fixed seed, under
var/bench/. Results go to bench/results/parsers.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parsers.sandbox import ENVIRONMENT

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "var" / "bench"
RESULTS = ROOT / "bench" / "results" / "parsers.json"
MESSAGES = 60
INTEL, MULTIPLEXED = 30, 14  # the rest is Motorola
SECONDS = 396.0
GOAL_RATIO = 60

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
    """Slowly changing payloads as on a real bus, 60 ids in turn, written by python-can."""
    import can

    rng = random.Random(2)
    payloads = [bytearray(rng.randbytes(8)) for _ in range(MESSAGES)]
    part = path.with_suffix(".part.blf")
    with can.BLFWriter(str(part)) as writer:
        for i in range(frames):
            number = i % MESSAGES
            payload = payloads[number]
            payload[0] = (payload[0] + 1) & 255
            payload[rng.randrange(8)] ^= 1 << rng.randrange(8)
            writer.on_message_received(
                can.Message(
                    timestamp=1_700_000_000 + i * SECONDS / 1_000_000, arbitration_id=0x100 + 8 * number, is_extended_id=False, data=payload
                )
            )
    part.rename(path)


def argus(log: Path, dbc: Path, depth: str) -> Measurement:
    """`depth`: read (frames to columns), decode (and signals to columns), write (and the whole result directory)."""
    from parsers.base import Recording
    from parsers.can.blf import BlfParser
    from parsers.can.database import Database
    from parsers.can.decode import Decoder
    from parsers.recording import decode_recording
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
        for block in BlfParser().blocks(source, recording):
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
    import cantools

    database = cantools.database.load_file(str(dbc))
    columns: dict[tuple[int, str], list[Any]] = {}
    times: dict[int, list[float]] = {}
    frames = values = 0
    started = time.process_time()
    with can.BLFReader(str(log)) as reader:
        for message in reader:
            frames += 1
            times.setdefault(message.arbitration_id, []).append(message.timestamp)
            decoded = database.decode_message(message.arbitration_id, message.data, decode_choices=False)
            for name, value in decoded.items():
                columns.setdefault((message.arbitration_id, name), []).append(value)
            values += len(decoded)
    return {"cpu_seconds": time.process_time() - started, "frames": frames, "values": values}


TASKS: dict[str, Callable[[Path, Path], Measurement]] = {
    "argus_read": lambda log, dbc: argus(log, dbc, "read"),
    "argus_decode": lambda log, dbc: argus(log, dbc, "decode"),
    "argus_write": lambda log, dbc: argus(log, dbc, "write"),
    "peer_decode": peer,
}


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


def prepare(frames: int) -> tuple[Path, Path, Path]:
    """(log, small log of about 1 MB, DBC), made when they are not there."""
    DATA.mkdir(parents=True, exist_ok=True)
    dbc, log, small = DATA / "bench.dbc", DATA / f"bench_{frames}.blf", DATA / "bench_80000.blf"
    dbc.write_text(make_dbc())
    for path, count in ((log, frames), (small, 80_000)):
        if not path.exists():
            make_log(path, count)
    return log, small, dbc


def main() -> None:
    """Measures everything and writes the results."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--frames", type=int, default=1_000_000)
    arguments.add_argument("--skip-peer", action="store_true", help="measure Argus only and keep no results")
    arguments.add_argument("--task", nargs=3, metavar=("TASK", "LOG", "DBC"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.task:
        run_task(options.task[0], Path(options.task[1]), Path(options.task[2]))
        return
    log, small, dbc = prepare(options.frames)
    tasks = [task for task in TASKS if not (options.skip_peer and task == "peer_decode")]
    runs: dict[str, list[Measurement]] = {task: [] for task in tasks}
    for _ in range(options.runs):
        for task in tasks:
            runs[task].append(measure(task, log, dbc))
            print(task, runs[task][-1], flush=True)
    medians = {task: {key: statistics.median(run[key] for run in measured) for key in measured[0]} for task, measured in runs.items()}
    small_runs = [small_file(small, dbc) for _ in range(options.runs)]
    medians["sandbox_1_mb"] = {key: statistics.median(run[key] for run in small_runs) for key in small_runs[0]}
    print(json.dumps(medians, indent=1))
    if options.skip_peer:
        return
    if medians["argus_decode"]["values"] != medians["peer_decode"]["values"]:
        sys.exit("the two sides decoded a different number of values")
    ratio = medians["peer_decode"]["cpu_seconds"] / medians["argus_decode"]["cpu_seconds"]
    report = {
        "subject": "CPU time of python-can + cantools over that of read + decode into columns, medians",
        "ratio": ratio,
        "goal": GOAL_RATIO,
        "met": ratio >= GOAL_RATIO,
        "log": {"frames": options.frames, "bytes": log.stat().st_size, "messages": MESSAGES},
        "runs": options.runs,
        "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
        "medians": medians,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    print(f"ratio {ratio:.1f} (goal {GOAL_RATIO})")


if __name__ == "__main__":
    main()
