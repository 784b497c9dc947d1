"""How a batch comes in: opened, filled with files, declared complete; and how it goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Q
from django.utils import timezone

from batches.manifest import Differences, Entry, compare
from batches.models import OPEN, RUNNING, Batch, BatchState
from batches.transitions import locked, move
from common.errors import (
    BatchClosed,
    BatchEmpty,
    BatchFull,
    EmptyFile,
    FileExists,
    FilesPending,
    FileTooLarge,
    StorageUnavailable,
    UploadLost,
    WrongState,
)
from common.pipeline import enqueue
from events.models import EventType
from events.record import record, record_act
from files import storage, uploads
from files.models import READABLE, File, FileState, Upload, UploadState
from files.names import clean_name
from files.storage import Received
from vehicles.models import Vehicle

log = structlog.get_logger("argus.intake")

RETRY_PENDING_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Offer:
    """A file that somebody wants to send; `once`: the batch may have no other file of this name."""

    name: str
    kind: str = ""
    size: int | None = None
    sha256: str = ""
    once: bool = True


# -- open ------------------------------------------------------------------------------------------------------------


def open_batch(vehicle: Vehicle, declared: dict[str, Any], *, actor: str) -> Batch:
    """A new pending batch; `declared` holds the fields that the vehicle may set."""
    with transaction.atomic():
        batch = Batch.objects.create(vehicle=vehicle, **declared)
        record(batch, EventType.BATCH_OPENED, {"batch_id": str(batch.pk), "vehicle_id": str(vehicle.pk)}, actor=actor)
    return batch


def largest_file() -> int:
    """Most bytes that one file may have."""
    return int(settings.ARGUS_MAX_FILE_BYTES)


# -- files ------------------------------------------------------------------------------------------------------------


def take_file(batch_id: UUID, offer: Offer, chunks: Iterable[bytes], *, actor: str) -> tuple[File, bool]:
    """Receive one file from its first byte to its row; False beside a file that was there before.

    Short transactions before and after; none while the bytes come. After an error there is no File and there are no bytes.
    """
    begun = begin_upload(batch_id, offer)
    if not isinstance(begun, Upload):
        return begun, False
    try:
        received = uploads.receive(begun, chunks, limit=largest_file())
        file, is_new = add_file(begun, received, once=offer.once, actor=actor)
    except BaseException:
        uploads.abort(begun)
        raise
    if not is_new:
        uploads.abort(begun)
    return file, is_new


def begin_upload(batch_id: UUID, offer: Offer) -> Upload | File:
    """Check everything that can be known before the first byte, and open an Upload; or the File, if its digest says that it is there.

    Raises BadFilename, EmptyFile, FileTooLarge, NotFound, BatchClosed, BatchFull, FileExists.
    """
    name = clean_name(offer.name)
    if offer.size == 0:
        raise EmptyFile
    if offer.size is not None and offer.size > settings.ARGUS_MAX_FILE_BYTES:
        raise FileTooLarge(
            f"The file has {offer.size} bytes; {settings.ARGUS_MAX_FILE_BYTES} are allowed.", limit=settings.ARGUS_MAX_FILE_BYTES
        )
    with transaction.atomic():
        batch = locked(batch_id)
        _need_open(batch)
        if offer.once and offer.sha256 and (twin := _twin(batch, name, offer.sha256)):
            return twin
        if batch.total_files + uploads.live(batch.pk).count() >= settings.ARGUS_MAX_FILES_PER_BATCH:
            raise BatchFull(f"A batch may have {settings.ARGUS_MAX_FILES_PER_BATCH} files.")
        file_id = uuid4()
        return Upload.objects.create(
            id=file_id,
            batch=batch,
            name=name,
            kind=offer.kind,
            declared_size=offer.size,
            declared_sha256=offer.sha256,
            storage_key=uploads.raw_key(batch.pk, file_id),
            lease_until=uploads.new_lease(),
        )


def add_file(upload: Upload, received: Received, *, once: bool, actor: str) -> tuple[File, bool]:
    """Make the File of stored and verified bytes; False beside a file of the same name and content that was there before.

    Raises NotFound, BatchClosed, UploadLost, FileExists; the caller then aborts the upload.
    """
    with transaction.atomic():
        batch = locked(upload.batch_id)
        _need_open(batch)  # complete and scatter take the same lock: a file is in the batch before them or not at all
        if once and (twin := _twin(batch, upload.name, received.sha256)):
            return twin, False
        if not _open_row(upload).update(state=UploadState.FINISHED, offset=received.size):
            raise UploadLost
        if once:
            # A sender that lost its connection sends again while the old request still waits for bytes: that one is over.
            Upload.objects.filter(batch=batch, name=upload.name, state=UploadState.OPEN).update(state=UploadState.FAILED)
        file = File.objects.create(
            id=upload.pk,
            batch=batch,
            name=upload.name,
            kind=upload.kind,
            size=received.size,
            sha256=received.sha256,
            storage_key=upload.storage_key,
        )
        batch.total_files += 1
        batch.total_bytes += received.size
        batch.save(update_fields=["total_files", "total_bytes"])
        payload = {"file_id": str(file.pk), "name": file.name, "size": file.size, "sha256": file.sha256}
        record(batch, EventType.FILE_ADDED, payload, actor=actor)
    return file, True


def _need_open(batch: Batch) -> None:
    if batch.state not in OPEN:
        raise BatchClosed(f"The batch is {batch.state}.", state=str(batch.state))


def _open_row(upload: Upload) -> Any:
    return Upload.objects.filter(pk=upload.pk, state=UploadState.OPEN)


def _twin(batch: Batch, name: str, sha256: str) -> File | None:
    """The file of this name with the same content; FileExists if there are only others."""
    namesakes = list(File.objects.current().filter(batch=batch, name=name))
    twin = next((file for file in namesakes if file.sha256 == sha256), None)
    if namesakes and twin is None:
        raise FileExists
    return twin


# -- complete ----------------------------------------------------------------------------------------------------------


def complete_batch(batch_id: UUID, manifest: list[dict[str, Any]] | None, expected_workers: int | None = None, *, actor: str) -> Batch:
    """Everything has arrived: the pipeline starts. Said again, it answers with the batch as it is, if the manifest still fits.

    Raises NotFound, WrongState (abandoned), FilesPending, BatchEmpty.
    """
    with transaction.atomic():
        batch = locked(batch_id)
        if batch.state == BatchState.ABANDONED:
            raise WrongState("The batch was abandoned.", state=str(batch.state))
        if batch.state != BatchState.PENDING:
            if differences := _differences(batch, manifest):
                raise FilesPending(uploading=[], **differences.listed())
            return batch
        uploads.give_up_expired(batch.pk)
        _need_all_files(batch, manifest)
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


def _need_all_files(batch: Batch, manifest: list[dict[str, Any]] | None) -> None:
    """Raise FilesPending or BatchEmpty unless what is stored is what was announced, and nothing is on its way."""
    on_the_way = sorted(uploads.live(batch.pk).values_list("name", flat=True))
    differences = _differences(batch, manifest)
    if differences or on_the_way:
        pending = FilesPending(uploading=on_the_way[:100], **differences.listed())
        # What is on its way may be all that is missing: worth asking again.
        if on_the_way and not (differences.short or differences.corrupt or differences.unexpected):
            pending.retryable, pending.retry_after = True, RETRY_PENDING_SECONDS
        raise pending
    if batch.total_files == 0:
        raise BatchEmpty


def _differences(batch: Batch, manifest: list[dict[str, Any]] | None) -> Differences:
    if not manifest:
        return Differences()
    stored = File.objects.current().filter(batch=batch).values_list("name", "size", "sha256")
    announced = [Entry(entry["name"], entry["size"], entry.get("sha256", "")) for entry in manifest]
    return compare(announced, [Entry(*row) for row in stored])


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
        Upload.objects.filter(batch=batch, state=UploadState.OPEN).update(state=UploadState.FAILED)
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
