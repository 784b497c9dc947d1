"""Batches, files and findings as the API shows them; `serializers` describes the same shapes."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from batches import queries
from batches.models import Batch


def of_batch(batch: Batch, *, vin: bool) -> dict[str, Any]:
    """A batch without its files."""
    vehicle = batch.vehicle
    shape = {
        "id": batch.pk,
        "status": batch.state,
        "vehicle": {"id": vehicle.pk, "name": vehicle.name},
        "vin": vehicle.vin,
        "created_at": batch.created_at,
        "uploaded_at": batch.uploaded_at,
        "completed_at": batch.completed_at,
        "recorded_from": batch.recorded_from or batch.declared_from,
        "recorded_to": batch.recorded_to or batch.declared_to,
        "clock": batch.clock,
        "software": batch.software,
        "reason": batch.reason,
        "total_files": batch.total_files,
        "processed_files": batch.processed_files,
        "failed_files": batch.failed_files,
        "percent": batch.percent,
        "total_bytes": batch.total_bytes,
        "worst_severity": batch.worst_severity or None,
        "failed_stage": batch.failed_stage or None,
        "error": {"code": batch.error_code, "detail": batch.error} if batch.error_code else None,
        "expected_workers": batch.expected_workers,
        "server_time": timezone.now(),
    }
    if not vin:
        del shape["vin"]
    return shape


def with_files(batch: Batch, *, vin: bool, uploads_at: str) -> dict[str, Any]:
    """A batch with its current files, and what is still to come; `uploads_at` is the address that an upload's id is appended to."""
    return {
        **of_batch(batch, vin=vin),
        "files": [of_file(row) for row in queries.files_of(batch)],
        "uploads": [of_upload(row, uploads_at) for row in queries.uploads_of(batch)],
    }


def of_upload(row: tuple[Any, ...], uploads_at: str) -> dict[str, Any]:
    """A file on its way, out of a row of `queries.UPLOAD_FIELDS`; made 50,000 times for one answer."""
    pk, name, kind, priority, size, sha256, offset, state, error = row
    upload_id = str(pk)
    return {
        "id": upload_id,
        "name": name,
        "kind": kind,
        "priority": priority,
        "size": size,
        "sha256": sha256 or None,
        "offset": offset,
        "state": state,
        "error": error or None,
        "url": uploads_at + upload_id,
    }


def of_file(row: dict[str, Any]) -> dict[str, Any]:
    """A file, out of a row of `queries.FILE_FIELDS`."""
    error = {"code": row["error_code"], "detail": row["error"], "offset": row["error_offset"]} if row["error_code"] else None
    return {
        "id": row["id"],
        "name": row["name"],
        "kind": row["kind"],
        "size": row["size"],
        "sha256": row["sha256"],
        "state": row["state"],
        "format": row["format"] or None,
        "error": error,
        "partial": row["partial"],
        "duplicate_of": row["duplicate_of_id"],
    }


def of_progress(batch: Batch) -> dict[str, Any]:
    """How far a batch is."""
    return {
        "status": batch.state,
        "total_files": batch.total_files,
        "processed_files": batch.processed_files,
        "failed_files": batch.failed_files,
        "expected_worker_count": batch.expected_worker_count,
        "completed_worker_count": batch.completed_worker_count,
        "percent": batch.percent,
        **queries.bytes_of(batch),
    }


def of_findings(batch: Batch) -> dict[str, Any]:
    """The findings of a batch, the worst first."""
    rows, truncated = queries.findings_of(batch)
    return {
        "status": batch.state,
        "worst_severity": batch.worst_severity or None,
        "count": batch.finding_count,
        "truncated": truncated,
        "results": rows,
    }
