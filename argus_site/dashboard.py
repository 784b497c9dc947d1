"""The overview: what runs, what is stuck, which vehicles need somebody; every number leads to the list behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ

from batches.admin import queries
from batches.admin.stages import severity_pill
from batches.models import RUNNING, BatchState
from vehicles.admin.vehicles import waiting_vehicles
from vehicles.models import ApiToken, Platform, SignalDatabase, Vehicle

SHOWN = 6
CHART_WIDTH, CHART_HEIGHT, BAR_GAP = 560, 96, 6


@dataclass(frozen=True, slots=True)
class Card:
    """A number with the list behind it; `kind` colours it when it is not zero."""

    label: str
    number: int
    kind: str
    link: str
    hint: str


def dashboard(request: HttpRequest) -> dict[str, Any]:
    """Context of templates/admin/index.html; empty for somebody who may not see batches. About 17 small queries."""
    if not request.user.has_perm("batches.view_batch"):
        return {"may_see": False}
    worst = queries.worst_batches(SHOWN)
    findings = queries.top_findings(worst)
    silent_count, silent = queries.silent_vehicles(SHOWN)
    bars = chart()
    waiting_count, waiting = waiting_vehicles(SHOWN) if request.user.has_perm("vehicles.view_vehicle") else (0, [])
    return {
        "may_see": True,
        "cards": cards(),
        "worst": [{"batch": batch, "pill": severity_pill(batch.worst_severity), "finding": findings.get(batch.pk)} for batch in worst],
        "waiting": waiting,
        "waiting_count": waiting_count,
        "silent": silent,
        "silent_count": silent_count,
        "troubled": [
            {**row, "link": batch_list(vehicle=row["vehicle"].pk, severity="bad", received="7d")}
            for row in queries.troubled_vehicles(SHOWN)
        ],
        "causes": [
            (code, number, f"{reverse('admin:files_file_changelist')}?{urlencode({'code': code})}")
            for code, number in queries.failure_causes(SHOWN)
        ],
        "bars": bars,
        "received": sum(bar["number"] for bar in bars),
        "queue": OrmQ.objects.count(),
        "chart_width": CHART_WIDTH,
        "chart_height": CHART_HEIGHT,
        "steps": first_steps(request) if not any(bar["number"] for bar in bars) and not worst else [],
        "base": f"{request.scheme}://{request.get_host()}",
    }


def batch_list(**filters: object) -> str:
    """The batch list with these filters."""
    return f"{reverse('admin:batches_batch_changelist')}?{urlencode(filters)}"


def cards() -> list[Card]:
    """Live states as they are, ended ones of the last seven days."""
    live, ended = queries.live_counts(), queries.ended_counts()
    running = sum(live.get(state.value, 0) for state in RUNNING)
    return [
        Card("Uploading", live.get(BatchState.PENDING, 0), "quiet", batch_list(state="pending"), "opened, not complete yet"),
        Card("Running", running, "running", batch_list(state="running"), "parsing, gathering, diagnosing"),
        Card(
            "No progress",
            queries.stuck_count(),
            "error",
            batch_list(state="stuck"),
            f"nothing heard for {queries.STUCK_AFTER.seconds // 60} minutes",
        ),
        Card("Failed", ended.get(BatchState.FAILED, 0), "error", batch_list(state="failed", received="7d"), "received in the last 7 days"),
        Card("With issues", ended["issues"], "warning", batch_list(state="issues", received="7d"), "completed, some files unreadable"),
        Card(
            "Completed",
            ended.get(BatchState.COMPLETED, 0),
            "ok",
            batch_list(state="completed", received="7d"),
            "received in the last 7 days",
        ),
    ]


def chart() -> list[dict[str, Any]]:
    """Bars of the batches received a day: place and size in the picture, and the list of that day."""
    days = queries.received_per_day(timezone.now())
    most = max(number for _, number in days) or 1
    step = CHART_WIDTH / len(days)
    bars = []
    for index, (day, number) in enumerate(days):
        height = round((CHART_HEIGHT - 34) * number / most, 1)
        bars.append(
            {
                "day": day,
                "label": f"{day:%d %b}" if index % 2 == len(days) % 2 else "",
                "number": number,
                "x": round(index * step + BAR_GAP / 2, 1),
                "middle": round((index + 0.5) * step, 1),
                "y": round(CHART_HEIGHT - 18 - height, 1),
                "top": round(CHART_HEIGHT - 23 - height, 1),
                "width": round(step - BAR_GAP, 1),
                "height": height,
                "link": batch_list(received=day.isoformat()),
            }
        )
    return bars


def first_steps(request: HttpRequest) -> list[dict[str, Any]]:
    """What to do until the first batch comes in; each step knows whether it is done."""
    vehicle = Vehicle.objects.order_by("created_at").first()
    page = reverse("admin:vehicles_vehicle_change", args=[vehicle.pk]) if vehicle else reverse("admin:vehicles_vehicle_add")
    return [
        {"done": Platform.objects.exists(), "text": "Add a platform: a vehicle type", "link": reverse("admin:vehicles_platform_add")},
        {
            "done": SignalDatabase.objects.exists(),
            "text": "Upload its signal database",
            "link": reverse("admin:vehicles_signaldatabase_add"),
        },
        {"done": vehicle is not None, "text": "Add a vehicle of this platform", "link": reverse("admin:vehicles_vehicle_add")},
        {"done": ApiToken.objects.filter(vehicle__isnull=False).exists(), "text": "Make a token on the vehicle's page", "link": page},
        {"done": False, "text": "Upload the first batch", "link": "#upload"},
    ]
