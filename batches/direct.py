"""Files that go straight to the store: begun here, sent there in parts, and verified by a task before they are files."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from batches.models import OPEN
from batches.receiving import Offer, begin_upload
from batches.transitions import locked
from common.errors import BatchClosed, UploadLost, WrongState
from common.pipeline import enqueue
from files import direct, storage, uploads
from files.direct import Plan
from files.models import Upload, UploadState, Way


def begin(batch_id: UUID, offer: Offer, part_size: int | None) -> tuple[Plan, bool]:
    """Begin to send a file straight to the store, or go on with it; False beside one that was begun before.

    The offer says size and SHA-256. `part_size`: bytes of each part, as the sender would like them.
    Raises NoDirect, the errors of `receiving.begin_upload`, UploadBusy, StorageUnavailable.
    """
    storage.direct(uploads.raw_key(batch_id, batch_id))  # NoDirect before anything is written down
    if verifying := _verifying(batch_id, offer):
        return _ended(verifying), False
    begun = begin_upload(batch_id, offer)
    upload = begun.upload
    if begun.file:
        upload.state = UploadState.FINISHED
        return _ended(upload), False
    goes_on = begun.is_same and upload.way == Way.DIRECT and bool(upload.remote_id)
    try:
        with uploads.writing(upload, way=Way.DIRECT) as writer:
            if not (goes_on and upload.remote_id):
                writer.restart()
                if upload.remote_id:  # parts behind a gap, which count for nothing
                    storage.discard_part(upload.storage_key, upload.remote_id)
                direct.begin(upload, part_size)
            return direct.plan(upload), begun.is_new
    except UploadLost:
        # The store has ended it: the row forgets it, and it begins anew.
        same = Upload.objects.filter(pk=upload.pk, generation=upload.generation, state=UploadState.OPEN)
        if not (goes_on and same.update(remote_id="", offset=0)):
            raise
        return begin(batch_id, offer, part_size)
    except uploads.Finished:
        return begin(batch_id, offer, part_size)


def plan(upload: Upload) -> Plan:
    """Which parts are there, and new addresses for the others.

    Raises NoDirect, WrongState for an upload that comes on another way, UploadExpired, UploadLost, StorageUnavailable.
    """
    if _has_ended(upload):
        return _ended(upload)
    return direct.plan(upload)


def complete(upload: Upload, told: Mapping[int, str]) -> Plan:
    """All parts have been sent: a task verifies them. `told` are ETags by part number, as the store has answered them. May be said again.

    Raises PartsMissing, BatchClosed, the errors of `plan`.
    """
    if _has_ended(upload):
        return _ended(upload)
    direct.need_parts(upload, told)
    with transaction.atomic():
        batch = locked(upload.batch_id)
        if batch.state not in OPEN:
            raise BatchClosed(f"The batch is {batch.state}.", state=str(batch.state))
        # A lease that has run out and not ended: the sweep looks after an upload whose doorbell is lost.
        verifying = {"state": UploadState.VERIFYING, "offset": upload.declared_size, "lease_until": Now(), "touched_at": Now()}
        unheld = Upload.objects.filter(pk=upload.pk, state=UploadState.OPEN, remote_id=upload.remote_id, lease_until__lte=Now())
        if unheld.update(**verifying):
            enqueue("verify", upload.pk)
    upload.refresh_from_db()
    return _ended(upload)


def _verifying(batch_id: UUID, offer: Offer) -> Upload | None:
    """The same file, if all of it was sent and it waits for the task."""
    waiting = uploads.coming(batch_id).filter(state=UploadState.VERIFYING, way=Way.DIRECT)
    return waiting.filter(name=offer.name, declared_size=offer.size, declared_sha256=offer.sha256).first()


def _has_ended(upload: Upload) -> bool:
    """Nothing can be sent any more: it is a File, or about to be one."""
    storage.direct(upload.storage_key or uploads.raw_key(upload.batch_id, upload.pk))  # NoDirect
    if upload.state in (UploadState.VERIFYING, UploadState.FINISHED):
        return True
    uploads.need_coming(upload.state)
    if upload.way != Way.DIRECT:
        raise WrongState("The file comes by another way.", way=str(upload.way))
    return False


def _ended(upload: Upload) -> Plan:
    return Plan(upload, upload.direct_part_size or 0, [])
