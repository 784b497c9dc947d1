"""How a batch stops taking files: declared complete, abandoned by its vehicle, or given up after a month of silence."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from batches.manifest import Differences, Entry, compare
from batches.models import Batch, BatchState
from batches.transitions import find_locked, locked, move
from common.clock import from_now
from common.errors import BatchEmpty, FilesPending, NotFound, WrongState
from common.pipeline import enqueue
from events.models import EventType
from events.record import ARGUS, record
from files import uploads
from files.models import READABLE, File, FileState, Upload, UploadState, Way

log = structlog.get_logger("argus.intake")

RETRY_PENDING_SECONDS = 5
DISCARDED_AT_ONCE = 50
MOST = 500

Manifest = list[dict[str, Any]]


# -- complete ----------------------------------------------------------------------------------------------------------


def complete_batch(batch_id: UUID, manifest: Manifest | None, expected_workers: int | None = None, *, actor: str) -> Batch:
    """Everything has arrived: the pipeline starts. Said again, it answers with the batch as it is, if the manifest still fits.

    A `manifest` takes the place of the one that the batch was opened with.
    Raises NotFound, WrongState (abandoned), FilesPending, BatchEmpty.
    """
    with transaction.atomic():
        batch = locked(batch_id)
        if batch.state == BatchState.ABANDONED:
            raise WrongState("The batch was abandoned.", state=str(batch.state))
        if batch.state != BatchState.PENDING:
            if differences := _differences(batch, manifest):
                raise FilesPending(**differences.listed())
            return batch
        _end_lost_forms(batch)
        _need_all_files(batch, manifest if manifest is not None else batch.manifest)
        counts = (
            File.objects.current()
            .filter(batch=batch)
            .aggregate(processed=Count("pk", filter=Q(state__in=READABLE)), failed=Count("pk", filter=Q(state=FileState.FAILED)))
        )
        if expected_workers is not None:
            batch.expected_workers = expected_workers
        created = {"batch_id": str(batch.pk), "vehicle_id": str(batch.vehicle_id), "timestamp": timezone.now().isoformat()}
        record(batch, EventType.BATCH_CREATED, created, actor=actor)
        move(batch, "complete", manifest, counts, actor=actor)
        enqueue("scatter", batch.pk)
    return batch


def _end_lost_forms(batch: Batch) -> None:
    """What is left of a form when its receiver was killed cannot be gone on with, and its sender got no answer."""
    uploads.end(uploads.coming(batch.pk).filter(way=Way.FORM, declared=False, lease_until__lte=Now()))


def _need_all_files(batch: Batch, manifest: Manifest | None) -> None:
    """Raise FilesPending or BatchEmpty unless what is stored is what was announced, and nothing is on its way."""
    differences = _differences(batch, manifest)
    may_be_waited_for = _add_uploads(differences, batch)
    if differences:
        pending = FilesPending(**differences.listed())
        if may_be_waited_for:
            pending.retryable, pending.retry_after = True, RETRY_PENDING_SECONDS
        raise pending
    if batch.total_files == 0:
        raise BatchEmpty


def _differences(batch: Batch, manifest: Manifest | None) -> Differences:
    if not manifest:
        return Differences()
    stored = File.objects.current().filter(batch=batch).values_list("name", "size", "sha256")
    announced = [Entry(entry["name"], entry["size"], entry.get("sha256", "")) for entry in manifest]
    return compare(announced, [Entry(*row) for row in stored])


def _add_uploads(differences: Differences, batch: Batch) -> bool:
    """Add what is not there yet; True if nothing is wrong but that it still comes, so that waiting helps.

    No upload is passed over, whatever the manifest says: a vehicle that will not send one ends it.
    """
    rows = uploads.coming(batch.pk).annotate(live=Q(lease_until__gt=Now())).order_by("name")
    unsent: list[str] = []
    spoilt: list[str] = []
    all_live = True
    for name, state, offset, declared, error, live in rows.values_list("name", "state", "offset", "declared", "error_code", "live"):
        if state == UploadState.VERIFYING:
            differences.verifying.append(name)
        elif live or offset or not (declared or error):
            differences.uploading.append(name)
            all_live = all_live and live
        else:
            (spoilt if error else unsent).append(name)
    # Each name once: what is on its way or spoilt is not missing as well.
    differences.missing = _less(differences.missing, differences.uploading, differences.verifying, spoilt)
    differences.corrupt += spoilt
    differences.missing += _less(unsent, differences.missing, differences.short, differences.corrupt)
    wrong = differences.missing or differences.short or differences.corrupt or differences.unexpected
    return all_live and not wrong


def _less(names: list[str], *others: list[str]) -> list[str]:
    """The names without the others, each taken away once, in their order."""
    away = Counter(name for other in others for name in other)
    left = []
    for name in names:
        if away[name] > 0:
            away[name] -= 1
        else:
            left.append(name)
    return left


# -- end one upload ----------------------------------------------------------------------------------------------------


def end_upload(batch_id: UUID, upload_id: UUID, *, actor: str, reason: str = "") -> None:
    """Somebody of the operator ends an upload that will not come: its bytes are removed, and the vehicle is told by 410.

    Raises NotFound, WrongState when it has ended already.
    """
    with transaction.atomic():
        batch = locked(batch_id)
        upload = Upload.objects.filter(pk=upload_id, batch=batch).first()
        if upload is None:
            raise NotFound
        if not uploads.end(uploads.coming(batch_id).filter(pk=upload_id)):
            raise WrongState(f"The upload is {upload.state}.", state=str(upload.state))
        told = {"upload_id": str(upload_id), "name": upload.name, "size": upload.declared_size, "offset": upload.offset, "reason": reason}
        record(batch, EventType.UPLOAD_ENDED, told, actor=actor)
    uploads.discard(upload)


# -- abandon -----------------------------------------------------------------------------------------------------------


def abandon_batch(batch_id: UUID, reason: str = "", *, actor: str) -> Batch:
    """The files will not come; what was on its way ends, and what has arrived stays. Said again, it changes nothing.

    The caller then has `discard_ended` remove the bytes of the uploads. Raises NotFound, WrongState past pending.
    """
    with transaction.atomic():
        batch = locked(batch_id)
        if batch.state != BatchState.ABANDONED:
            _abandon(batch, actor, reason=reason)
    return batch


def discard_ended(batch_id: UUID) -> None:
    """Remove bytes of a batch's uploads that have ended without a file, outside of any transaction; what is left, the sweep removes."""
    ended = Upload.objects.filter(batch_id=batch_id, state=UploadState.FAILED).exclude(storage_key="")
    ended.filter(way="", offset=0, generation__lte=1).update(storage_key="")  # nobody has ever written to these
    for upload in ended.order_by("pk")[:DISCARDED_AT_ONCE]:
        uploads.discard(upload)


def abandon_silent() -> int:
    """Give up to 500 batches up whose vehicle has sent nothing for ARGUS_BATCH_DEADLINE_DAYS days; how many. For the sweep."""
    given_up = 0
    for batch_id in list(_silent().values_list("pk", flat=True)[:MOST]):
        with transaction.atomic():
            batch = find_locked(batch_id)
            if batch is None or not _silent().filter(pk=batch_id).exists():
                continue  # the vehicle is back
            _abandon(batch, ARGUS, reason=f"nothing came for {settings.ARGUS_BATCH_DEADLINE_DAYS} days")
            given_up += 1
        discard_ended(batch_id)
    return given_up


def _silent() -> QuerySet[Batch]:
    """Pending batches whose vehicle has sent nothing for too long; not reopened ones, which have results, and a higher fence."""
    days = timedelta(days=settings.ARGUS_BATCH_DEADLINE_DAYS)
    since = from_now(-days)
    # An upload that expired was touched last by that.
    touched = Q(touched_at__gte=since) & ~Q(state=UploadState.EXPIRED) | Q(touched_at__gte=from_now(uploads.IDLE - days))
    heard = Upload.objects.filter(touched | Q(lease_until__gt=Now()), batch=OuterRef("pk"))
    came = File.objects.filter(batch=OuterRef("pk"), created_at__gte=since)
    return Batch.objects.filter(~Exists(heard), ~Exists(came), state=BatchState.PENDING, fence=1, state_changed_at__lt=since)


def _abandon(batch: Batch, actor: str, *, reason: str) -> None:
    move(batch, "abandon", actor=actor, **({"reason": reason} if reason else {}))
    uploads.end(uploads.coming(batch.pk))
