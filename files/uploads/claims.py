"""Who writes to an upload: one at a time, and one who hears nothing any more makes way for the next within seconds.

A claim raises the row's generation by two, an eviction by one. So the holder of generation g may end the lease while the row says g or
g + 1, and whoever comes after it has at least g + 2: a late goodbye ends nobody else's lease.
"""

from __future__ import annotations

import time
from datetime import timedelta

import structlog
from django.db import Error
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from common.clock import EPOCH, from_now
from common.errors import NotFound, UploadBusy, UploadExpired, UploadLost
from files.models import COMING, Upload, UploadState

log = structlog.get_logger("argus.uploads")

LEASE = timedelta(seconds=4.5)
RENEW_SECONDS = 1.9
LOOK_SECONDS = 0.9
UNHEARD = timedelta(seconds=3.5)
"""A writer that reads marks itself silent after a second; one that does not even do that has not renewed for so long."""
PATIENCE_SECONDS = 1.5
EVICTION_SECONDS = 5.0
POLL_SECONDS = 0.05
STEP = 2
NO_LEASE = {"lease_until": EPOCH}
NEW_LEASE = {"lease_until": from_now(LEASE), "heard_at": Now()}
"""With STEP for its generation, a row is made with this whose maker is its first writer."""


class Finished(Exception):
    """The upload has become a File."""


def claim(upload: Upload, *, way: str = "") -> None:
    """Become the writer; `upload` then has the row's generation, offset and state as they are under the claim.

    Waits a moment for a lively writer to fall silent. Raises UploadBusy, Finished, UploadExpired when the upload has ended without a
    file, NotFound when it is gone.
    """
    given: dict[str, object] = {}
    if way:
        given["way"] = way
    until = time.monotonic() + PATIENCE_SECONDS
    while not _take_free(upload, given) and not _evict(upload, given):
        try:
            upload.refresh_from_db()
        except Upload.DoesNotExist:
            raise NotFound from None
        need_coming(upload.state)
        if time.monotonic() > until:
            raise UploadBusy
        time.sleep(POLL_SECONDS)
    upload.refresh_from_db()
    need_coming(upload.state)


def leave_to_writer(upload: Upload) -> bool:
    """Is there a lively writer? One that is or falls silent is evicted, so that what it got is stored and counted when this returns."""
    if not _rows(upload).filter(lease_until__gt=Now()).exists():
        return False
    try:
        claim(upload)
    except UploadBusy:
        return True
    release(upload, None)
    return False


def _rows(upload: Upload) -> QuerySet[Upload]:
    return Upload.objects.filter(pk=upload.pk, state__in=COMING)


def _held(given: dict[str, object]) -> dict[str, object]:
    return {"lease_until": from_now(LEASE), "heard_at": Now(), "touched_at": Now(), **given}


def _take_free(upload: Upload, given: dict[str, object]) -> bool:
    free = _rows(upload).filter(lease_until__lte=Now())
    return bool(free.update(generation=F("generation") + STEP, **_held(given)))


def _evict(upload: Upload, given: dict[str, object]) -> bool:
    """Take the upload from a writer that hears nothing: tell it, and wait until it has put its things in order or its lease is over."""
    silent = _rows(upload).filter(heard_at__lte=from_now(-UNHEARD), lease_until__gt=Now())
    if not silent.update(generation=F("generation") + 1, heard_at=Now()):
        return False
    told = Upload.objects.values_list("generation", flat=True).get(pk=upload.pk)
    log.info("silent writer evicted", upload_id=str(upload.pk))
    until = time.monotonic() + EVICTION_SECONDS
    while time.monotonic() < until:
        if _rows(upload).filter(generation=told, lease_until__lte=Now()).update(generation=told + 1, **_held(given)):
            return True
        if not _rows(upload).filter(generation=told).exists():
            return False  # a third one was faster
        time.sleep(POLL_SECONDS)
    return False


def need_coming(state: str) -> None:
    """Raise Finished or UploadExpired for the state of an upload that takes no more bytes."""
    if state == UploadState.FINISHED:
        raise Finished
    if state not in COMING:
        raise UploadExpired


def renew(upload: Upload, offset: int, *, heard: bool) -> None:
    """Still here, with bytes or without; `offset` is durable. Raises UploadLost when somebody else has the upload now."""
    heard_at = {"heard_at": Now() if heard else EPOCH}
    if not _rows(upload).filter(generation=upload.generation).update(lease_until=from_now(LEASE), offset=offset, **heard_at):
        raise UploadLost


def renew_leaving(upload: Upload) -> None:
    """As `renew`, for a writer on its way out: whoever evicts it waits until it has stored what came. Raises UploadLost."""
    if not _rows(upload).filter(_mine(upload)).update(lease_until=from_now(LEASE)):
        raise UploadLost


def _mine(upload: Upload) -> Q:
    return Q(generation=upload.generation) | Q(generation=upload.generation + 1)


def check(upload: Upload) -> None:
    """Raises UploadLost when somebody else has the upload now."""
    if not _rows(upload).filter(generation=upload.generation).exists():
        raise UploadLost


def release(upload: Upload, offset: int | None, *, whole: bool = False) -> None:
    """Leave; the bytes up to `offset` are durable. Never raises: without a goodbye the lease runs out.

    `whole`: all bytes are there but no File came of them. The lease then counts as run out and not as ended, which has the sweep look.
    """
    stored = {} if offset is None else {"offset": offset, "unchecked_from": None}
    try:
        Upload.objects.filter(_mine(upload), pk=upload.pk).update(lease_until=Now() if whole else EPOCH, touched_at=Now(), **stored)
    except Error:
        log.exception("upload not released", upload_id=str(upload.pk))
