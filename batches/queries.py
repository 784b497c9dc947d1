"""What the API reads of batches; every function needs a bounded number of queries, whatever the number of rows."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Case, F, IntegerField, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Least

from batches.models import Batch, DeletedBatch
from common.errors import NotFound
from diagnosis.models import Finding, FindingSeverity
from files.models import COMING, File, FileState, Upload
from vehicles.models import Vehicle

FINDINGS = 1000
FILE_FIELDS = (
    "id",
    "name",
    "kind",
    "size",
    "sha256",
    "state",
    "format",
    "partial",
    "error_code",
    "error",
    "error_offset",
    "duplicate_of_id",
)
UPLOAD_FIELDS = ("id", "name", "kind", "priority", "declared_size", "declared_sha256", "offset", "state", "error_code")
FINDING_FIELDS = (
    *("id", "rule", "rule_version", "severity", "code", "sentence", "action"),
    *("file_id", "stream", "signal", "from_ns", "to_ns", "count", "details"),
)


def visible(vehicle: Vehicle | None) -> QuerySet[Batch]:
    """The batches of a vehicle, or all for None; without their manifests, which may have megabytes."""
    batches = Batch.objects.select_related("vehicle").defer("manifest")
    return batches if vehicle is None else batches.filter(vehicle=vehicle)


def get_batch(batch_id: UUID, vehicle: Vehicle | None) -> Batch:
    """One visible batch; NotFound, the same for an unknown one and another vehicle's."""
    batch = visible(vehicle).filter(pk=batch_id).first()
    if batch is None:
        raise NotFound
    return batch


def filtered(batches: QuerySet[Batch], wanted: dict[str, Any]) -> QuerySet[Batch]:
    """The batches with `status`, of the vehicle with `vin`, created at or after `created_after` and before `created_before`."""
    if "status" in wanted:
        batches = batches.filter(state=wanted["status"])
    if "vin" in wanted:
        # Resolved first: with the id the database walks the index of one vehicle's newest batches.
        vehicle_id = Vehicle.objects.filter(vin=wanted["vin"].upper()).values_list("pk", flat=True).first()
        batches = batches.filter(vehicle_id=vehicle_id) if vehicle_id else batches.none()
    if "created_after" in wanted:
        batches = batches.filter(created_at__gte=wanted["created_after"])
    if "created_before" in wanted:
        batches = batches.filter(created_at__lt=wanted["created_before"])
    return batches


def files_of(batch: Batch) -> list[dict[str, Any]]:
    """The current files of a batch as dictionaries of FILE_FIELDS, in the order of their coming."""
    return list(File.objects.current().filter(batch=batch).order_by("created_at", "id").values(*FILE_FIELDS))


def bytes_of(batch: Batch) -> dict[str, int]:
    """Bytes of the current files, and how many of them have been read so far."""
    settled = Q(state__in=[FileState.PARSED, FileState.AGGREGATING, FileState.COMPLETED, FileState.FAILED])
    sums = (
        File.objects.current()
        .filter(batch=batch)
        .aggregate(
            total=Sum("size"),
            settled=Sum("size", filter=settled),
            # What a worker reports may be ahead of the file's length by its own framing; never count more than there is.
            running=Sum(Least("progress_bytes", "size"), filter=Q(state=FileState.PARSING)),
        )
    )
    return {"bytes_total": sums["total"] or 0, "bytes_done": (sums["settled"] or 0) + (sums["running"] or 0)}


def findings_of(batch: Batch) -> tuple[list[dict[str, Any]], bool]:
    """The findings of a batch, the worst first, and whether there are more than are listed."""
    rank = Case(
        *[When(severity=severity, then=Value(place)) for place, severity in enumerate(FindingSeverity.values)], output_field=IntegerField()
    )
    rows = Finding.objects.filter(batch=batch).order_by(rank.desc(), F("from_ns").asc(nulls_last=True), "id")
    found = list(rows.values(*FINDING_FIELDS)[: FINDINGS + 1])
    return found[:FINDINGS], len(found) > FINDINGS


def was_deleted(batch_id: UUID) -> bool:
    """Was there such a batch, and was it deleted?"""
    return DeletedBatch.objects.filter(pk=batch_id).exists()


def uploads_of(batch: Batch) -> list[tuple[Any, ...]]:
    """What of a batch is still to come or to be verified, as tuples of UPLOAD_FIELDS: the highest priority first, then as announced."""
    coming = Upload.objects.filter(batch=batch, state__in=COMING)
    return list(coming.order_by("-priority", "created_at", "id").values_list(*UPLOAD_FIELDS))
