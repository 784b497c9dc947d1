"""What a benchmark of a reader is: the data it makes, our task, the peer's task and what must hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "var" / "bench"
PEER_PYTHON = ROOT / ".venv-bench" / "bin" / "python"

Measurement = dict[str, float]
"""`cpu_seconds` (user + system, of the task alone) and `items` (what both sides must count alike); more keys as a task likes.
The runner adds `peak_mb` (MiB)."""


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table.

    `prepare` gets the data directory, makes what is missing there and returns the arguments of both tasks (all text). `ours` is
    "package.module:function", run by the interpreter of Argus; `theirs` is "module" or "module:function" below bench.peers, run by the
    one of the peers (the function is `main` when it is not named), or None. Both functions take the arguments by name and return a
    Measurement. Data that a task needs but is not to be timed (a database, an import) is loaded before it takes its first time stamp.

    `figure` is the key of the measurement that the line shows, in `unit`. `goal` is compared as `holds` says: "ratio" wants
    theirs / ours >= goal (for a ceiling: the share of what is physically possible), "most" wants ours <= goal.
    `once` measures in the first round only. `uneven` says why the two sides may count different items; without it they must be equal.
    """

    name: str
    unit: str
    goal: float | None
    peer: str
    prepare: Callable[[Path], dict[str, str]]
    ours: str
    theirs: str | None = None
    figure: str = "cpu_seconds"
    holds: Literal["ratio", "most"] = "ratio"
    uneven: str = ""
    once: bool = False


def run_task(python: str | Path, target: str, arguments: dict[str, str]) -> Measurement:
    """One task in a fresh process, pinned to one processor. Ends the benchmark when it fails."""
    from parsers.nursery import ENVIRONMENT

    command = [str(python), "-m", "bench.parsers.task", target, json.dumps(arguments)]
    env = os.environ | ENVIRONMENT  # both sides in the environment that a child of the sandbox has
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{target} {arguments} failed\n{done.stderr}")
    result: Measurement = json.loads(done.stdout.splitlines()[-1])
    return result


def run_peer(target: str, **arguments: Any) -> Measurement:
    """A function of bench.peers in the peers' environment: for `prepare`, so that the data is written by the peer's own writer."""
    return run_task(PEER_PYTHON, peer_target(target), {key: str(value) for key, value in arguments.items()})


def peer_target(theirs: str) -> str:
    """The whole name of a peer's function."""
    module, _, function = theirs.partition(":")
    return f"bench.peers.{module}:{function or 'main'}"
