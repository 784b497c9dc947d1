"""What the pages about batches read: each function is one bounded query, except where it says otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Case, Count, F, IntegerField, OuterRef, Q, QuerySet, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce, Now, TruncDate
from django.utils import timezone

from batches.models import RUNNING, Batch, BatchState, Note, Severity
from diagnosis.models import Finding, FindingSeverity
from events.models import Event
from files.models import COMING, File, FileState, Upload
from vehicles.models import Vehicle, VehicleState

# No file may take longer than a worker's time limit: a running batch without any event for longer makes no progress.
STUCK_AFTER = timedelta(seconds=settings.PARSE_SECONDS + 120)
RECENT = timedelta(days=7)
SILENT_AFTER = timedelta(days=7)
CHART_DAYS = 14
FILES_SHOWN = 200
ARRIVING_SHOWN = 50
FINDINGS_SHOWN = 200
EVENTS_SHOWN = 100
NOTES_SHOWN = 100
VEHICLES_FOUND = 500
BATCHES_FOUND = 200
ID_PREFIX = 4
BAD = (Severity.CRITICAL, Severity.ERROR)
WIDE = ("manifest", "software", "clock", "error")  # a manifest can have 50,000 entries: lists never load it


# -- the list ----------------------------------------------------------------------------------------------------------


def listed() -> QuerySet[Batch]:
    """Batches with what a row of a list shows."""
    return Batch.objects.select_related("vehicle__platform").defer(*WIDE)


def stuck(batches: QuerySet[Batch]) -> QuerySet[Batch]:
    """Running batches of which nothing has been heard for longer than a file may take."""
    last_event = Event.objects.filter(batch=OuterRef("pk"), seq=OuterRef("event_seq")).values("created_at")[:1]
    limit = timezone.now() - STUCK_AFTER
    return (
        batches.filter(state__in=RUNNING, state_changed_at__lt=limit)
        .alias(last_event=Subquery(last_event))
        .filter(Q(last_event__isnull=True) | Q(last_event__lt=limit))
    )


def found(batches: QuerySet[Batch], text: str) -> QuerySet[Batch]:
    """Batches whose vehicle (VIN part, name) or id (its beginning) fits every word of `text`.

    Vehicles and ids are resolved first: a LIKE over the join would read every batch. Two small queries a word.
    """
    for word in text.split()[:5]:
        vehicles = list(
            Vehicle.objects.filter(Q(vin__icontains=word) | Q(name__icontains=word)).values_list("pk", flat=True)[:VEHICLES_FOUND]
        )
        condition = Q(vehicle_id__in=vehicles)
        if (ids := id_range(word)) is not None:
            condition |= Q(pk__in=list(Batch.objects.filter(pk__gte=ids[0], pk__lte=ids[1]).values_list("pk", flat=True)[:BATCHES_FOUND]))
        batches = batches.filter(condition)
    return batches


def id_range(text: str) -> tuple[UUID, UUID] | None:
    """First and last id that begin with `text`; None for what begins no id, or too many."""
    digits = text.replace("-", "").lower()
    if not ID_PREFIX <= len(digits) <= 32 or not all(digit in "0123456789abcdef" for digit in digits):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


# -- one batch ----------------------------------------------------------------------------------------------------------


def batch_page(batch_id: UUID) -> Batch | None:
    """The batch with its vehicle, platform and fleet."""
    return Batch.objects.select_related("vehicle__platform", "vehicle__fleet").defer("manifest").filter(pk=batch_id).first()


def files_of(batch: Batch) -> list[File]:
    """At most FILES_SHOWN current files, failed and partial ones first; each with `tries`: how often its bytes were parsed. Two queries."""
    order = Case(
        When(state=FileState.FAILED, then=0),
        When(partial=True, then=1),
        When(state=FileState.PARSING, then=2),
        default=3,
        output_field=IntegerField(),
    )
    files = list(
        File.objects.current()
        .filter(batch=batch)
        .select_related("duplicate_of")
        .annotate(rank=order)
        .order_by("rank", "name", "pk")[:FILES_SHOWN]
    )
    keys = [file.storage_key for file in files]
    tries = dict(File.objects.filter(batch=batch, storage_key__in=keys).values_list("storage_key").annotate(Count("pk")).order_by())
    for file in files:
        file.tries = tries[file.storage_key]
    return files


def partial_count(batch: Batch) -> int:
    """Files that were read, but not wholly."""
    return File.objects.readable().filter(batch=batch, partial=True).count()


def arriving(batch: Batch) -> list[Upload]:
    """At most ARRIVING_SHOWN files on their way, each with `live`: is somebody sending now? These come first, then what has begun."""
    coming = Upload.objects.filter(batch=batch, state__in=COMING).annotate(live=Q(lease_until__gt=Now()))
    return list(coming.order_by("-live", "-offset", "-priority", "created_at", "pk")[:ARRIVING_SHOWN])


def arriving_one(batch: Batch, upload_id: UUID) -> Upload | None:
    """One of them."""
    return Upload.objects.filter(batch=batch, pk=upload_id, state__in=COMING).annotate(live=Q(lease_until__gt=Now())).first()


def arriving_sums(batch: Batch) -> dict[str, int]:
    """How many files are on their way, their bytes as far as they are known, and those that are here."""
    coming = Upload.objects.filter(batch=batch, state__in=COMING)
    sums = coming.aggregate(count=Count("pk"), size=Sum(Coalesce("declared_size", "offset")), offset=Sum("offset"))
    return {name: number or 0 for name, number in sums.items()}


def by_severity(findings: QuerySet[Finding]) -> QuerySet[Finding]:
    """The worst first, then by time."""
    ranks = [When(severity=severity, then=Value(rank)) for rank, severity in enumerate(reversed(FindingSeverity.values))]
    order = Case(*ranks, default=Value(len(ranks)), output_field=IntegerField())
    return findings.annotate(rank=order).order_by("rank", F("from_ns").asc(nulls_last=True), "pk")


def findings_of(batch: Batch) -> list[Finding]:
    """At most FINDINGS_SHOWN, the worst first, each with its file's name."""
    return list(by_severity(Finding.objects.filter(batch=batch).select_related("file"))[:FINDINGS_SHOWN])


def events_of(batch: Batch) -> list[Event]:
    """The newest EVENTS_SHOWN, newest first."""
    return list(Event.objects.filter(batch=batch).order_by("-seq")[:EVENTS_SHOWN])


def notes_of(batch: Batch) -> list[Note]:
    """The newest NOTES_SHOWN, oldest first."""
    return list(reversed(Note.objects.filter(batch=batch).select_related("author").order_by("-created_at", "-pk")[:NOTES_SHOWN]))


def names_of_files(ids: Iterable[str]) -> dict[str, str]:
    """File id -> name, for events that carry only ids."""
    return {str(pk): name for pk, name in File.objects.filter(pk__in=list(ids)).values_list("pk", "name")}


# -- the dashboard ------------------------------------------------------------------------------------------------------


def live_counts() -> dict[str, int]:
    """Batches in each state that is not an end."""
    rows = Batch.objects.filter(state__in=[BatchState.PENDING, *RUNNING]).order_by().values_list("state").annotate(Count("pk"))
    return dict(rows)


def ended_counts() -> dict[str, int]:
    """Batches received in the last seven days that ended, by state, and under "issues" those completed without all files."""
    recent = Batch.objects.filter(created_at__gte=timezone.now() - RECENT)
    rows = recent.filter(state__in=[BatchState.COMPLETED, BatchState.FAILED]).order_by().values_list("state")
    counts = dict(rows.annotate(Count("pk")))
    counts["issues"] = recent.filter(state=BatchState.COMPLETED, failed_files__gt=0).count()
    return counts


def stuck_count() -> int:
    """How many batches make no progress."""
    return stuck(Batch.objects.order_by()).count()


def worst_batches(limit: int) -> list[Batch]:
    """The newest batches with a critical or error finding. One query a severity, each on its index."""
    newest = [batch for severity in BAD for batch in listed().filter(worst_severity=severity).order_by("-created_at", "-pk")[:limit]]
    return sorted(newest, key=lambda batch: (batch.created_at, batch.pk), reverse=True)[:limit]


def top_findings(batches: Sequence[Batch]) -> dict[UUID, Finding]:
    """The worst finding of each batch (of those that have one)."""
    severities = {batch.worst_severity for batch in batches}
    findings = by_severity(Finding.objects.filter(batch__in=[batch.pk for batch in batches], severity__in=severities))
    top: dict[UUID, Finding] = {}
    for finding in findings[:FINDINGS_SHOWN]:
        top.setdefault(finding.batch_id, finding)
    return top


def silent_vehicles(limit: int) -> tuple[int, list[Vehicle]]:
    """Active vehicles that have had contact, but not lately: how many, and those silent longest. Two queries."""
    silent = Vehicle.objects.filter(state=VehicleState.ACTIVE, last_contact_at__lt=timezone.now() - SILENT_AFTER)
    return silent.count(), list(silent.order_by("last_contact_at")[:limit])


def troubled_vehicles(limit: int) -> list[dict[str, Any]]:
    """Vehicles with the most batches with critical or error findings, received in the last seven days. Two queries."""
    rows = list(
        Batch.objects.filter(worst_severity__in=BAD, created_at__gte=timezone.now() - RECENT)
        .order_by()
        .values("vehicle")
        .annotate(batches=Count("pk"), critical=Count("pk", filter=Q(worst_severity=Severity.CRITICAL)))
        .order_by("-critical", "-batches", "vehicle")[:limit]
    )
    vehicles = Vehicle.objects.in_bulk([row["vehicle"] for row in rows])
    return [{**row, "vehicle": vehicles[row["vehicle"]]} for row in rows]


def failure_causes(limit: int) -> list[tuple[str, int]]:
    """Error codes of files that failed in the last seven days, the commonest first."""
    recent = File.objects.current().filter(state=FileState.FAILED, created_at__gte=timezone.now() - RECENT)
    return list(recent.order_by().values_list("error_code").annotate(number=Count("pk")).order_by("-number", "error_code")[:limit])


def received_per_day(today: datetime) -> list[tuple[Any, int]]:
    """(day, batches received) of the last CHART_DAYS days, oldest first, days without batches included."""
    first = (today - timedelta(days=CHART_DAYS - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    counts = dict(
        Batch.objects.filter(created_at__gte=first)
        .order_by()
        .annotate(day=TruncDate("created_at"))
        .values_list("day")
        .annotate(Count("pk"))
    )
    days = [(first + timedelta(days=offset)).date() for offset in range(CHART_DAYS)]
    return [(day, counts.get(day, 0)) for day in days]
