"""Receives the bytes of one upload: stores and verifies them, and keeps the lease of the Upload row while they come."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models import Expression, QuerySet
from django.db.models.functions import Now

from common.clock import from_now
from common.errors import DigestMismatch, EmptyFile, LengthMismatch, UploadLost
from files import storage
from files.models import Upload, UploadState

log = structlog.get_logger("argus.uploads")

RENEWALS_PER_LEASE = 4


def raw_key(batch_id: UUID, file_id: UUID) -> str:
    """Where the bytes of a file lie."""
    return f"{raw_prefix(batch_id)}/{file_id}"


def raw_prefix(batch_id: UUID) -> str:
    """Where the bytes of all files of a batch lie."""
    return f"raw/{batch_id}"


def new_lease() -> Expression:
    """Until when an upload counts as alive from now on, as an SQL expression."""
    return from_now(timedelta(seconds=settings.ARGUS_UPLOAD_LEASE_SECONDS))


def live(batch_id: UUID) -> QuerySet[Upload]:
    """Open uploads of a batch whose sender still sends."""
    return Upload.objects.filter(batch_id=batch_id, state=UploadState.OPEN, lease_until__gt=Now())


def give_up_expired(batch_id: UUID) -> int:
    """Fail the open uploads of a batch that have lost their sender; their number."""
    return Upload.objects.filter(batch_id=batch_id, state=UploadState.OPEN, lease_until__lte=Now()).update(state=UploadState.FAILED)


def receive(upload: Upload, chunks: Iterable[bytes], *, limit: int) -> storage.Received:
    """Store `chunks` under the upload's key and verify them against what it declares; runs outside of any transaction.

    Raises the errors of `storage.receive`, UploadLost when somebody gave the upload up meanwhile, EmptyFile, LengthMismatch and
    DigestMismatch. The caller calls `abort` after any error.
    """
    pause = settings.ARGUS_UPLOAD_LEASE_SECONDS / RENEWALS_PER_LEASE
    renewed = time.monotonic()

    def renew(size: int) -> None:
        nonlocal renewed
        if time.monotonic() - renewed >= pause:
            if not Upload.objects.filter(pk=upload.pk, state=UploadState.OPEN).update(lease_until=new_lease(), offset=size):
                raise UploadLost
            renewed = time.monotonic()

    received = storage.receive(upload.storage_key, chunks, limit=limit, expected=upload.declared_size, on_progress=renew)
    _verify(upload, received)
    return received


def _verify(upload: Upload, received: storage.Received) -> None:
    if upload.declared_size is not None and received.size != upload.declared_size:
        raise LengthMismatch(
            f"{upload.declared_size} bytes were announced, {received.size} came.", declared=upload.declared_size, received=received.size
        )
    if received.size == 0:
        raise EmptyFile
    if upload.declared_sha256 and received.sha256 != upload.declared_sha256:
        raise DigestMismatch(
            f"SHA-256 {upload.declared_sha256} was announced, the bytes have {received.sha256}.",
            declared=upload.declared_sha256,
            received=received.sha256,
        )


def abort(upload: Upload) -> None:
    """Fail the upload and remove its bytes; never raises, because it follows an error. What it cannot do, the sweep does.

    The bytes of a finished upload are a File's: they stay, also when the error came with or after the commit that finished it.
    """
    try:
        Upload.objects.filter(pk=upload.pk, state=UploadState.OPEN).update(state=UploadState.FAILED)
        if not Upload.objects.filter(pk=upload.pk, state=UploadState.FINISHED).exists():
            storage.delete(upload.storage_key)
    except Exception:
        log.exception("upload not cleaned up", upload_id=str(upload.pk))


def collect(older_than: timedelta, limit: int = 500) -> int:
    """Remove up to `limit` failed or lost uploads that began longer ago, with the bytes that a killed receiver left; their number.

    For the sweep. Raises StorageUnavailable; what was removed until then stays removed.
    """
    old = Upload.objects.filter(created_at__lt=from_now(-older_than))
    # Failed first: a sender that is back after all cannot finish what loses its bytes here.
    old.filter(state=UploadState.OPEN, lease_until__lte=Now()).update(state=UploadState.FAILED)
    begun = old.filter(state=UploadState.FAILED).order_by("created_at")[:limit]
    for upload in begun:
        storage.delete(upload.storage_key)
        upload.delete()
    return len(begun)
