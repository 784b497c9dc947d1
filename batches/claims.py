"""Claims a batch for gather or diagnose: a lease and a fence on the batch row, as files have on theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from batches.barrier import end
from batches.models import Batch, BatchState
from batches.transitions import find_locked, move
from common.clock import from_now
from common.errors import ArgusError, DiskFull, StorageUnavailable
from common.heartbeat import Heartbeat
from common.pipeline import enqueue
from common.worker import worker_name
from events.models import EventType
from events.record import record

log = structlog.get_logger("argus.claims")

MAX_ATTEMPTS = 3
SHORTEST_DELAY = timedelta(seconds=10)
LONGEST_DELAY = timedelta(hours=1)
AFTER_LEASE = timedelta(seconds=2)  # the queue goes by a host's clock, the lease by the database's


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that works on a whole batch: from `ready`, by the transition `begin`, in `working`."""

    name: str
    ready: BatchState
    begin: str
    working: BatchState


GATHER = Stage("gather", BatchState.SCATTERED, "begin_gather", BatchState.GATHERING)
DIAGNOSE = Stage("diagnose", BatchState.GATHERED, "begin_diagnose", BatchState.DIAGNOSING)


def run(stage: Stage, batch_id: UUID, work: Callable[[UUID, int], None]) -> None:
    """Claim the batch for `stage` and do `work(batch_id, fence)`; an error becomes a later try or a failed batch."""
    fence = claim(stage, batch_id)
    if fence is None:
        return
    with structlog.contextvars.bound_contextvars(batch=str(batch_id), stage=stage.name):
        try:
            with Heartbeat(lambda: renew(stage, batch_id, fence), longest=settings.PARSE_SECONDS):
                work(batch_id, fence)
        except (StorageUnavailable, DiskFull, OperationalError) as error:
            log.warning("stage interrupted", exc_info=True)
            # A database error's own words may name hosts: those are for the log.
            release(stage, batch_id, fence, error.detail if isinstance(error, ArgusError) else "The database did not answer.")
        except Exception as error:
            log.exception("stage failed")
            fail(stage, batch_id, fence, f"{stage.name}_error", f"{type(error).__name__}: {error}")


def claim(stage: Stage, batch_id: UUID) -> int | None:
    """The fence of this attempt, or None when there is nothing to do. Ends the batch when too many attempts died."""
    with transaction.atomic():
        batch = find_locked(batch_id)
        if batch is None:
            return None
        if batch.state == stage.working:
            if not Batch.objects.filter(pk=batch_id, lease_until__lt=Now()).exists():
                return None
            if batch.attempt >= MAX_ATTEMPTS:
                end(batch, "worker_crashed", f"The worker died or was stopped {batch.attempt} times in {stage.name}.")
                return None
        elif batch.state == stage.ready:
            batch.attempt = 0
            move(batch, stage.begin)
        else:
            return None
        Batch.objects.filter(pk=batch_id).update(
            fence=batch.fence + 1,
            attempt=batch.attempt + 1,
            lease_until=from_now(timedelta(seconds=settings.ARGUS_LEASE_SECONDS)),
            worker=worker_name(),
        )
        return batch.fence + 1


def renew(stage: Stage, batch_id: UUID, fence: int) -> bool:
    """Renew the lease; False when it is no longer this attempt's."""
    mine = Batch.objects.filter(pk=batch_id, fence=fence, state=stage.working)
    return bool(mine.update(lease_until=from_now(timedelta(seconds=settings.ARGUS_LEASE_SECONDS))))


def still_mine(stage: Stage, batch_id: UUID, fence: int) -> Batch | None:
    """The locked batch if this attempt still holds it; the caller is in a transaction."""
    batch = find_locked(batch_id)
    return batch if batch is not None and batch.state == stage.working and batch.fence == fence else None


def release(stage: Stage, batch_id: UUID, fence: int, reason: str) -> None:
    """Give the batch back and ring it later, after as long again as it has waited: storage or database may be away for long.

    The attempt is not counted; the batch waits until it is cancelled.
    """
    with transaction.atomic():
        batch = still_mine(stage, batch_id, fence)
        if batch is None:
            return
        delay = min(max(timezone.now() - batch.state_changed_at, SHORTEST_DELAY), LONGEST_DELAY)
        # The lease runs on until the next try is due, under a fence that nobody has: the sweep would otherwise ring at once.
        Batch.objects.filter(pk=batch_id).update(fence=batch.fence + 1, attempt=batch.attempt - 1, lease_until=from_now(delay))
        record(batch, EventType.STAGE_RELEASED, {"stage": stage.name, "reason": reason, "delay_s": int(delay.total_seconds())})
        enqueue(stage.name, batch_id, delay=delay + AFTER_LEASE)


def fail(stage: Stage, batch_id: UUID, fence: int, code: str, reason: str) -> None:
    """End the batch as failed in this stage, unless somebody else has it."""
    with transaction.atomic():
        batch = still_mine(stage, batch_id, fence)
        if batch is not None:
            end(batch, code, reason)
