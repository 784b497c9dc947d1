"""Runs cases: fresh pinned processes, interleaved rounds, medians, equal counts on both sides."""

from __future__ import annotations

import json
import statistics
import sys

from bench.parsers.case import DATA, PEER_PYTHON, Case, Measurement, peer_target, run_task
from bench.report import FOLDER, Row, write

Task = tuple[str, str, str]
"""Interpreter, target, arguments as JSON: cases with the same task share its measurements."""


def tasks_of(case: Case, arguments: dict[str, str], with_peer: bool) -> tuple[Task, Task | None]:
    """Our task and the peer's."""
    text = json.dumps(arguments)
    ours = (sys.executable, case.ours, text)
    theirs = (str(PEER_PYTHON), peer_target(case.theirs), text) if case.theirs and with_peer else None
    return ours, theirs


def middle(runs: list[Measurement]) -> Measurement:
    """The median of each figure."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def row_of(case: Case, ours: Measurement, theirs: Measurement | None) -> Row:
    """One line of the table. Ends the benchmark when the two sides did not do the same work."""
    value = ours[case.figure]
    if theirs is None:
        holds = None if case.goal is None or case.holds != "most" else value <= case.goal
        return Row(case.name, rounded(value), case.unit, goal=case.goal, holds=holds)
    if ours["items"] != theirs["items"] and not case.uneven:
        sys.exit(f"{case.name}: we count {ours['items']:.0f} items, {case.peer} counts {theirs['items']:.0f}")
    ratio = theirs[case.figure] / value
    holds = None if case.goal is None else (ratio >= case.goal if case.holds == "ratio" else value <= case.goal)
    return Row(
        case.name, rounded(value), case.unit, case.peer, rounded(theirs[case.figure]), rounded(ratio), case.goal, holds
    )  # fmt: skip


def rounded(value: float) -> float:
    """Four digits, or whole from 1,000 on."""
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")


def run(cases: list[Case], runs: int, with_peer: bool = True) -> list[Row]:
    """All cases, round by round."""
    DATA.mkdir(parents=True, exist_ok=True)
    plan = [(case, *tasks_of(case, case.prepare(DATA), with_peer)) for case in cases]
    measured: dict[Task, list[Measurement]] = {task: [] for _, *pair in plan for task in pair if task is not None}
    often = {task for case, *pair in plan if not case.once for task in pair}
    for number in range(runs):
        for task, found in measured.items():
            if number and task not in often:
                continue
            found.append(run_task(task[0], task[1], json.loads(task[2])))
            print(f"round {number + 1}", task[1], {key: rounded(value) for key, value in found[-1].items()}, file=sys.stderr, flush=True)
    medians = {task: middle(found) for task, found in measured.items()}
    return [row_of(case, medians[ours], None if theirs is None else medians[theirs]) for case, ours, theirs in plan]


def keep(rows: list[Row]) -> None:
    """Writes the rows to results/parsers.json; those of cases that did not run this time stay."""
    path = FOLDER / "parsers.json"
    old = [Row(**entry) for entry in json.loads(path.read_text())] if path.exists() else []
    fresh = {row.name: row for row in rows}
    kept = [fresh.pop(row.name, row) for row in old]
    write("parsers", [*kept, *fresh.values()])


def show(rows: list[Row]) -> None:
    """The table as text."""
    width = max(len(row.name) for row in rows)
    for row in rows:
        peer = "" if row.peer_value is None else f"{row.peer} {row.peer_value:g} {row.unit}, ratio {row.ratio:g}"
        goal = "" if row.goal is None else f"goal {row.goal:g}: {'holds' if row.holds else 'MISSED' if row.holds is not None else '?'}"
        print(f"{row.name:<{width}}  {row.value:g} {row.unit}  {peer}  {goal}".rstrip())
