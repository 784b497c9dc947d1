"""Retrigger: what ops do to a batch that ended or runs; one function each, called by the admin and the API alike."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db import transaction
from django_fsm import can_proceed

from batches.models import Batch, BatchState
from batches.transitions import locked, move
from common.errors import NothingSelected, WrongState
from common.pipeline import BULK_ROWS, enqueue
from events.models import EventType
from events.record import record
from files.models import READABLE, File, FileState


class SomebodyElseActed(WrongState):
    code = "somebody_else_acted"
    title = "Somebody else has acted on this batch meanwhile"
    action = "Look at the batch again."


def retry_failed_files(batch_id: UUID, *, actor: str, seen_fence: int, reason: str = "") -> Batch:
    """Parse the failed files of an ended batch again; the others keep their results. Raises NothingSelected without failed files."""
    with transaction.atomic():
        batch = take(batch_id, "rerun_files", seen_fence)
        failed = list(File.objects.select_for_update().current().filter(batch=batch, state=FileState.FAILED))
        return rerun(batch, failed, "retry_failed_files", actor, reason)


def reprocess(batch_id: UUID, *, actor: str, seen_fence: int, reason: str = "") -> Batch:
    """Parse every file of an ended batch again: a newer parser or signal database."""
    with transaction.atomic():
        batch = take(batch_id, "rerun_files", seen_fence)
        return rerun(batch, list(File.objects.select_for_update().current().filter(batch=batch)), "reprocess", actor, reason)


def retry_stage(batch_id: UUID, *, actor: str, seen_fence: int, reason: str = "") -> Batch:
    """Go on where a batch failed: its failed files again, or gather, or diagnose."""
    stage = Batch.objects.filter(pk=batch_id).values_list("failed_stage", flat=True).first()
    if stage == BatchState.DIAGNOSING:
        return resume(batch_id, "retry_diagnose", "diagnose", actor, seen_fence, reason)
    if stage == BatchState.GATHERING:
        return resume(batch_id, "regather", "gather", actor, seen_fence, reason)
    return retry_failed_files(batch_id, actor=actor, seen_fence=seen_fence, reason=reason)


def continue_without_failed(batch_id: UUID, *, actor: str, seen_fence: int, reason: str = "") -> Batch:
    """Gather what could be read, of a batch that failed at the barrier. Raises NothingSelected when nothing could."""
    with transaction.atomic():
        batch = take(batch_id, "regather", seen_fence)
        if batch.failed_stage != BatchState.SCATTERING:
            raise WrongState("Only a batch that failed at the barrier can go on without its failed files.")
        if batch.processed_files == 0:
            raise NothingSelected("None of the files could be read.")
        return start(batch, "regather", "gather", "continue_without_failed", actor, reason)


def rediagnose(batch_id: UUID, *, actor: str, seen_fence: int, reason: str = "") -> Batch:
    """Look for findings again in a completed batch: other limits or newer rules."""
    return resume(batch_id, "rediagnose", "diagnose", actor, seen_fence, reason)


def reopen(batch_id: UUID, *, actor: str, seen_fence: int, reason: str = "") -> Batch:
    """Let the vehicle add files to a completed batch."""
    with transaction.atomic():
        batch = take(batch_id, "reopen", seen_fence)
        return start(batch, "reopen", None, "reopen", actor, reason)


def cancel(batch_id: UUID, *, actor: str, seen_fence: int, reason: str = "") -> Batch:
    """Stop a running batch: whoever works on it meets a raised fence, and its late results are dropped."""
    with transaction.atomic():
        batch = locked(batch_id)
        if not can_proceed(batch.cancel):
            raise WrongState(f"The batch is {batch.state}; only a running batch can be cancelled.")
        batch.fence += 1
        return start(batch, "cancel", None, "cancel", actor, reason)


def take(batch_id: UUID, transition: str, seen_fence: int) -> Batch:
    """The locked batch, if nobody acted since the caller looked and the transition is possible."""
    batch = locked(batch_id)
    if batch.fence != seen_fence:
        raise SomebodyElseActed
    if not can_proceed(getattr(batch, transition)):
        raise WrongState(f"That is not possible while the batch is {batch.state}.")
    return batch


def resume(batch_id: UUID, transition: str, stage: str, actor: str, seen_fence: int, reason: str) -> Batch:
    """Move the batch back to before `stage` and ring it."""
    with transaction.atomic():
        return start(take(batch_id, transition, seen_fence), transition, stage, transition, actor, reason)


def rerun(batch: Batch, files: list[File], what: str, actor: str, reason: str) -> Batch:
    """Supersede `files` by new ones for the same stored objects, and scatter."""
    if not files:
        raise NothingSelected
    supersede(files)
    batch.failed_files -= sum(file.state == FileState.FAILED for file in files)
    batch.processed_files -= sum(file.state in READABLE for file in files)
    return start(batch, "rerun_files", "scatter", what, actor, reason, [str(file.pk) for file in files])


def supersede(files: Iterable[File]) -> None:
    """A file is processed once: each gets a successor, and a late result of the old one meets a raised fence."""
    old = list(files)
    new = [
        File(
            batch_id=file.batch_id,
            name=file.name,
            kind=file.kind,
            size=file.size,
            sha256=file.sha256,
            storage_key=file.storage_key,
            duplicate_of_id=file.duplicate_of_id,
        )
        for file in old
    ]
    File.objects.bulk_create(new, batch_size=BULK_ROWS)
    for file, successor in zip(old, new, strict=True):
        file.superseded_by = successor
        file.fence += 1
    File.objects.bulk_update(old, ["superseded_by", "fence"], batch_size=BULK_ROWS)


def start(batch: Batch, transition: str, stage: str | None, what: str, actor: str, reason: str, files: list[str] | None = None) -> Batch:
    """Make the transition, note who wanted it and why, ring the stage."""
    record(
        batch,
        EventType.RETRY_REQUESTED,
        {"what": what, "reason": reason, "files": (files or [])[:100], "file_count": len(files or [])},
        actor=actor,
    )
    move(batch, transition, actor=actor)
    if stage:
        enqueue(stage, batch.pk)
    return batch
