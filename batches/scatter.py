"""Scatter: one parse task for each file that has not been parsed."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from batches.models import BatchState
from batches.transitions import find_locked, move
from common.pipeline import enqueue, enqueue_many
from files.models import File, FileState


def scatter_batch(batch_id: UUID) -> None:
    """Move an uploaded batch to scattering and ring its files; any other state means that somebody else did."""
    with transaction.atomic():
        batch = find_locked(batch_id)
        if batch is None or batch.state != BatchState.UPLOADED:
            return
        waiting = list(File.objects.current().filter(batch=batch, state=FileState.PENDING).values_list("pk", flat=True))
        move(batch, "begin_scatter", len(waiting))
        if waiting:
            enqueue_many("parse", waiting)
        else:
            # A reopened batch to which nothing was added: every file has its result already.
            move(batch, "open_barrier")
            enqueue("gather", batch.pk)
