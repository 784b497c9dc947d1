"""ROS 1 bags: 500,000 messages of 20 topics, as the record loop hands them on and decoded into columns, beside rosbags."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.parsers.case import Case, Measurement, run_peer

MESSAGES = 500_000


def prepare(compression: str, folder: Path) -> dict[str, str]:
    """A bag written by rosbags."""
    bag = folder / f"bench_{MESSAGES}_{compression}.bag"
    if not bag.exists():
        run_peer("rosbag:write", path=bag, messages=MESSAGES, compression=compression)
    return {"bag": str(bag)}


def iterate(bag: str) -> Measurement:
    """Every message located, timed and sorted by its connection."""
    from parsers.base import Recording
    from parsers.rosbag.bag import BagReader
    from parsers.source import FileSource

    messages = 0
    with FileSource(bag) as source:
        started = time.process_time()
        for _, _, batch in BagReader(source, Recording()).batches():
            messages += len(batch)
        return {"cpu_seconds": time.process_time() - started, "items": messages}


def decode(bag: str) -> Measurement:
    """Every field of every message in columns, block by block."""
    from parsers.base import Recording
    from parsers.registry import parser_for
    from parsers.source import FileSource

    messages = 0
    with FileSource(bag) as source:
        started = time.process_time()
        for block in parser_for("rosbag").blocks(source, Recording()):
            messages += len(block)
        return {"cpu_seconds": time.process_time() - started, "items": messages}


def _case(task: Callable[[str], Measurement], compression: str) -> Case:
    name = f"{task.__name__} ROS bag, {MESSAGES:,} messages, {compression}"
    target = f"bench.parsers.rosbag:{task.__name__}"
    return Case(name, "CPU s", 20, "rosbags", partial(prepare, compression), target, f"rosbag:{task.__name__}")


CASES = [_case(task, compression) for task in (iterate, decode) for compression in ("none", "lz4")]
