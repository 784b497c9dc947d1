"""Upload (bytes on their way) and File (one stored object, processed once)."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django_fsm import ConcurrentTransitionMixin, FSMField, transition

from common.clock import EPOCH


class FileState(models.TextChoices):
    """The life of a file; the names are fixed."""

    PENDING = "pending"
    PARSING = "parsing"
    PARSED = "parsed"
    AGGREGATING = "aggregating"
    COMPLETED = "completed"
    FAILED = "failed"


class ErrorClass(models.TextChoices):
    """Why a file failed: input is final at once, crash after three tries, infra is not counted."""

    INPUT = "input"
    CRASH = "crash"
    INFRA = "infra"


READABLE = (FileState.PARSED, FileState.AGGREGATING, FileState.COMPLETED)
NAME_BYTES = 255


class FileQuerySet(models.QuerySet["File"]):
    """Sets of files; the bulk steps move every file of a batch at once, each from exactly one state."""

    def current(self) -> FileQuerySet:
        """Files that count: a retried file is superseded by its successor."""
        return self.filter(superseded_by__isnull=True)

    def readable(self) -> FileQuerySet:
        """Current files that have a result."""
        return self.current().filter(state__in=READABLE)

    def begin_aggregating(self) -> int:
        """parsed -> aggregating, for all in the set; the number of files moved."""
        return self.current().filter(state=FileState.PARSED).update(state=FileState.AGGREGATING)

    def finish_aggregating(self) -> int:
        """aggregating -> completed, for all in the set; the number of files moved."""
        return self.current().filter(state=FileState.AGGREGATING).update(state=FileState.COMPLETED)


class File(ConcurrentTransitionMixin, models.Model):
    """One stored object that is processed once; a retry is a new File for the same object."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    batch = models.ForeignKey("batches.Batch", on_delete=models.CASCADE, related_name="files", db_index=False)
    state = FSMField(choices=FileState.choices, default=FileState.PENDING, protected=True, editable=False)
    superseded_by = models.ForeignKey("self", null=True, editable=False, on_delete=models.SET_NULL, related_name="supersedes")

    # What the vehicle gave. The name is data: it never becomes part of a storage key.
    name = models.CharField(max_length=NAME_BYTES)
    kind = models.CharField(max_length=32, blank=True, help_text="what the vehicle says it is")
    size = models.PositiveBigIntegerField(editable=False)
    sha256 = models.CharField(max_length=64, editable=False)
    storage_key = models.CharField(max_length=200, editable=False)
    duplicate_of = models.ForeignKey(
        "self", null=True, editable=False, on_delete=models.SET_NULL, related_name="duplicates", help_text="same bytes of the same vehicle"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    # Who works on it: see files.parsing.
    attempt = models.PositiveIntegerField(default=0, editable=False)
    crash_count = models.PositiveIntegerField(default=0, editable=False)
    fence = models.PositiveIntegerField(default=0, editable=False)
    lease_until = models.DateTimeField(default=EPOCH, editable=False)
    next_attempt_at = models.DateTimeField(default=EPOCH, editable=False)
    worker = models.CharField(max_length=150, blank=True, editable=False)
    progress_bytes = models.PositiveBigIntegerField(default=0, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    settled_at = models.DateTimeField(null=True, editable=False)

    # What came of it.
    result_key = models.CharField(max_length=200, blank=True, editable=False)
    format = models.CharField(max_length=32, blank=True, editable=False)
    detection = models.CharField(max_length=200, blank=True, editable=False, help_text="why it was taken for this format")
    parser_version = models.CharField(max_length=32, blank=True, editable=False)
    databases = models.JSONField(default=list, editable=False, help_text="signal databases it was decoded with")
    facts = models.JSONField(default=dict, editable=False, help_text="counts, time range and quality of the recording")
    partial = models.BooleanField(default=False, editable=False, help_text="some byte ranges could not be read")
    error_class = models.CharField(max_length=8, blank=True, choices=ErrorClass.choices, editable=False)
    error_code = models.CharField(max_length=32, blank=True, editable=False)
    error = models.TextField(blank=True, editable=False)
    error_offset = models.PositiveBigIntegerField(null=True, editable=False)

    objects = FileQuerySet.as_manager()

    class Meta:
        ordering = ["batch", "created_at", "id"]
        indexes = [
            models.Index(fields=["batch", "state"], name="file_batch_state"),
            # list, newest first; failed files grouped by cause
            models.Index(fields=["-created_at", "-id"], name="file_newest"),
            models.Index(fields=["error_code", "-created_at", "-id"], condition=Q(state=FileState.FAILED), name="file_failed_cause"),
            # the oldest file with the same bytes: one that a vehicle sends every day has thousands
            models.Index(fields=["sha256", "created_at", "id"], name="file_same_bytes"),
            models.Index(fields=["batch", "name"], name="file_batch_name"),
            models.Index(fields=["next_attempt_at"], condition=Q(state=FileState.PENDING), name="file_due"),
            models.Index(fields=["lease_until"], condition=Q(state=FileState.PARSING), name="file_lease"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=FileState.values), name="file_state_known"),
            models.CheckConstraint(condition=Q(size__gt=0), name="file_not_empty"),
            models.CheckConstraint(condition=~Q(storage_key="") & ~Q(sha256=""), name="file_is_stored"),
            models.CheckConstraint(
                condition=(Q(state=FileState.FAILED) & ~Q(error_class="") & ~Q(error_code=""))
                | (~Q(state=FileState.FAILED) & Q(error_class="", error_code="")),
                name="file_failed_has_reason",
            ),
            models.CheckConstraint(condition=~Q(state__in=READABLE) | ~Q(result_key=""), name="file_readable_has_result"),
            models.CheckConstraint(condition=~Q(superseded_by=F("id")), name="file_not_its_own_successor"),
        ]

    def __str__(self) -> str:
        return self.name

    @transition(state, source=FileState.PENDING, target=FileState.PARSING)
    def begin_parsing(self) -> None:
        """A worker has claimed the file."""

    @transition(state, source=FileState.PARSING, target=FileState.PARSED)
    def finish_parsing(self, result_key: str) -> None:
        """The result is stored under `result_key`."""
        self.result_key = result_key

    @transition(state, source=FileState.PARSED, target=FileState.AGGREGATING)
    def aggregate(self) -> None:
        """The batch is being gathered (in bulk: FileQuerySet.begin_aggregating)."""

    @transition(state, source=FileState.AGGREGATING, target=FileState.COMPLETED)
    def finish(self) -> None:
        """The batch's results contain this file (in bulk: FileQuerySet.finish_aggregating)."""

    @transition(state, source=[FileState.PARSING, FileState.PARSED, FileState.AGGREGATING], target=FileState.FAILED)
    def fail(self, error_class: str, code: str, reason: str, offset: int | None = None) -> None:
        """The file gives no result; `offset` is the byte where reading went wrong."""
        self.error_class, self.error_code, self.error, self.error_offset = error_class, code, reason[:2000], offset


class UploadState(models.TextChoices):
    """The life of an upload."""

    OPEN = "open"
    VERIFYING = "verifying"
    FINISHED = "finished"
    FAILED = "failed"
    EXPIRED = "expired"


COMING = (UploadState.OPEN, UploadState.VERIFYING)
FRUITLESS = (UploadState.FAILED, UploadState.EXPIRED)


class Way(models.TextChoices):
    """How the bytes of an upload come; empty until the first of them."""

    TUS = "tus", "tus"
    PUT = "put", "PUT"
    FORM = "form", "form"
    DIRECT = "direct", "straight to the store"


class Upload(models.Model):
    """Bytes on their way in: becomes the File of the same id when the last byte is verified.

    Where the bytes end is asked of the storage; `offset` is what was last said of it. One writer at a time: it has the row's `generation`,
    renews `lease_until` while it lives and `heard_at` while bytes come, and leaves when the generation is no longer its own.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    batch = models.ForeignKey("batches.Batch", on_delete=models.CASCADE, related_name="uploads", db_index=False)
    state = models.CharField(max_length=9, choices=UploadState.choices, default=UploadState.OPEN, editable=False)
    way = models.CharField(max_length=6, choices=Way.choices, blank=True, editable=False)
    name = models.CharField(max_length=NAME_BYTES)
    kind = models.CharField(max_length=32, blank=True)
    priority = models.PositiveSmallIntegerField(default=0, help_text="the vehicle sends the highest first")
    declared = models.BooleanField(default=False, editable=False, help_text="announced when the batch was opened")
    declared_size = models.PositiveBigIntegerField(null=True)
    declared_sha256 = models.CharField(max_length=64, blank=True)
    metadata = models.TextField(blank=True, editable=False, help_text="Upload-Metadata as it came")
    offset = models.PositiveBigIntegerField(default=0)
    storage_key = models.CharField(max_length=200, blank=True, help_text="empty once the bytes of a fruitless upload are gone")
    unchecked_from = models.PositiveBigIntegerField(
        null=True, editable=False, help_text="bytes from here on came with a checksum still open"
    )
    direct_part_size = models.PositiveBigIntegerField(
        null=True, editable=False, help_text="bytes of each part but the last, where they go straight to the store"
    )
    remote_id = models.CharField(max_length=1024, blank=True, editable=False, help_text="multipart upload of the S3 store")
    error_code = models.CharField(max_length=32, blank=True, editable=False, help_text="why all bytes had to come again")
    created_at = models.DateTimeField(auto_now_add=True)
    touched_at = models.DateTimeField(default=timezone.now, editable=False)
    generation = models.PositiveIntegerField(default=0, editable=False)
    lease_until = models.DateTimeField(default=EPOCH, editable=False)
    heard_at = models.DateTimeField(default=EPOCH, editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["batch", "state"], name="upload_batch_state"),
            # a file that is offered again
            models.Index(fields=["batch", "name"], condition=Q(state__in=COMING), name="upload_name"),
            models.Index(fields=["touched_at"], condition=Q(state__in=COMING), name="upload_idle"),
            # what the sweep looks for: writers that ended without a goodbye; bytes of uploads that came to nothing
            models.Index(fields=["lease_until"], condition=Q(state__in=COMING, lease_until__gt=EPOCH), name="upload_left"),
            models.Index(fields=["touched_at"], condition=Q(state__in=FRUITLESS) & ~Q(storage_key=""), name="upload_fruitless"),
        ]
        constraints = [models.CheckConstraint(condition=Q(state__in=UploadState.values), name="upload_state_known")]

    def __str__(self) -> str:
        return self.name
