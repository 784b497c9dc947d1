"""Barrier: every file that settles is counted under the batch's lock, and the last one opens the way to gather."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from batches.models import Batch, BatchState
from batches.transitions import find_locked, move
from common.pipeline import enqueue
from events.models import EventType
from events.record import record
from files import parsing
from files.models import File, FileState
from vehicles.models import FailurePolicy


def settle_file(batch_id: UUID, file_id: UUID, fence: int, outcome: parsing.Readable | parsing.Unreadable) -> bool:
    """parsing -> parsed | failed, counted once; False for the late result of a lost lease, a retried file or a stopped batch.

    Without the lock on the batch row two last files would each see the other unfinished, and nobody would gather.
    """
    with transaction.atomic():
        batch = find_locked(batch_id)
        if batch is None or batch.state != BatchState.SCATTERING:
            return False
        file = File.objects.select_for_update().filter(pk=file_id, fence=fence, state=FileState.PARSING, superseded_by__isnull=True).first()
        if file is None:
            return False
        settle(file, outcome)
        if file.state == FileState.PARSED:
            batch.processed_files += 1
            record(batch, EventType.FILE_PARSED, {"batch_id": str(batch.pk), "file_id": str(file.pk)})
        else:
            batch.failed_files += 1
            record(batch, EventType.FILE_FAILED, {"batch_id": str(batch.pk), "file_id": str(file.pk), "code": file.error_code})
        batch.completed_worker_count += 1
        if batch.barrier_is_open:
            leave(batch)
        else:
            batch.save()
    return True


def settle(file: File, outcome: parsing.Readable | parsing.Unreadable) -> None:
    """Write what came of the attempt into the file."""
    if isinstance(outcome, parsing.Readable):
        summary = outcome.summary
        file.finish_parsing(outcome.result_key)
        file.format, file.parser_version = summary["format"], summary["parser_version"]
        file.detection = summary["detection"]["reason"][:200]
        file.databases, file.partial, file.facts = outcome.databases, summary["partial"], parsing.facts(summary)
        file.progress_bytes = file.size
    else:
        file.fail(outcome.error_class, outcome.code, outcome.reason, outcome.offset)
    file.settled_at = timezone.now()
    file.save()


def leave(batch: Batch) -> None:
    """The last file has settled: on to gather, or the end of the batch."""
    if batch.processed_files == 0:
        end(batch, "no_file_readable", "None of the files could be read.")
    elif batch.failed_files and batch.vehicle.failure_policy == FailurePolicy.STRICT:
        end(
            batch, "files_failed", f"{batch.failed_files} of {batch.total_files} files could not be read, and this fleet wants all of them."
        )
    else:
        move(batch, "open_barrier")
        enqueue("gather", batch.pk)


def end(batch: Batch, code: str, reason: str) -> None:
    """Fail the batch, with the event that says why."""
    move(batch, "fail", code, reason)
    record(batch, EventType.BATCH_FAILED, {"stage": batch.failed_stage, "code": code, "reason": batch.error})
