"""How a batch comes in: opened, filled with files, declared complete; and how it goes."""

from __future__ import annotations

from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F

from batches.closing import abandon_batch as abandon_batch  # the way in, step by step
from batches.closing import complete_batch as complete_batch
from batches.models import RUNNING, BatchState, DeletedBatch
from batches.opening import open_batch as open_batch
from batches.opening import open_batch_as as open_batch_as
from batches.receiving import Offer as Offer
from batches.receiving import add_file as add_file
from batches.receiving import begin_upload as begin_upload
from batches.receiving import finish as finish
from batches.receiving import finish_upload as finish_upload
from batches.receiving import largest_file as largest_file
from batches.receiving import take_file as take_file
from batches.receiving import terminate_upload as terminate_upload
from batches.transitions import locked, move
from common.errors import StorageUnavailable
from events.models import EventType
from events.record import record_act
from files import storage, uploads
from files.models import File, FileState

log = structlog.get_logger("argus.intake")


# -- delete ------------------------------------------------------------------------------------------------------------


def delete_batch(batch_id: UUID, *, actor: str) -> None:
    """Remove a batch with everything that belongs to it; what remains is the event that it was deleted, by whom.

    1. Stop it: nobody may add to it any more, and whoever works on it meets a higher fence.
    2. Remove the objects. If the storage fails here, the rows still say what there is to remove: the same call goes on.
    3. Remove the rows and write the event, in one transaction.
    4. Remove what a slow sender or worker has written since.

    Raises NotFound, StorageUnavailable.
    """
    with transaction.atomic():
        batch = locked(batch_id)
        if batch.state == BatchState.PENDING:
            move(batch, "abandon", actor=actor, reason="deleted")
        elif batch.state in RUNNING:
            batch.fence += 1
            move(batch, "cancel", actor=actor, reason="deleted")
        uploads.end(uploads.coming(batch.pk))
        File.objects.filter(batch=batch).update(fence=F("fence") + 1)
    prefixes, late = _prefixes(batch_id)
    for prefix in prefixes:
        storage.delete_prefix(prefix)
    with transaction.atomic():
        batch = locked(batch_id)
        told = {
            "batch_id": str(batch.pk),
            "vehicle_id": str(batch.vehicle_id),
            "files": batch.total_files,
            "bytes": batch.total_bytes,
            "received_at": batch.created_at.isoformat(),
        }
        batch.delete()
        DeletedBatch.objects.create(id=batch_id, vehicle_id=batch.vehicle_id)
        record_act(EventType.BATCH_DELETED, told, actor=actor)
    try:
        for prefix in late:
            storage.delete_prefix(prefix)
    except StorageUnavailable:
        log.warning("late objects of a deleted batch are left to the sweep", batch_id=str(batch_id))


def _prefixes(batch_id: UUID) -> tuple[list[str], list[str]]:
    """Under which keys a batch may have objects, and under which of them somebody may still write.

    The files' results lie under the files' own ids; a file that was never tried has none.
    """
    of_batch = [uploads.raw_prefix(batch_id), f"results/batches/{batch_id}"]
    tried = list(File.objects.filter(batch_id=batch_id, attempt__gt=0).values_list("pk", "state"))
    results = [f"results/{file_id}" for file_id, _ in tried]
    running = [f"results/{file_id}" for file_id, state in tried if state == FileState.PARSING]
    return of_batch + results, of_batch + running
