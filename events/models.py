"""The event table: rows are written in the transaction of the change they tell of, and never changed."""

from __future__ import annotations

import uuid

from django.db import models


class EventType(models.TextChoices):
    """What can happen; the names are part of the published contract."""

    BATCH_OPENED = "BatchOpened"
    BATCH_CREATED = "BatchCreated"
    STATUS_CHANGED = "StatusChanged"
    FILE_ADDED = "FileAdded"
    UPLOAD_ENDED = "UploadEnded"
    FILE_PARSED = "FileParsed"
    FILE_FAILED = "FileFailed"
    FILE_RELEASED = "FileReleased"
    STAGE_RELEASED = "StageReleased"
    FILES_ADVANCED = "FilesAdvanced"
    GATHERING_COMPLETED = "GatheringCompleted"
    DIAGNOSIS_COMPLETED = "DiagnosisCompleted"
    BATCH_FAILED = "BatchFailed"
    RETRY_REQUESTED = "RetryRequested"
    NOTE_ADDED = "NoteAdded"
    BATCH_DELETED = "BatchDeleted"
    TOKEN_CREATED = "TokenCreated"  # noqa: S105
    TOKEN_REVOKED = "TokenRevoked"  # noqa: S105
    TOKEN_REPLACED = "TokenReplaced"  # noqa: S105
    ENROLMENT_TOKEN_CREATED = "EnrolmentTokenCreated"  # noqa: S105
    ENROLMENT_TOKEN_REVOKED = "EnrolmentTokenRevoked"  # noqa: S105
    VEHICLES_PREAPPROVED = "VehiclesPreapproved"
    VEHICLE_ENROLLED = "VehicleEnrolled"
    VEHICLE_ACCEPTED = "VehicleAccepted"
    VEHICLE_REJECTED = "VehicleRejected"
    VEHICLE_RETIRED = "VehicleRetired"
    VEHICLE_RESTORED = "VehicleRestored"
    CERTIFICATE_CHANGED = "CertificateChanged"
    DATABASE_ADDED = "SignalDatabaseAdded"
    CODES_IMPORTED = "FaultCodesImported"


class Event(models.Model):
    """One thing that happened; `seq` is gap-free per batch and in commit order, taken from the locked batch row."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    batch = models.ForeignKey("batches.Batch", null=True, blank=True, on_delete=models.CASCADE, related_name="events", db_index=False)
    seq = models.PositiveIntegerField(null=True, editable=False)
    type = models.CharField(max_length=32, choices=EventType.choices)
    payload = models.JSONField(default=dict)
    actor = models.CharField(max_length=150, default="argus", help_text="who caused it: argus, vehicle:<id>, token:<key id> or user:<name>")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["batch", "seq"]
        indexes = [models.Index(fields=["-created_at", "-id"], name="event_newest")]  # the audit list
        constraints = [
            models.UniqueConstraint(fields=["batch", "seq"], name="event_seq_once_per_batch"),
            models.CheckConstraint(condition=models.Q(type__in=EventType.values), name="event_type_known"),
            models.CheckConstraint(
                condition=models.Q(batch__isnull=True, seq__isnull=True) | models.Q(batch__isnull=False, seq__gte=1),
                name="event_seq_with_batch",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.seq or ''}".strip()
