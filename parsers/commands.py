"""The subcommands that decode: `decode FILE --dbc DB --out DIR` and `check-dbc DB`, both through the sandbox."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from parsers.sandbox import Crashed, Parsed, Refused, SandboxCrash, compile_database, join_databases, run


def add_commands(commands: Any) -> None:
    """Adds both to the subparsers of `python -m parsers`."""
    command = commands.add_parser("decode", help="decode the signals of a file into a directory of Parquet files")
    command.add_argument("file")
    command.add_argument(
        "--dbc", action="append", default=[], metavar="DB[@CHANNEL,..]", help="a database; may be repeated; @ restricts it to these buses"
    )
    command.add_argument("--out", required=True, metavar="DIR", help="made if it is not there; must be empty")
    command.set_defaults(run=decode)
    command = commands.add_parser("check-dbc", help="say what can be read of a CAN database")
    command.add_argument("file")
    command.add_argument("--json", action="store_true", help="as one JSON object")
    command.set_defaults(run=check_dbc)


def decode(arguments: argparse.Namespace) -> int:
    """Decodes one file. 0 when it was read, 1 when it could not be; a short account goes to standard output."""
    try:
        databases = _databases(arguments.dbc)
    except SandboxCrash as error:
        sys.stderr.write(f"crash ({error})\n")
        return 1
    os.makedirs(arguments.out, exist_ok=True)
    if os.listdir(arguments.out):
        sys.stderr.write(f"{arguments.out} is not empty\n")
        return 1
    fd = os.open(arguments.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        outcome = run(fd, Path(arguments.file).name, join_databases(databases), arguments.out)
    finally:
        os.close(fd)
    if isinstance(outcome, Refused):
        place = "" if outcome.offset is None else f" at byte {outcome.offset}"
        sys.stderr.write(f"{outcome.code}: {outcome.reason}{place}\n")
        return 1
    if isinstance(outcome, Crashed):
        sys.stderr.write(f"crash ({outcome.kind}): {outcome.detail}\n{outcome.stderr}")
        return 1
    _tell(outcome)
    return 0


def _databases(arguments: list[str]) -> list[tuple[bytes, list[str] | None]]:
    databases = []
    for argument in arguments:
        path, _, channels = argument.partition("@") if not Path(argument).exists() else (argument, "", "")
        compiled, warnings, _ = compile_database(Path(path).read_bytes(), Path(path).name)
        for warning in warnings:
            sys.stderr.write(f"{path}: {warning}\n")
        databases.append((compiled, channels.split(",") if channels else None))
    return databases


def _tell(outcome: Parsed) -> None:
    summary = outcome.summary
    coverage = summary["coverage"]
    values = sum(signal["count"] for stream in summary["streams"] for signal in stream["signals"])
    lines = [
        f"{summary['format']}: {summary['detection']['reason']}",
        f"{summary['frames']['total']} frames, {coverage['frames_known']} of them in the databases",
        f"{len(summary['streams'])} streams, {values} values, {len(summary['fault_codes'])} fault codes",
        f"{outcome.cpu_seconds:.2f} s CPU, {outcome.peak_bytes / 1e6:.0f} MB",
    ]
    lines += [f"lost: {lost['length']} bytes at byte {lost['offset']}: {lost['reason']}" for lost in summary["lost"]]
    sys.stdout.write("\n".join(lines) + "\n")


def check_dbc(arguments: argparse.Namespace) -> int:
    """Compiles a database and shows what is in it. 0 when something could be read, 1 when not."""
    try:
        _, warnings, counts = compile_database(Path(arguments.file).read_bytes(), Path(arguments.file).name)
    except SandboxCrash as error:
        sys.stderr.write(f"crash ({error})\n")
        return 1
    if arguments.json:
        sys.stdout.write(json.dumps({**counts, "warnings": warnings}, indent=1) + "\n")
    else:
        sys.stdout.write(f"{counts['messages']} messages, {counts['signals']} signals\n")
        sys.stdout.writelines(f"{warning}\n" for warning in warnings)
    return 0
