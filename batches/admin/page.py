"""What the batch page shows: read once here, laid out in templates/admin/batches/batch/page.html."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import structlog
from django.http import HttpRequest
from django.urls import reverse

from batches.admin import actions, plots, queries, report
from batches.admin import log as log_page
from batches.admin.arriving import arriving
from batches.admin.history import history
from batches.admin.stages import severity_pill, stages, state_pill
from batches.models import ENDED, Batch, BatchState
from common.display import NS, span
from common.errors import ArgusError
from files import results
from files.models import File, FileState
from parsers.errors import ParseError

log = structlog.get_logger("argus.page")

COLUMNS = ("min", "mean", "p5", "median", "p95", "p99", "max")
FILE_KINDS = {
    FileState.COMPLETED: "ok",
    FileState.PARSED: "ok",
    FileState.AGGREGATING: "running",
    FileState.PARSING: "running",
    FileState.FAILED: "error",
}


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file with what came of it."""

    file: File
    kind: str
    contents: str
    progress: int
    tries: int


def head(batch: Batch) -> dict[str, Any]:
    """What the page and its live refresh share: state, stages, counters."""
    return {
        "batch": batch,
        "state_pill": state_pill(batch),
        "severity_pill": severity_pill(batch.worst_severity),
        "stages": stages(batch),
        "running": batch.state not in ENDED,
        "failed_stage": actions.stage_name(batch),
        "recorded": span(batch.recorded_from or batch.declared_from, batch.recorded_to or batch.declared_to),
        "announced": batch.recorded_from is None and batch.declared_from is not None,
        "clock": [(flag, report.clock_words(flag)) for flag in batch.clock_flags],
    }


def page(request: HttpRequest, batch: Batch) -> dict[str, Any]:
    """The whole page; a result that cannot be read leaves the rest of it standing."""
    statistics, trouble = read_statistics(batch)
    files, findings = queries.files_of(batch), queries.findings_of(batch)
    problems = report.doubts(batch, queries.partial_count(batch), statistics)
    chosen = list(dict.fromkeys(request.GET.getlist("signal")))[: plots.MOST_SIGNALS] or report.first_plottable(findings, statistics)
    return {
        **head(batch),
        "actions": actions.allowed(batch, request.user),
        **arriving(batch, request.user),
        "files": [file_row(file) for file in files],
        "files_more": batch.total_files - len(files),
        "findings": report.finding_rows(findings, statistics),
        "findings_more": batch.finding_count - len(findings),
        "history": history(queries.events_of(batch)),
        "history_more": max(0, batch.event_seq - queries.EVENTS_SHOWN),
        "notes": queries.notes_of(batch),
        "may_comment": request.user.has_perm("batches.comment_batch"),
        "may_download": request.user.has_perm("batches.download_file"),
        "verdict": report.verdict(batch, findings, problems) if batch.state == BatchState.COMPLETED else None,
        "doubts": problems,
        "trouble": trouble,
        **results_context(request, batch, statistics, chosen, findings),
    }


def read_statistics(batch: Batch) -> tuple[dict[str, Any] | None, str]:
    """The merged statistics and "", or None and a sentence that says why not."""
    if not batch.result_key:
        return None, ""
    try:
        return results.batch_result(batch), ""
    except (ArgusError, ParseError, OSError, ValueError):
        log.exception("statistics unreadable", batch=str(batch.pk))
        return None, "The stored statistics cannot be read at the moment. Reload later; if it stays so, parse the batch again."


def results_context(
    request: HttpRequest, batch: Batch, statistics: dict[str, Any] | None, chosen: list[str], findings: list[Any]
) -> dict[str, Any]:
    """Signals, plot, codes and data quality; empty without statistics."""
    if statistics is None:
        return {"statistics": None}
    time = statistics.get("time") or {}
    first, last = request.GET.get("from", ""), request.GET.get("to", "")
    rows = report.signal_rows(statistics, set(chosen))
    return {
        "statistics": statistics,
        "plot_ready": batch.state not in {BatchState.UPLOADED, BatchState.SCATTERING},
        "columns": COLUMNS,
        "signals": rows,
        "signals_more": len(statistics.get("signals") or []) - len(rows),
        "recorded_seconds": (time["last_ns"] - time["first_ns"]) / NS
        if time.get("first_ns") is not None and time.get("last_ns") is not None
        else None,
        "true_time": report.true_time(statistics),
        "codes": report.code_rows(statistics),
        "log": log_page.summary(statistics),
        "undecoded": report.undecoded(statistics),
        "attachments": report.attachments(statistics),
        "unknown_ids": (statistics.get("unknown_ids") or [])[: report.ROWS_SHOWN],
        "lost": report.lost_ranges(statistics),
        "chosen": chosen,
        "plot": json.dumps(
            {
                "data": reverse("admin:batches_batch_plot", args=[batch.pk]),
                "t0": str(time.get("first_ns") or 0),
                "t1": str(time.get("last_ns") or 0),
                "absolute": report.is_absolute(statistics),
                "chosen": chosen,
                "from": first if first.lstrip("-").isdecimal() else "",
                "to": last if last.lstrip("-").isdecimal() else "",
                "marks": report.marks(findings),
            }
        ),
        "range": [("from", first), ("to", last)] if first and last else [],
    }


def file_row(file: File) -> FileRow:
    """A file with its progress while it is being parsed."""
    progress = min(100, 100 * file.progress_bytes // file.size) if file.state == FileState.PARSING else 0
    return FileRow(
        file, FILE_KINDS.get(FileState(file.state), "quiet"), report.contents(file.facts or {}), progress, getattr(file, "tries", 1)
    )
