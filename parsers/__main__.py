"""Command line: `python -m parsers inspect FILE` and `python -m parsers rows FILE`; each subcommand is a function of this module."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from parsers.base import Recording
from parsers.blocks import LEVELS, NO_TIME, MessageBlock, SampleBlock
from parsers.can import frames
from parsers.commands import add_commands
from parsers.detect import Detection, detect
from parsers.errors import ParseError
from parsers.registry import parser_for
from parsers.rows import rows
from parsers.source import FileSource


def inspect(arguments: argparse.Namespace) -> int:
    """Reads the whole file and says what is in it and what is wrong with it."""
    with FileSource(arguments.file) as source:
        detection = detect(source)
        report = _read(source, detection)
    if arguments.json:
        json.dump(report, sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        for key, value in report.items():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                sys.stdout.write(f"{key}:\n")
                for entry in value[:20]:
                    sys.stdout.write("  " + ", ".join(f"{k}={v}" for k, v in entry.items()) + "\n")
                if len(value) > 20:
                    sys.stdout.write(f"  ... {len(value) - 20} more\n")
            else:
                sys.stdout.write(f"{key}: {value}\n")
    return 0


def print_rows(arguments: argparse.Namespace) -> int:
    """Writes one normalised line for each frame, sample and log message; damage is told on stderr."""
    with FileSource(arguments.file) as source:
        detection = detect(source)
        recording = Recording()
        out = sys.stdout.buffer
        for piece in rows(parser_for(detection.format).blocks(source, recording), recording):
            out.write(piece)
        out.flush()
    for lost in recording.lost:
        sys.stderr.write(f"lost: {lost.length} bytes at byte {lost.offset}: {lost.reason}\n")
    return 0


def _read(source: FileSource, detection: Detection) -> dict[str, Any]:
    recording = Recording(format=detection.format)
    kinds = {"extended": frames.EXTENDED, "fd": frames.FD, "remote": frames.REMOTE, "error": frames.ERROR, "tx": frames.TX}
    counts = dict.fromkeys(("total", *kinds), 0)
    samples: Counter[int] = Counter()
    levels: Counter[str] = Counter()
    ends: list[int] = []
    for block in parser_for(detection.format).blocks(source, recording):
        times = block.t_ns
        if isinstance(block, SampleBlock):
            samples[block.stream] += len(block)
        elif isinstance(block, MessageBlock):
            times = times[times != NO_TIME]
            levels.update({LEVELS[level]: count for level, count in enumerate(np.bincount(block.level).tolist()) if count})
        else:
            counts["total"] += len(block)
            for kind, mask in kinds.items():
                counts[kind] += int(((block.flags & mask) != 0).sum())
        if len(times):
            ends = [min([int(times.min()), *ends]), max([int(times.max()), *ends])]
    return {
        "format": detection.format,
        "reason": detection.reason,
        "size": source.size,
        "absolute": recording.absolute,
        "start_ns": recording.start_ns,
        "first_t_ns": ends[0] if ends else None,
        "last_t_ns": ends[1] if ends else None,
        "channels": recording.channels,
        "frames": counts,
        "samples": samples.total(),
        "streams": [
            {"name": spec.name, "source": spec.source, "rows": samples[index], "signals": len(spec.signals)}
            for index, spec in enumerate(recording.streams)
        ],
        "skipped": recording.skipped,
        "undecoded": recording.undecoded,
        "partial": recording.partial,
        "lost": [asdict(entry) for entry in recording.lost],
        "problem_count": recording.problem_count,
        "problems": [asdict(entry) for entry in recording.problems],
        "message_count": recording.message_count + levels.total(),
        "message_levels": dict(levels),
        "messages": [asdict(entry) for entry in recording.messages],
        "metadata": recording.metadata,
        "attachments": [asdict(entry) for entry in recording.attachments],
    }


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m parsers", description="Reads vehicle log files.")
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("inspect", help="say what is in a file and what is wrong with it")
    command.add_argument("file")
    command.add_argument("--json", action="store_true", help="as one JSON object")
    command.set_defaults(run=inspect)
    command = commands.add_parser("rows", help="write one normalised line for each frame, sample and log message")
    command.add_argument("file")
    command.set_defaults(run=print_rows)
    add_commands(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one subcommand. 0 when the file was read, 1 when it could not be, 2 for wrong arguments (argparse)."""
    arguments = _arguments().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ParseError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        sys.stderr.write(f"cannot read {arguments.file}: {error.strerror or error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
