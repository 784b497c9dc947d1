"""How far a batch is: the four segments of its stage bar, derived from its state and counters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from batches.models import Batch, BatchState, S
from common.display import count, pill

NAMES = ("Upload", "Parse", "Gather", "Diagnose")
# (finished segments, status of the next one) of the states that say it alone
PLACE: dict[str, tuple[int, str]] = {
    S.PENDING: (0, "active"),
    S.UPLOADED: (1, "queued"),
    S.SCATTERING: (1, "active"),
    S.SCATTERED: (2, "queued"),
    S.GATHERING: (2, "active"),
    S.GATHERED: (3, "queued"),
    S.DIAGNOSING: (3, "active"),
    S.COMPLETED: (4, ""),
    S.ABANDONED: (0, "stopped"),
    S.CANCELLED: (1, "stopped"),
}
FAILED_PLACE = {S.SCATTERING: 1, S.GATHERING: 2, S.DIAGNOSING: 3}
WORDS = {
    "done": "done",
    "active": "running",
    "queued": "waiting for a worker",
    "issues": "done with issues",
    "failed": "failed",
    "stopped": "stopped",
    "waiting": "",
}
STATE_KINDS = {S.PENDING: "quiet", S.COMPLETED: "ok", S.FAILED: "error", S.ABANDONED: "quiet", S.CANCELLED: "quiet"}
SEVERITY_KINDS = {"ok": "ok", "info": "info", "warning": "warning", "error": "error", "critical": "critical"}
# the bar of the list: a segment is 22 wide with a gap of 4
WIDTH, STEP = 22, 26


@dataclass(frozen=True, slots=True)
class Stage:
    """One segment: `status` is done, active, queued, issues, failed, stopped or waiting; `percent` counts only while active."""

    name: str
    status: str
    percent: int
    words: str


def stages(batch: Batch) -> list[Stage]:
    """The four segments, left to right."""
    if batch.state == S.FAILED:
        place, status = FAILED_PLACE[S(batch.failed_stage)], "failed"
    else:
        place, status = PLACE[batch.state]
    return [_stage(batch, index, "done" if index < place else status if index == place else "waiting") for index in range(len(NAMES))]


def _stage(batch: Batch, index: int, status: str) -> Stage:
    name, percent, words = NAMES[index], 0, WORDS[status]
    if name == "Upload":
        words = f"{count(batch.total_files)} {'file' if batch.total_files == 1 else 'files'}" if batch.total_files else words
    elif name == "Parse" and status in {"done", "failed", "active"}:
        settled = batch.processed_files + batch.failed_files
        if status == "done" and batch.failed_files:
            status = "issues"
        if batch.total_files:
            percent = 100 * settled // batch.total_files
            words = f"{count(batch.processed_files)} of {count(batch.total_files)}" + (
                f", {count(batch.failed_files)} failed" if batch.failed_files else ""
            )
    elif name == "Diagnose" and status == "done":
        words = f"{count(batch.finding_count)} {'finding' if batch.finding_count == 1 else 'findings'}"
    return Stage(name, status, 100 if status in {"done", "issues"} else percent, words)


def stage_bar(batch: Batch) -> SafeString:
    """The bar as a small picture, with its meaning in words for those who do not see it."""
    return drawn(tuple(stages(batch)))


@lru_cache(maxsize=1024)
def drawn(bars: tuple[Stage, ...]) -> SafeString:
    """The picture; a list has many rows that look the same."""
    meaning = ", ".join(f"{bar.name.lower()} {bar.words or bar.status}" for bar in bars)
    parts = format_html_join(
        "",
        '<rect class="segment" x="{}" width="{}" height="6" rx="2"></rect>'
        '<rect class="segment segment-{}" x="{}" width="{}" height="6" rx="2"></rect>',
        ((index * STEP, WIDTH, bar.status, index * STEP, _filled(bar)) for index, bar in enumerate(bars)),
    )
    frame = '<svg class="stages" viewBox="0 0 100 6" width="100" height="6" role="img" aria-label="{}"><title>{}</title>{}</svg>'
    return format_html(frame, meaning, meaning, parts)


def _filled(bar: Stage) -> float:
    if bar.status == "active":
        return round(WIDTH * max(bar.percent, 15) / 100, 1)
    return WIDTH


def state_pill(batch: Batch) -> SafeString:
    """The state, and "with issues" where a completed batch lacks files."""
    state = BatchState(batch.state)
    if batch.has_issues:
        return format_html("{} {}", pill("completed", "ok"), pill("with issues", "warning"))
    return pill(state.value, STATE_KINDS.get(state, "running"))


def severity_pill(severity: str) -> SafeString:
    """The worst severity of a diagnosed batch."""
    return pill(severity, SEVERITY_KINDS.get(severity, "quiet")) if severity else SafeString("")
