"""What plain C takes for the same task: runs a program of bench/ceiling, which measures itself."""

from __future__ import annotations

import json
import subprocess

Measurement = dict[str, float]


def log(program: str, log: str, **_: str) -> Measurement:
    """A program that reads a log."""
    return run(program, log)


def decode(program: str, frames: str, signals: str, **_: str) -> Measurement:
    """A program that decodes frames in memory."""
    return run(program, frames, signals)


def run(*command: str) -> Measurement:
    """Its figures, which it prints as JSON."""
    found: Measurement = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found
