"""The measuring process of either side: `python -m bench.parsers.task module:function '{"argument": "value"}'`; prints its figures.

Standard library only: it also runs where Argus cannot be imported.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
from pathlib import Path

MOST_CACHED = 1 << 30


def into_page_cache(path: Path) -> None:
    """So that no measurement pays for the disk."""
    with path.open("rb") as file:
        while file.read(1 << 20) and file.tell() < MOST_CACHED:
            pass


def peak_mb() -> float:
    """Most resident memory of this program in MiB; the parent's before the start does not count, as it would in ru_maxrss."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main() -> None:
    """Pins the process, reads the files that the arguments name once, runs the task."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    arguments: dict[str, str] = json.loads(sys.argv[2])
    for value in arguments.values():
        with contextlib.suppress(OSError):
            if Path(value).is_file():
                into_page_cache(Path(value))
    module, _, function = sys.argv[1].partition(":")
    task = getattr(importlib.import_module(module), function)
    gc.collect()
    result = task(**arguments)
    json.dump({**result, "peak_mb": max(result.get("peak_mb", 0), peak_mb())}, sys.stdout)


if __name__ == "__main__":
    main()
