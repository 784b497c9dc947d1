"""Parse: one file is claimed, parsed in its sandbox, and settled at the barrier."""

from __future__ import annotations

from uuid import UUID

import structlog
from django.db import transaction

from batches.barrier import settle_file
from batches.models import BatchState
from batches.transitions import find_locked
from common.pipeline import enqueue
from common.worker import worker_name
from events.models import EventType
from events.record import record
from files import parsing
from files.models import ErrorClass, File
from vehicles.signal_databases import active_databases, joined

log = structlog.get_logger("argus.parse")


def parse_file(file_id: UUID) -> None:
    """Parse one file if it is due and nobody else has it."""
    batch_id = File.objects.filter(pk=file_id).values_list("batch_id", flat=True).first()
    if batch_id is None:
        return
    # Batch first, then file: the order in which everybody locks them.
    with transaction.atomic():
        batch = find_locked(batch_id)
        if batch is None or batch.state != BatchState.SCATTERING:
            return
        claimed = parsing.claim(file_id, worker_name())
        if claimed is None:
            return
        if isinstance(claimed, parsing.NotDue):
            enqueue("parse", file_id, delay=claimed.delay)
            return
        databases = active_databases(batch.vehicle.platform_id)
    if isinstance(claimed, parsing.Exhausted):
        reason = f"The worker died {parsing.MAX_CRASHES} times while it parsed this file."
        settle_file(batch_id, file_id, claimed.fence, parsing.Unreadable(ErrorClass.CRASH, "worker_crashed", reason))
        return
    with structlog.contextvars.bound_contextvars(batch=str(batch_id), file=str(file_id), attempt=claimed.attempt):
        outcome = parsing.parse(claimed, joined(databases), [str(database) for database in databases])
        log.info("parsed", outcome=type(outcome).__name__, code=getattr(outcome, "code", ""))
        if isinstance(outcome, parsing.TryAgain):
            release_file(batch_id, claimed, outcome)
        elif not isinstance(outcome, parsing.Lost):
            settle_file(batch_id, file_id, claimed.fence, outcome)


def release_file(batch_id: UUID, claimed: parsing.Claim, again: parsing.TryAgain) -> None:
    """Give the file back and ring it when its delay is over."""
    with transaction.atomic():
        batch = find_locked(batch_id)
        if batch is None or batch.state != BatchState.SCATTERING or not parsing.release(claimed, again):
            return
        record(
            batch,
            EventType.FILE_RELEASED,
            {
                "file_id": str(claimed.file_id),
                "code": again.code,
                "reason": again.reason[:500],
                "attempt": claimed.attempt,
                "delay_s": int(again.delay.total_seconds()),
            },
        )
        enqueue("parse", claimed.file_id, delay=again.delay)
