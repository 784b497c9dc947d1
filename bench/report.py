"""One shape for what benchmarks find: bench/results/<name>.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `ratio` is ours to the peer's (above 1: we are better), `goal` in the unit of what `holds` compares."""

    name: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    goal: float | None = None
    holds: bool | None = None


def write(name: str, rows: Sequence[Row]) -> None:
    """Write the rows where the page about them finds them."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
