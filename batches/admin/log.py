"""The log page of a batch: its log messages, searched by text, level, source and time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import structlog
from django.http import HttpRequest
from django.urls import reverse

from batches.admin import report
from batches.models import Batch
from common import display
from common.errors import ArgusError
from files import messages, results
from parsers.blocks import LEVELS
from parsers.errors import ParseError

log = structlog.get_logger("argus.log")

LONGEST = 200  # characters of a search
CHOICES = tuple(level for level in reversed(LEVELS) if level)
KINDS = {"fatal": "critical", "error": "error", "warning": "warning", "info": "info"}
EMPTY = ("", "any level")


@dataclass(frozen=True, slots=True)
class LogRow:
    """One message with its time in words and the address of the plot around it ("" without a time)."""

    row: messages.Row
    at: str
    kind: str
    plot: str


def page(request: HttpRequest, batch: Batch) -> dict[str, Any]:
    """What the template shows. What is wrong with the request stands in `trouble`; the form stays as it was filled in."""
    form = {name: request.GET.get(name, "")[:LONGEST] for name in ("text", "level", "source", "from", "to")}
    found, trouble = messages.Found(), ""
    try:
        query = messages.Query(form["text"], form["level"], form["source"], _time(form["from"]), _time(form["to"]))
        found = messages.search(results.file_results(batch), query, request.GET.get("after", ""))
    except ValueError:
        trouble = "This address is not of a search: use the form."
    except (ArgusError, ParseError, OSError, KeyError):
        log.exception("messages unreadable", batch=str(batch.pk))
        trouble = "The stored messages cannot be read at the moment. Reload later; if it stays so, parse the batch again."
    asked = {name: value for name, value in form.items() if value}
    absolute = batch.recorded_from is not None
    return {
        "batch": batch,
        "form": form,
        "levels": [EMPTY, *((level, f"{level} and worse") for level in CHOICES)],
        "rows": [_row(batch, row, absolute) for row in found.rows],
        "following": urlencode({**asked, "after": found.following}) if found.following else "",
        "continued": bool(request.GET.get("after")),
        "first": urlencode(asked),
        "searched": found.searched,
        "asked": bool(asked),
        "trouble": trouble,
    }


def summary(statistics: dict[str, Any]) -> dict[str, Any]:
    """How many messages of each level there are, the worst level first, and the worst messages themselves."""
    levels = statistics.get("message_levels") or {}
    return {
        "count": statistics.get("message_count") or 0,
        "levels": [(level or "no level", KINDS.get(level, "quiet"), levels[level], level) for level in reversed(LEVELS) if level in levels],
        "worst": [
            {
                **message,
                "kind": KINDS.get(message["level"], "quiet"),
                "at": display.recorded(message["t_ns"], report.is_absolute(statistics)),
            }
            for message in (statistics.get("messages") or [])[:20]
        ],
    }


def _time(text: str) -> int | None:
    """Nanoseconds as in the results. Raises ValueError."""
    if not text:
        return None
    t_ns = int(text)
    if not -(1 << 63) <= t_ns < 1 << 63:
        raise ValueError("beyond all times")
    return t_ns


def _row(batch: Batch, row: messages.Row, absolute: bool) -> LogRow:
    plot = ""
    if row.t_ns is not None:
        around = urlencode({"from": row.t_ns - report.MARGIN_NS, "to": row.t_ns + report.MARGIN_NS})
        plot = f"{reverse('admin:batches_batch_change', args=[batch.pk])}?{around}#plot"
    return LogRow(row, display.recorded(row.t_ns, absolute), KINDS.get(row.level, "quiet"), plot)
