"""Measure the readers: Argus beside its peers, interleaved, medians.

    python -m bench.parsers [--only can] [--case "read BLF"] [--runs 5] [--skip-peer]

Every measurement is a fresh process pinned to one processor; the figure is its CPU time (user + system) for the task alone:
imports and the loading of signal databases are left out on both sides. The data is made once, from fixed seeds, under var/bench/.
Results go to bench/results/parsers.json.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util

from bench.parsers.case import Case
from bench.parsers.run import keep, run, show

MODULES = ("can", "mdf", "mcap", "rosbag", "ulog", "dlt")


def main() -> None:
    """Measures what was asked for and writes the results."""
    there = [name for name in MODULES if importlib.util.find_spec(f"bench.parsers.{name}")]
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", choices=there, action="append", help="a family of formats (may be repeated)")
    arguments.add_argument("--case", default="", help="only cases whose name contains this")
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--skip-peer", action="store_true", help="measure Argus only and keep no results")
    options = arguments.parse_args()
    cases: list[Case] = []
    for name in options.only or there:
        cases += [case for case in importlib.import_module(f"bench.parsers.{name}").CASES if options.case in case.name]
    rows = run(cases, options.runs, not options.skip_peer)
    show(rows)
    if not options.skip_peer:
        keep(rows)


if __name__ == "__main__":
    main()
