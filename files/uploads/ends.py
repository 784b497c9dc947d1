"""How uploads end without a File: given up, expired, their bytes collected."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from common.clock import EPOCH, from_now
from common.errors import StorageUnavailable
from files import storage
from files.models import COMING, FRUITLESS, File, Upload, UploadState, Way
from files.uploads import claims, hashes

log = structlog.get_logger("argus.uploads")

IDLE = timedelta(days=7)
LEFT_BYTES = timedelta(days=1)
REMEMBERED = timedelta(days=30)
MOST = 500


def end(uploads: QuerySet[Upload]) -> int:
    """Fail those that still come, and tell their writers; their number. The bytes go with `discard` or `collect`."""
    return uploads.filter(state__in=COMING).update(state=UploadState.FAILED, generation=F("generation") + 1, touched_at=Now())


def discard(upload: Upload) -> None:
    """Remove the bytes of a fruitless upload; never raises, because `collect` does what could not be done here."""
    try:
        _discard(upload)
    except StorageUnavailable:
        log.warning("bytes of an upload left to the sweep", upload_id=str(upload.pk))


def _discard(upload: Upload) -> None:
    state = Upload.objects.filter(pk=upload.pk).values_list("state", flat=True).first()
    if state is not None and state not in FRUITLESS:
        return  # the bytes are a File's, or will be; a row that is gone went with its batch
    storage.discard_part(upload.storage_key, upload.remote_id)
    hashes.drop(upload.pk)
    Upload.objects.filter(pk=upload.pk, state__in=FRUITLESS).update(storage_key="", remote_id="", offset=0)


def expire() -> int:
    """End up to 500 open uploads that nobody has touched for seven days; their number.

    Files that a batch was opened with and of which no byte has come yet cost nothing: they wait as long as their batch does.
    """
    idle = Upload.objects.filter(state=UploadState.OPEN, touched_at__lt=from_now(-IDLE), lease_until__lte=Now())
    idle = idle.exclude(declared=True, generation=0)
    expired = 0
    for upload in idle.order_by("touched_at")[:MOST]:
        if idle.filter(pk=upload.pk).update(state=UploadState.EXPIRED, generation=F("generation") + 1, touched_at=Now()):
            discard(upload)
            expired += 1
    return expired


def collect() -> int:
    """Remove bytes that no File will come of, and rows that nobody asks for any more; how many of both, at most 500 of each sort.

    Raises StorageUnavailable; what was removed until then stays removed.
    """
    fruitless = Upload.objects.filter(~Q(storage_key=""), state__in=FRUITLESS, lease_until__lte=Now())
    left = list(fruitless.order_by("touched_at")[:MOST])
    for upload in left:
        _discard(upload)
    forgotten = (
        Upload.objects.filter(touched_at__lt=from_now(-REMEMBERED))
        .exclude(state__in=COMING)
        .filter(Q(state=UploadState.FINISHED) | Q(storage_key=""))
    )
    ids = list(forgotten.values_list("pk", flat=True)[:MOST])
    Upload.objects.filter(pk__in=ids).delete()
    return len(left) + len(ids)


def collect_strays() -> int:
    """Remove bytes that are older than a day and belong to no upload; how many keys.

    They come of a writer that a deleted batch did not stop in time. Raises StorageUnavailable.
    """
    strays = [(key, remote_id) for key, remote_id in storage.old_parts("raw/", LEFT_BYTES) if not _is_known(key)]
    for key, remote_id in strays:
        storage.discard_part(key, remote_id)
    return len(strays)


def _is_known(key: str) -> bool:
    """What a killed publisher left beside the object of a File goes with that File: its upload may be forgotten by now."""
    pk = UUID(key.rpartition("/")[2])
    return Upload.objects.filter(storage_key=key, pk=pk).exists() or File.objects.filter(storage_key=key, pk=pk).exists()


def left_whole() -> list[UUID]:
    """Up to 500 uploads whose bytes are all there and whose writer ended without a File or without a goodbye.

    The others whose writer did not say goodbye are told where their bytes end; forms end, because nobody goes on with one: it is sent
    again. Raises StorageUnavailable.
    """
    left = Upload.objects.filter(state__in=COMING, lease_until__gt=EPOCH, lease_until__lte=Now())
    end(left.filter(way=Way.FORM, declared=False))
    whole = []
    for upload in left.order_by("lease_until")[:MOST]:
        size = stored_size(upload)
        if size == upload.declared_size:
            whole.append(upload.pk)
        else:
            left.filter(pk=upload.pk, generation=upload.generation).update(lease_until=EPOCH, offset=size, state=UploadState.OPEN)
    return whole


def stored_size(upload: Upload) -> int:
    """How many bytes of an upload that nobody writes to count. Raises StorageUnavailable."""
    size = storage.part_size(upload.storage_key, upload.remote_id)
    return size if upload.unchecked_from is None else min(size, upload.unchecked_from)


def offset_of(upload: Upload) -> int:
    """How many bytes are there for good; a writer that hears nothing is evicted first, a lively one is not disturbed.

    Raises Finished, UploadExpired, StorageUnavailable.
    """
    claims.need_coming(upload.state)
    lively = claims.leave_to_writer(upload)
    return upload.offset if lively else stored_size(upload)
