"""`python -m demo files DIR` writes the demo fleet's files; `python -m demo upload ...` sends them to a server."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

from demo.files import prepare, reference_day
from demo.fleet import VEHICLES
from demo.upload import run


def write_files(folder: Path, today: date) -> int:
    """Writes all batches under `folder` and prints one line for each; returns the exit status."""
    reference = reference_day(folder, today)
    for vehicle in VEHICLES:
        for batch in vehicle.batches:
            begun = time.monotonic()
            written = prepare(vehicle, batch, reference, folder)
            size = sum(file.size for file in written.files) / 1e6
            seconds = time.monotonic() - begun
            print(
                f"{vehicle.name:8} {batch.key:20} {written.frames:7} frames  {len(written.files)} files  {size:5.1f} MB  {seconds:4.1f} s"
            )
    return 0


def upload(url: str, tokens: Path, folder: Path) -> int:
    """Uploads the fleet; returns 0 when every batch got through, else 1."""
    known = json.loads(tokens.read_text())
    if not isinstance(known, dict):
        print(f"{tokens} must hold an object of VIN and token", file=sys.stderr)
        return 2
    outcomes = run(url, known, folder, lambda line: print(line, flush=True))
    return int(any(outcome.error for outcome in outcomes))


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    files = commands.add_parser("files", help="write the files of the demo fleet")
    files.add_argument("folder", type=Path)
    files.add_argument("--today", type=date.fromisoformat, help="the day that the drives count back from (YYYY-MM-DD)")
    sending = commands.add_parser("upload", help="upload the demo fleet to a server and wait for the outcome")
    sending.add_argument("--url", required=True)
    sending.add_argument("--tokens", required=True, type=Path, help='a JSON file: {"<VIN>": "<token>", ...}')
    sending.add_argument("--folder", required=True, type=Path, help="where the files are written and kept")
    chosen = parser.parse_args(arguments)
    if chosen.command == "files":
        return write_files(chosen.folder, chosen.today or datetime.now(UTC).date())
    return upload(chosen.url, chosen.tokens, chosen.folder)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
