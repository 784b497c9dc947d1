"""Sweep: rings again what is due and was not rung, or whose worker died; the rows decide, so a ring too many does no harm."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django_q.models import OrmQ

from batches.models import Batch, BatchState
from common.clock import from_now
from common.errors import ArgusError
from common.pipeline import enqueue_many
from files import uploads
from files.models import File, FileState

log = structlog.get_logger("argus.sweep")

UNHEARD = timedelta(seconds=60)
LOST_UPLOAD = timedelta(days=1)
MOST = 500

# A state whose next step is only a doorbell away -> the stage to ring.
READY = {BatchState.UPLOADED: "scatter", BatchState.SCATTERED: "gather", BatchState.GATHERED: "diagnose"}
WORKING = {BatchState.GATHERING: "gather", BatchState.DIAGNOSING: "diagnose"}


def sweep() -> dict[str, int]:
    """1. leases that ran out; 2. with an empty queue, work that is due all the same; 3. bytes of lost uploads. The doorbells by stage."""
    rung = ring_expired()
    if not OrmQ.objects.filter(lock__lt=timezone.now()).exists():
        # With a full queue, what waits has its doorbell in there; only an empty one proves that a doorbell was lost.
        for stage, count in ring_forgotten().items():
            rung[stage] = rung.get(stage, 0) + count
    try:
        collected = uploads.collect(LOST_UPLOAD)
    except ArgusError as error:
        log.warning("uploads not collected", reason=error.detail)
        collected = 0
    if rung or collected:
        log.warning("swept", collected_uploads=collected, **rung)
    return rung


def ring_expired() -> dict[str, int]:
    """Files and batches whose worker stopped renewing its lease; the claim counts the crash."""
    files = File.objects.current().filter(
        state=FileState.PARSING, lease_until__lt=Now(), next_attempt_at__lt=Now(), batch__state=BatchState.SCATTERING
    )
    rung = {"parse": ring("parse", files)}
    for state, stage in WORKING.items():
        rung[stage] = ring(stage, Batch.objects.filter(state=state, lease_until__lt=Now()))
    return {stage: count for stage, count in rung.items() if count}


def ring_forgotten() -> dict[str, int]:
    """Batches and files that wait for a doorbell longer than any should."""
    old = from_now(-UNHEARD)
    waiting = File.objects.current().filter(next_attempt_at__lt=old, state=FileState.PENDING, batch__state=BatchState.SCATTERING)
    rung = {"parse": ring("parse", waiting.filter(batch__state_changed_at__lt=old))}
    for state, stage in READY.items():
        rung[stage] = ring(stage, Batch.objects.filter(state=state, state_changed_at__lt=old))
    return {stage: count for stage, count in rung.items() if count}


def ring(stage: str, rows: QuerySet[Any]) -> int:
    """Ring `stage` for up to 500 of the rows."""
    with transaction.atomic():
        subjects = list(rows.values_list("pk", flat=True)[:MOST])
        if subjects:
            enqueue_many(stage, subjects)
    return len(subjects)
