"""From `complete` to `completed`: 10 files of 1 MB on 2 workers, real server, real queue, real parser children.

    python -m bench.pipeline [--runs 5]

Once on SQLite, once on PostgreSQL. Results go to bench/results/pipeline.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES, MEGABYTE = 10, 1_000_000
GOAL_SECONDS = 5.0


def recording(number: int) -> bytes:
    """One megabyte of a drive of the demo fleet, as candump."""
    from demo.files import prepare, reference_day
    from demo.fleet import VEHICLES

    folder = ROOT / "var" / "bench" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    vehicle, batch = next((v, b) for v in VEHICLES for b in v.batches if b.format == "log" and b.clock_synced and not b.unreadable)
    written = prepare(vehicle, batch, reference_day(folder, datetime.now(UTC).date()), folder)
    content = b"".join(written.path(file).read_bytes() for file in written.files)
    start = content.index(b"\n", number * 100_000 % (len(content) - 2 * MEGABYTE)) + 1
    return content[start : content.index(b"\n", start + MEGABYTE) + 1]


def main() -> None:
    """Measure on each database in a process of its own, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--here", action="store_true", help="measure on the database of DATABASE_URL and print the row")
    options = parser.parse_args()
    if options.here:
        here(options.runs)
        return
    from bench.report import Row, write

    again = [sys.executable, "-m", "bench.pipeline", "--here", "--runs", str(options.runs)]
    rows = []
    for command in (again, [sys.executable, "-m", "tests.with_postgres", *again]):
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        row = json.loads(output.splitlines()[-1])
        print(row)
        rows.append(Row(**row))
    write("pipeline", rows)


def here(runs: int) -> None:
    """A database and storage of their own."""
    with tempfile.TemporaryDirectory(prefix="argus-bench-") as folder:
        os.environ["ARGUS_DATA_DIR"] = folder
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.live_settings"
        import django

        django.setup()
        measure(Path(folder), runs)


def measure(folder: Path, runs: int) -> None:
    """Time `runs` batches after one that warms up; the times come from the batch's own row."""
    from django.core.management import call_command
    from django.db import connection

    from batches.models import Batch
    from demo.fleet import VEHICLES
    from tests import factories
    from tests.flows.live import running
    from vehicles.signal_databases import add_signal_database

    call_command("migrate", verbosity=0)
    vehicle = factories.vehicle(name=VEHICLES[0].name)
    add_signal_database(vehicle.platform, "demo", (ROOT / "demo" / "argus_demo.dbc").read_bytes(), actor="bench")
    token = factories.token(vehicle)
    contents = {f"part-{number}.log": recording(number) for number in range(FILES)}
    seconds: list[float] = []
    with running(folder) as live:
        for run in range(runs + 1):
            batch_id = live.send(token, contents)
            ended = live.ended(token, batch_id)
            batch = Batch.objects.get(pk=batch_id)
            assert ended["status"] == "completed", ended
            assert batch.processed_files == FILES, ended
            if run:
                seconds.append((batch.completed_at - batch.uploaded_at).total_seconds())
            time.sleep(0.5)
    median = statistics.median(seconds)
    name = f"complete to completed, 10 files of 1 MB, 2 workers, {connection.vendor}"
    print(json.dumps({"name": name, "value": round(median, 2), "unit": "s", "goal": GOAL_SECONDS, "holds": median < GOAL_SECONDS}))


if __name__ == "__main__":
    main()
