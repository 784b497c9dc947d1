"""Parse: one file is claimed, parsed in its sandbox, and settled at the barrier."""

from __future__ import annotations

from functools import partial
from typing import Any
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
from vehicles.recognition import recognise
from vehicles.signal_databases import databases_for, joined

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
        bound = databases_for(batch.vehicle.platform_id, batch.software)
    if isinstance(claimed, parsing.Exhausted):
        reason = f"The worker died {parsing.MAX_CRASHES} times while it parsed this file."
        settle_file(batch_id, file_id, claimed.fence, parsing.Unreadable(ErrorClass.CRASH, "worker_crashed", reason))
        return
    with structlog.contextvars.bound_contextvars(batch=str(batch_id), file=str(file_id), attempt=claimed.attempt):
        outcome = parsing.parse(
            claimed, parsing.Databases(joined(bound), [str(database) for database in bound]), partial(_choose, bool(bound))
        )
        log.info("parsed", outcome=type(outcome).__name__, code=getattr(outcome, "code", ""))
        if isinstance(outcome, parsing.TryAgain):
            release_file(batch_id, claimed, outcome)
        elif not isinstance(outcome, parsing.Lost):
            settle_file(batch_id, file_id, claimed.fence, outcome)


def _choose(is_bound: bool, summary: dict[str, Any]) -> parsing.Databases | None:
    """Where no signal database is bound, the one that clearly fits the arbitration ids."""
    recognised = None if is_bound else recognise(summary)
    if recognised is None:
        return None
    database = recognised.database
    name = f"{database} of {database.platform}, chosen: it has {recognised.share:.0%} of the frames"
    log.info("signal database recognised", database=str(database.pk), share=recognised.share)
    return parsing.Databases(joined([database]), [name])


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
