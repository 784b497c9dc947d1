"""Batch, the aggregate root: which states follow which, and the invariants that hold in all of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django_fsm import ConcurrentTransitionMixin, FSMField, transition

from common.clock import EPOCH


class BatchState(models.TextChoices):
    """The life of a batch; the names are fixed."""

    PENDING = "pending"
    UPLOADED = "uploaded"
    SCATTERING = "scattering"
    SCATTERED = "scattered"
    GATHERING = "gathering"
    GATHERED = "gathered"
    DIAGNOSING = "diagnosing"
    COMPLETED = "completed"
    FAILED = "failed"
    ABANDONED = "abandoned"
    CANCELLED = "cancelled"


S = BatchState
OPEN = (S.PENDING, S.UPLOADED)
RUNNING = (S.UPLOADED, S.SCATTERING, S.SCATTERED, S.GATHERING, S.GATHERED, S.DIAGNOSING)
ENDED = (S.COMPLETED, S.FAILED, S.ABANDONED, S.CANCELLED)
WORKING = (S.SCATTERING, S.GATHERING, S.DIAGNOSING)


class Severity(models.TextChoices):
    """How bad the worst finding of a batch is, the mildest first."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


def failed_in(*stages: BatchState) -> Callable[[Any], bool]:
    """Condition of a transition: the batch failed in one of these states."""
    return lambda batch: batch.failed_stage in stages


class Batch(ConcurrentTransitionMixin, models.Model):
    """The files of one recording session of one vehicle, and how far Argus is with them."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    vehicle = models.ForeignKey("vehicles.Vehicle", on_delete=models.PROTECT, related_name="batches")
    state = FSMField(choices=BatchState.choices, default=BatchState.PENDING, protected=True, editable=False)
    state_changed_at = models.DateTimeField(default=timezone.now, editable=False)
    failed_stage = models.CharField(max_length=16, blank=True, default="", editable=False)
    error_code = models.CharField(max_length=32, blank=True, default="", editable=False)
    error = models.TextField(blank=True, default="", editable=False)

    # What the vehicle says about the session.
    reason = models.CharField(max_length=200, blank=True, editable=False)
    software = models.JSONField(default=dict, blank=True, editable=False)
    clock = models.JSONField(default=dict, blank=True, editable=False)
    declared_from = models.DateTimeField(null=True, editable=False)
    declared_to = models.DateTimeField(null=True, editable=False)
    expected_workers = models.PositiveIntegerField(null=True, editable=False, help_text="of the old API; kept for the record")
    manifest = models.JSONField(
        null=True, editable=False, help_text="which files must arrive: as announced at complete, before it at creation"
    )
    opened_with = models.CharField(max_length=64, blank=True, default="", editable=False, help_text="SHA-256 of what it was opened with")

    created_at = models.DateTimeField(auto_now_add=True)
    uploaded_at = models.DateTimeField(null=True, editable=False)
    completed_at = models.DateTimeField(null=True, editable=False)

    # Current files; superseded ones are not counted.
    total_files = models.PositiveIntegerField(default=0, editable=False)
    processed_files = models.PositiveIntegerField(default=0, editable=False)
    failed_files = models.PositiveIntegerField(default=0, editable=False)
    total_bytes = models.PositiveBigIntegerField(default=0, editable=False)
    # Parse tasks of the current run: the barrier opens when both are equal.
    expected_worker_count = models.PositiveIntegerField(default=0, editable=False)
    completed_worker_count = models.PositiveIntegerField(default=0, editable=False)

    # Who works on it: see batches.claims.
    fence = models.PositiveIntegerField(default=1, editable=False)
    attempt = models.PositiveIntegerField(default=0, editable=False)
    lease_until = models.DateTimeField(default=EPOCH, editable=False)
    worker = models.CharField(max_length=150, blank=True, editable=False)
    event_seq = models.PositiveIntegerField(default=0, editable=False)

    # What came of it.
    result_key = models.CharField(max_length=200, blank=True, editable=False)
    recorded_from = models.DateTimeField(null=True, editable=False)
    recorded_to = models.DateTimeField(null=True, editable=False)
    clock_flags = models.JSONField(default=list, editable=False)
    worst_severity = models.CharField(max_length=8, blank=True, choices=Severity.choices, editable=False)
    finding_count = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name_plural = "batches"
        indexes = [
            # list, newest first; list of one state; list of one vehicle
            models.Index(fields=["-created_at", "-id"], name="batch_newest"),
            models.Index(fields=["state", "-created_at", "-id"], name="batch_state_newest"),
            models.Index(fields=["vehicle", "-created_at", "-id"], name="batch_vehicle_newest"),
            models.Index(fields=["worst_severity", "-created_at", "-id"], name="batch_severity_newest"),
            # views that pick a few rows among all: completed with issues, wrong clock
            models.Index(fields=["-created_at", "-id"], condition=Q(state=S.COMPLETED, failed_files__gt=0), name="batch_issues_newest"),
            models.Index(fields=["-created_at", "-id"], condition=~Q(clock_flags=[]), name="batch_clock_newest"),
            models.Index(fields=["lease_until"], condition=Q(state__in=WORKING), name="batch_lease"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=BatchState.values), name="batch_state_known"),
            models.CheckConstraint(
                condition=Q(total_files__gte=F("processed_files") + F("failed_files")), name="batch_counts_within_total"
            ),
            models.CheckConstraint(
                condition=Q(completed_worker_count__lte=F("expected_worker_count")), name="batch_workers_within_expected"
            ),
            models.CheckConstraint(condition=~Q(state__in=RUNNING) | Q(total_files__gt=0), name="batch_running_has_files"),
            models.CheckConstraint(
                condition=Q(state__in=[S.COMPLETED, S.FAILED], completed_at__isnull=False)
                | (~Q(state__in=[S.COMPLETED, S.FAILED]) & Q(completed_at__isnull=True)),
                name="batch_completed_at_when_ended",
            ),
            models.CheckConstraint(
                condition=(Q(state=S.FAILED) & ~Q(failed_stage="")) | (~Q(state=S.FAILED) & Q(failed_stage="")),
                name="batch_failed_has_stage",
            ),
            models.CheckConstraint(condition=Q(failed_stage__in=["", *WORKING]), name="batch_failed_stage_known"),
            models.CheckConstraint(
                condition=Q(expected_workers__isnull=True) | Q(expected_workers__gt=0), name="batch_expected_workers_positive"
            ),
        ]
        permissions = [
            ("retrigger_batch", "Can run batches or files again, and reopen batches"),
            ("cancel_batch", "Can cancel running batches"),
            ("comment_batch", "Can write notes"),
            ("download_file", "Can download stored files"),
        ]

    def __str__(self) -> str:
        return f"batch {str(self.pk)[:8]}"

    # -- what the counters say ---------------------------------------------------------------------------------------

    @property
    def percent(self) -> int:
        """Progress over all stages, 0 to 100: parsing is 90 of them, gather and diagnose 5 each."""
        done = {S.SCATTERED: 90, S.GATHERING: 90, S.GATHERED: 95, S.DIAGNOSING: 95, S.COMPLETED: 100}
        if self.state == S.SCATTERING and self.expected_worker_count:
            return 90 * self.completed_worker_count // self.expected_worker_count
        return done.get(S(self.state), 0)

    @property
    def has_issues(self) -> bool:
        """Completed, but not with every file."""
        return self.state == S.COMPLETED and self.failed_files > 0

    @property
    def barrier_is_open(self) -> bool:
        """Every parse task of this run has settled."""
        return self.completed_worker_count == self.expected_worker_count

    # -- what follows what -------------------------------------------------------------------------------------------

    @transition(state, source=S.PENDING, target=S.UPLOADED)
    def complete(self, manifest: list[dict[str, Any]] | None, counts: dict[str, int]) -> None:
        """The vehicle says that everything has arrived; `counts` are processed and failed of files kept from before a reopen.

        A `manifest` takes the place of the one given when the batch was opened.
        """
        if manifest is not None:
            self.manifest = manifest
        self.uploaded_at = timezone.now()
        self.processed_files, self.failed_files = counts["processed"], counts["failed"]

    @transition(state, source=S.UPLOADED, target=S.SCATTERING)
    def begin_scatter(self, parse_tasks: int) -> None:
        """`parse_tasks` files are about to be parsed."""
        self.expected_worker_count, self.completed_worker_count = parse_tasks, 0

    @transition(state, source=S.SCATTERING, target=S.SCATTERED)
    def open_barrier(self) -> None:
        """The last file of the run has settled."""

    @transition(state, source=S.SCATTERED, target=S.GATHERING)
    def begin_gather(self) -> None:
        """A worker merges the results."""

    @transition(state, source=S.GATHERING, target=S.GATHERED)
    def finish_gather(self, result_key: str) -> None:
        """The merged result is stored under `result_key`."""
        self.result_key = result_key

    @transition(state, source=S.GATHERED, target=S.DIAGNOSING)
    def begin_diagnose(self) -> None:
        """A worker looks for findings."""

    @transition(state, source=S.DIAGNOSING, target=S.COMPLETED)
    def finish(self, worst_severity: str, finding_count: int) -> None:
        """The findings are written."""
        self.worst_severity, self.finding_count, self.completed_at = worst_severity, finding_count, timezone.now()

    @transition(state, source=list(WORKING), target=S.FAILED)
    def fail(self, code: str, reason: str) -> None:
        """The stage cannot end; the state is still the source here."""
        self.failed_stage, self.error_code, self.error = (
            str(self.state),
            code,
            reason.replace("\x00", "\ufffd")[:2000],
        )  # PostgreSQL takes no NUL
        self.completed_at = timezone.now()

    @transition(state, source=S.COMPLETED, target=S.PENDING, permission="batches.retrigger_batch")
    def reopen(self) -> None:
        """The vehicle may add files; earlier files keep their results and are counted again at complete."""
        self._clear()
        self.processed_files = self.failed_files = 0
        self.uploaded_at = None
        self.manifest = None  # it named the files of the first time; what comes now is announced at the next complete

    @transition(state, source=[S.COMPLETED, S.FAILED], target=S.UPLOADED, permission="batches.retrigger_batch")
    def rerun_files(self) -> None:
        """Some or all files are parsed again (retry, reprocess)."""
        self._clear()

    @transition(
        state, source=S.FAILED, target=S.SCATTERED, conditions=[failed_in(S.SCATTERING, S.GATHERING)], permission="batches.retrigger_batch"
    )
    def regather(self) -> None:
        """Gather again after it failed, or go on without the files that failed at the barrier."""
        self._clear()

    @transition(state, source=S.FAILED, target=S.GATHERED, conditions=[failed_in(S.DIAGNOSING)], permission="batches.retrigger_batch")
    def retry_diagnose(self) -> None:
        """Diagnose again after it failed."""
        self._clear()

    @transition(state, source=S.COMPLETED, target=S.GATHERED, permission="batches.retrigger_batch")
    def rediagnose(self) -> None:
        """Diagnose a finished batch again: newer rules or limits."""
        self._clear()

    @transition(state, source=S.PENDING, target=S.ABANDONED)
    def abandon(self) -> None:
        """The vehicle lost the files, or the deadline for uploading passed."""

    @transition(state, source=list(RUNNING), target=S.CANCELLED, permission="batches.cancel_batch")
    def cancel(self) -> None:
        """Somebody stopped it; whoever works on it finds the fence raised."""

    def _clear(self) -> None:
        """A new run: what the last one said is gone, and its late results meet a higher fence."""
        self.failed_stage = self.error_code = self.error = ""
        self.completed_at = None
        self.fence += 1
        self.attempt = 0
        self.lease_until = EPOCH


class Note(models.Model):
    """What somebody wrote about a batch."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="notes")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    text = models.TextField(max_length=10_000)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return self.text[:60]


class DeletedBatch(models.Model):
    """What remains of a deleted batch beside the event: its id is not used again, and deleting it again is no error."""

    id = models.UUIDField(primary_key=True, editable=False)
    vehicle_id = models.UUIDField(editable=False)
    deleted_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"deleted batch {str(self.pk)[:8]}"


class KeptAnswer(models.Model):
    """The answer to a call with an Idempotency-Key, written in the transaction of what the call did: see batches.idempotency."""

    principal = models.CharField(max_length=150, editable=False, help_text="who called, as events name it")
    key = models.CharField(max_length=255, editable=False)
    fingerprint = models.CharField(max_length=64, editable=False, help_text="SHA-256 of method, address and body")
    status = models.PositiveSmallIntegerField(editable=False)
    headers = models.JSONField(default=dict, editable=False)
    body = models.BinaryField(editable=False, help_text="deflated")
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["principal", "key"], name="kept_answer_once_per_key")]

    def __str__(self) -> str:
        return f"{self.status} for {self.key[:40]}"
