"""Cut uploads by the thousand: `python -m tests.torture [--cuts 1000] [--largest 64] [--seed 1]`.

A real web server on a database and storage of its own. Results go to bench/results/upload_torture.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from bench.report import Row, write

VEHICLES = 6


def main() -> None:
    """Run the campaign, print and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--largest", type=int, default=64, help="MiB")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="argus-torture-") as folder:
        os.environ["ARGUS_DATA_DIR"] = folder
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.live_settings"
        import django

        django.setup()
        rows = torture(Path(folder), options.cuts, options.largest << 20, options.seed)
    for row in rows:
        print(
            f"{row.name}: {row.value:g} {row.unit}"
            + ("" if row.holds is None else f" (goal {row.goal:g}: {'holds' if row.holds else 'MISSED'})")
        )
    write("upload_torture", rows)
    raise SystemExit(not all(row.holds is not False for row in rows))


def torture(folder: Path, cuts: int, largest: int, seed: int) -> list[Row]:
    """The campaign against a server of its own; its figures. AssertionError when a file does not arrive as it was sent."""
    from django.core.management import call_command

    from tests import factories
    from tests.flows.live import running
    from tests.torture.campaign import run
    from tests.torture.vehicle import MEGABYTE

    call_command("migrate", verbosity=0)
    with running(folder, workers=False) as live:
        tokens = [factories.token(factories.vehicle()) for _ in range(VEHICLES)]
        outcome = run(live.url, tokens, cuts, largest, folder / "storage", seed)
    files, total = len(outcome.deliveries), sum(delivery.size for delivery in outcome.deliveries)
    again, slowest = outcome.sent_again / outcome.cuts, max(outcome.evictions)
    return [
        Row("cut uploads", outcome.cuts, "cuts", goal=cuts, holds=outcome.cuts == cuts),
        *(Row(f"cut by {end}", count, "cuts") for end, count in sorted(outcome.by_end.items())),
        Row("files, every digest equal", files, "files", goal=files, holds=True),
        Row("their bytes", round(total / MEGABYTE, 1), "MiB"),
        Row("sent again for each cut, mean", round(again / 1024, 1), "KiB", goal=1024, holds=again <= MEGABYTE),
        Row("lost by one cut, worst", round(max(outcome.lost) / 1024, 1), "KiB", goal=1024, holds=max(outcome.lost) <= MEGABYTE),
        Row("hung writer evicted, median", round(statistics.median(outcome.evictions), 2), "s"),
        Row("hung writer evicted, worst", round(slowest, 2), "s", goal=5, holds=slowest < 5),
        Row("time for all", round(outcome.seconds, 1), "s"),
    ]


if __name__ == "__main__":
    main()
