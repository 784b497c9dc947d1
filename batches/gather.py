"""Gather: the results of all readable files become the statistics of the batch."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import transaction

from batches import claims
from batches.models import Batch
from batches.transitions import move
from common.pipeline import enqueue
from events.models import EventType
from events.record import record
from files import merge, results, storage
from files.models import File
from files.result_files import Json

RESULT_VERSION = 1
COPIES_LISTED = 100


def gather_batch(batch_id: UUID) -> None:
    """Gather a scattered batch, or take over a gather that died."""
    claims.run(claims.GATHER, batch_id, gather)


def gather(batch_id: UUID, fence: int) -> None:
    """1. files -> aggregating; 2. merge; 3. store under this attempt's prefix; 4. point to it, files -> completed, ring diagnose."""
    with transaction.atomic():
        batch = claims.still_mine(claims.GATHER, batch_id, fence)
        if batch is None:
            return
        advance(batch, "begin_aggregating")
    found = results.file_results(batch)
    statistics = {**merge.merge(found), **copies(found)}
    result_key = f"results/batches/{batch_id}/{fence}"
    storage.write_bytes(f"{result_key}/statistics.json", json.dumps(statistics, allow_nan=False).encode())
    with transaction.atomic():
        batch = claims.still_mine(claims.GATHER, batch_id, fence)
        if batch is None:
            return
        time = statistics["time"]
        batch.clock_flags = time["flags"]
        batch.recorded_from, batch.recorded_to = (moment(time[end]) if time["absolute"] else None for end in ("first_ns", "last_ns"))
        move(batch, "finish_gather", result_key)
        advance(batch, "finish_aggregating")
        record(
            batch,
            EventType.GATHERING_COMPLETED,
            {"version": RESULT_VERSION, "total_files": batch.total_files, "chart_files": [f"{result_key}/statistics.json"]},
        )
        enqueue("diagnose", batch.pk)


def copies(found: results.Results) -> Json:
    """The files that were left out because another one of the batch has the same bytes, and how many there are."""
    named = [{"name": name, "same_as": original} for name, original in found.copies[:COPIES_LISTED]]
    return {"copies": named, "copy_count": len(found.copies)}


def advance(batch: Batch, step: str) -> None:
    """Move the batch's files by a bulk step, with one event for all of them."""
    moved = getattr(File.objects.filter(batch=batch), step)()
    if moved:
        record(batch, EventType.FILES_ADVANCED, {"step": step, "files": moved})


def moment(t_ns: int | None) -> datetime | None:
    """A UTC time of the recording, if a calendar can hold it."""
    if t_ns is None:
        return None
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=t_ns // 1000)
    except OverflowError:
        return None
