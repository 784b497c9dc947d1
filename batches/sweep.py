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

from batches import closing, idempotency
from batches.models import Batch, BatchState
from common.clock import from_now
from common.errors import ArgusError
from common.pipeline import enqueue_many
from files import uploads
from files.models import File, FileState

log = structlog.get_logger("argus.sweep")

UNHEARD = timedelta(seconds=60)
MOST = 500
STRAYS_MINUTE = 17  # once an hour: it looks at every key

# A state whose next step is only a doorbell away -> the stage to ring.
READY = {BatchState.UPLOADED: "scatter", BatchState.SCATTERED: "gather", BatchState.GATHERED: "diagnose"}
WORKING = {BatchState.GATHERING: "gather", BatchState.DIAGNOSING: "diagnose"}


def sweep() -> dict[str, int]:
    """1. leases that ran out; 2. with an empty queue, work that is due all the same; 3. what is too old. The doorbells by stage."""
    rung = ring_expired()
    if not OrmQ.objects.filter(lock__lt=timezone.now()).exists():
        # With a full queue, what waits has its doorbell in there; only an empty one proves that a doorbell was lost.
        for stage, count in ring_forgotten().items():
            rung[stage] = rung.get(stage, 0) + count
    ended = {"abandoned_batches": closing.abandon_silent(), **sweep_uploads(), "forgotten_answers": idempotency.forget_old()}
    if rung or any(ended.values()):
        log.warning("swept", **ended, **rung)
    return rung


def sweep_uploads() -> dict[str, int]:
    """Uploads whose bytes are all there are rung, idle ones expire, bytes that nobody will ask for are removed; how many of each."""
    done = {"whole_uploads": 0, "expired_uploads": 0, "collected_uploads": 0, "stray_parts": 0}
    try:
        whole = uploads.left_whole()
        with transaction.atomic():
            enqueue_many("verify", whole)
        done["whole_uploads"] = len(whole)
        done["expired_uploads"] = uploads.expire()
        done["collected_uploads"] = uploads.collect()
        if timezone.now().minute == STRAYS_MINUTE:
            done["stray_parts"] = uploads.collect_strays()
    except ArgusError as error:
        log.warning("uploads not swept", reason=error.detail)
    return done


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
