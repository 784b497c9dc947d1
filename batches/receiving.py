"""How files come into a batch: an upload is begun, its bytes come, a File is made of them; the same for every way in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import CharField, Count, PositiveBigIntegerField, QuerySet, UUIDField

from batches.models import OPEN, Batch
from batches.quota import need_room
from common.errors import (
    ArgusError,
    BatchClosed,
    BatchFull,
    EmptyFile,
    FileExists,
    FileTooLarge,
    NotFound,
    OffsetMismatch,
    UploadBusy,
    UploadExpired,
    UploadLost,
    WrongState,
)
from common.failpoints import reach
from common.pipeline import enqueue
from common.prepared import Param, Prepared, PreparedInsert, PreparedUpdate
from events.models import EventType
from events.record import ARGUS, record
from files import uploads
from files.models import COMING, File, Upload, UploadState, Way
from files.names import clean_name
from files.storage import Bytes, Received
from vehicles.models import Vehicle

log = structlog.get_logger("argus.intake")

# After these the same bytes could never become a file of this batch.
FINAL = (BatchClosed, FileExists, EmptyFile, FileTooLarge, NotFound)


ADOPTED_BY = ("pk", "declared", "declared_size", "declared_sha256", "created_at")


class Declared(Protocol):
    """What an upload says of its content."""

    @property
    def declared_size(self) -> int | None: ...
    @property
    def declared_sha256(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Offer:
    """A file that somebody wants to send, as far as they say what it is: size in bytes, SHA-256 in hex."""

    name: str
    kind: str = ""
    size: int | None = None
    sha256: str = ""
    way: Way = Way.PUT
    priority: int = 0
    metadata: str = ""

    def fits(self, upload: Declared) -> bool:
        """Nothing that both say differs."""
        return (self.size is None or upload.declared_size in (None, self.size)) and (
            not self.sha256 or upload.declared_sha256 in ("", self.sha256)
        )

    def is_same(self, upload: Declared) -> bool:
        """Both say that it is the same content."""
        return bool(self.sha256) and self.sha256 == upload.declared_sha256


@dataclass(frozen=True, slots=True)
class Begun:
    """What an offer has led to: a new upload, an older one of the same file, or the file that is there already."""

    upload: Upload
    is_new: bool
    is_same: bool = False
    """What is stored of it is known to be of the content that is offered now."""
    file: File | None = None


def largest_file() -> int:
    """Most bytes that one file may have."""
    return int(settings.ARGUS_MAX_FILE_BYTES)


def check_size(size: int | None) -> None:
    """Raise EmptyFile or FileTooLarge for a size that no file may have."""
    if size == 0:
        raise EmptyFile
    if size is not None and size > largest_file():
        raise FileTooLarge(f"The file has {size} bytes; {largest_file()} are allowed.", limit=largest_file())


# -- what is asked for each of 50,000 files ------------------------------------------------------------------------------

_BATCH = Param("batch_id", UUIDField())
_batch_for_update = Prepared(
    lambda: Batch.objects.select_for_update().filter(pk=_BATCH).only("state", "vehicle_id", "total_files", "total_bytes", "event_seq")
)
_count_coming = Prepared(lambda: _coming_to_batch().values("batch_id").annotate(count=Count("pk")).values_list("count", flat=True))
_open_namesakes = Prepared(
    lambda: _coming_to_batch().filter(state=UploadState.OPEN, name=Param("name", CharField())).values_list(*ADOPTED_BY, named=True)
)
_oldest_of_same = Prepared(
    lambda: (
        File.objects.current()
        .filter(sha256=Param("sha256", CharField()), batch__vehicle_id=Param("vehicle_id", UUIDField()))
        .order_by("created_at", "id")
        .values_list("pk", "batch_id")[:1]
    )
)
_insert_upload = PreparedInsert(Upload)
_insert_claimed = PreparedInsert(Upload, **uploads.NEW_LEASE)
_insert_file = PreparedInsert(File)
_end_as_file = PreparedUpdate(
    lambda: Upload.objects.filter(pk=Param("pk", UUIDField()), state__in=COMING),
    state=UploadState.FINISHED,
    offset=Param("size", PositiveBigIntegerField()),
    declared_size=Param("size", PositiveBigIntegerField()),
    error_code="",
    unchecked_from=None,
    **uploads.NO_LEASE,
)


def _coming_to_batch() -> QuerySet[Upload]:
    return Upload.objects.filter(batch_id=_BATCH, state__in=COMING)


# -- begin -------------------------------------------------------------------------------------------------------------


def begin_upload(batch_id: UUID, offer: Offer, *, vehicle_id: UUID | None = None, claim: bool = False, unchecked: bool = False) -> Begun:
    """Check everything that can be known before the first byte, and open an upload, or find the one that the file has already.

    Adopted is an open upload of this name unless size or digest say that it is another file: one that was declared when the batch was
    opened, or whose sender lost its connection. With `claim` the caller is the writer of a new upload at once, never of an older one;
    with `unchecked` its bytes count only when a checksum was right. With `vehicle_id` a batch of another vehicle is not found.
    Raises BadFilename, EmptyFile, FileTooLarge, NotFound, BatchClosed, BatchFull, QuotaExceeded, and for PUT FileExists.
    """
    name = clean_name(offer.name)
    check_size(offer.size)
    with transaction.atomic():
        batch = _locked(batch_id)
        if vehicle_id not in (None, batch.vehicle_id):
            raise NotFound
        _need_open(batch)
        if offer.sha256 and offer.way != Way.FORM and (begun := _already_there(batch, name, offer)):
            return begun
        if begun := _adopted(batch, name, offer):
            return begun
        if batch.total_files + (_count_coming.first(batch_id=batch.pk) or 0) >= settings.ARGUS_MAX_FILES_PER_BATCH:
            raise BatchFull(f"A batch may have {settings.ARGUS_MAX_FILES_PER_BATCH} files.")
        need_room(batch.vehicle_id, offer.size or 0)
        upload_id = uuid4()
        made = Upload(
            id=upload_id,
            batch=batch,
            way=offer.way if claim else "",
            name=name,
            kind=offer.kind,
            priority=offer.priority,
            declared_size=offer.size,
            declared_sha256=offer.sha256,
            metadata=offer.metadata,
            storage_key=uploads.raw_key(batch.pk, upload_id),
            unchecked_from=0 if unchecked else None,
            generation=uploads.STEP if claim else 0,
        )
        (_insert_claimed if claim else _insert_upload)(made)
    return Begun(made, is_new=True)


def _already_there(batch: Batch, name: str, offer: Offer) -> Begun | None:
    """The file, if it was sent before; raises FileExists for a PUT whose name another file has."""
    twin = _twin(batch, name, offer.sha256, once=offer.way == Way.PUT)
    upload = Upload.objects.filter(pk=twin.pk).first() if twin else None
    if twin and (upload or offer.way == Way.PUT):
        return Begun(upload or Upload(id=twin.pk), is_new=False, is_same=True, file=twin)
    return None


def _adopted(batch: Batch, name: str, offer: Offer) -> Begun | None:
    """The open upload that this offer goes on with; what the offer knows better is written down."""
    namesakes = _open_namesakes(batch_id=batch.pk, name=name)
    fitting = [row for row in namesakes if offer.fits(row) and (row.declared or offer.way != Way.FORM)]
    if not fitting:
        return None
    best = min(fitting, key=lambda row: (not offer.is_same(row), not row.declared, row.created_at))
    upload = Upload.objects.get(pk=best.pk)
    changes = {
        "kind": upload.kind or offer.kind,
        "priority": upload.priority or offer.priority,
        "metadata": offer.metadata or upload.metadata,
        "declared_size": offer.size if upload.declared_size is None else upload.declared_size,
        # What the batch was opened with holds; what an earlier attempt said need not be true of this one.
        "declared_sha256": (upload.declared_sha256 if upload.declared else "") or offer.sha256,
    }
    known = {name: value for name, value in changes.items() if getattr(upload, name) != value}
    if known:
        Upload.objects.filter(pk=upload.pk).update(**known)
        for field, value in known.items():
            setattr(upload, field, value)
    return Begun(upload, is_new=False, is_same=offer.is_same(best))


def _locked(batch_id: UUID) -> Batch:
    """The batch, locked, with the columns that a file touches and no others. Raises NotFound."""
    batch = _batch_for_update.first(batch_id=batch_id)
    if batch is None:
        raise NotFound
    return batch


def _need_open(batch: Batch) -> None:
    if batch.state not in OPEN:
        raise BatchClosed(f"The batch is {batch.state}.", state=str(batch.state))


def _twin(batch: Batch, name: str, sha256: str, *, once: bool) -> File | None:
    """The file of this name with the same content; with `once` FileExists if there are only others."""
    namesakes = list(File.objects.current().filter(batch=batch, name=name))
    twin = next((file for file in namesakes if file.sha256 == sha256), None)
    if once and namesakes and twin is None:
        raise FileExists
    return twin


# -- a whole file in one request ---------------------------------------------------------------------------------------


def take_file(
    batch_id: UUID,
    offer: Offer,
    chunks: Iterable[Bytes],
    *,
    vehicle_id: UUID | None = None,
    checksum: uploads.Sum | None = None,
    actor: str,
) -> tuple[File, bool]:
    """Receive one file from its first byte to its row; False beside a file that was there before.

    Short transactions before and after; none while the bytes come. When it breaks off, the bytes of a file whose size is known stay for
    the next attempt; those of others, and of forms, are removed. Raises the errors of `begin_upload`, `Writer` and `finish`.
    """
    begun = begin_upload(batch_id, offer, vehicle_id=vehicle_id, claim=True, unchecked=checksum is not None)
    if begun.file:
        return begun.file, False
    upload = begun.upload
    try:
        with uploads.writing(upload, way=offer.way, claimed=begun.is_new, unchecked_from=0 if checksum else None) as writer:
            try:
                writer.restart()
                writer.receive(chunks, offset=0, checksum=checksum)
                writer.end_here()
                file, is_new = finish(writer, actor=actor)
            except BaseException:
                if offer.way == Way.FORM and upload.declared:
                    writer.restart()
                raise
    except (uploads.Finished, UploadExpired):
        # Another request ended the upload that we went on with; no byte of ours has been read.
        return take_file(batch_id, offer, chunks, vehicle_id=vehicle_id, checksum=checksum, actor=actor)
    except BaseException as error:
        if isinstance(error, FINAL) or not (upload.declared or (offer.way == Way.PUT and offer.size)):
            _give_up(upload)
        raise
    return file, is_new


# -- a file in pieces ----------------------------------------------------------------------------------------------------


def resume(begun: Begun, *, actor: str) -> int:
    """Where the sender of an offer begins: behind what is stored, if that is known to be the same content, otherwise at 0.

    Raises UploadBusy, StorageUnavailable.
    """
    upload = begun.upload
    if begun.is_new or not upload.generation:
        return 0
    if begun.is_same:
        return offset_of(upload, actor=actor)
    try:
        with uploads.writing(upload) as writer:
            writer.restart()
    except uploads.Finished:
        raise UploadBusy("It has been sent just now.") from None
    return 0


def create_with_bytes(
    batch_id: UUID,
    offer: Offer,
    chunks: Iterable[Bytes],
    *,
    vehicle_id: UUID | None = None,
    checksum: uploads.Sum | None,
    actor: str,
) -> tuple[Upload, int]:
    """Begin an upload and take its first bytes; where it stands then. Raises as `begin_upload`, and as `append`."""
    begun = begin_upload(batch_id, offer, vehicle_id=vehicle_id, claim=True, unchecked=checksum is not None)
    if begun.file:
        return begun.upload, begun.file.size
    upload = begun.upload
    try:
        with uploads.writing(upload, way=Way.TUS, claimed=begun.is_new, unchecked_from=0 if checksum else None) as writer:
            writer.restart()
            return upload, _take(writer, chunks, offset=0, checksum=checksum, actor=actor)
    except (uploads.Finished, UploadExpired):  # what was begun before has ended meanwhile; no byte of ours has been read
        return create_with_bytes(batch_id, offer, chunks, vehicle_id=vehicle_id, checksum=checksum, actor=actor)


def append(
    upload: Upload, chunks: Iterable[Bytes], *, offset: int, size: int | None = None, checksum: uploads.Sum | None = None, actor: str
) -> int:
    """Take the bytes from `offset` on, and make the File if they are the last; where the upload stands then.

    `size`: its length, said only now. Raises the errors of `writing`, `Writer` and `finish`.
    """
    try:
        with uploads.writing(upload, way=Way.TUS, unchecked_from=offset if checksum else None) as writer:
            if size is not None:
                check_size(size)
                writer.set_length(size)
            return _take(writer, chunks, offset=offset, checksum=checksum, actor=actor)
    except uploads.Finished:
        upload.refresh_from_db()
        if offset != upload.offset:
            raise OffsetMismatch(f"The upload is finished with {upload.offset} bytes.", offset=upload.offset) from None
        if any(len(chunk) for chunk in chunks):
            raise FileTooLarge("The upload is finished.", limit=upload.offset) from None
        return upload.offset


def _take(writer: uploads.Writer, chunks: Iterable[Bytes], *, offset: int, checksum: uploads.Sum | None, actor: str) -> int:
    writer.receive(chunks, offset=offset, checksum=checksum)
    size = writer.size
    if writer.is_whole and writer.upload.state == UploadState.OPEN:
        finish_or_verify(writer, actor=actor)
    return size


def room_in(upload: Upload, offset: int, size: int | None) -> int:
    """How many bytes a request may have that goes on at `offset`; a wrong offset is found out later, by the writer."""
    total = upload.declared_size if upload.declared_size is not None else size
    return total - offset if total is not None and offset < total else largest_file()


# -- finish ------------------------------------------------------------------------------------------------------------


def finish(writer: uploads.Writer, *, actor: str) -> tuple[File, bool]:
    """Make the File of an upload whose bytes are all there; False beside a file of the same name and content that was there before (PUT).

    Raises the errors of `Writer.publish`; NotFound, BatchClosed, FileExists, UploadLost, after which there is neither File nor object.
    """
    received = writer.publish()
    upload = writer.upload
    try:
        file, is_new = add_file(upload, received, actor=actor)
    except (*FINAL, UploadLost):
        _give_up(upload)
        raise
    reach("finish.committed")
    if not is_new:
        _give_up(upload)
    return file, is_new


def finish_or_verify(writer: uploads.Writer, *, actor: str) -> File | None:
    """As `finish`; None when reading the bytes again takes so long that a task does it."""
    if not writer.needs_task:
        return finish(writer, actor=actor)[0]
    with transaction.atomic():
        if not Upload.objects.filter(pk=writer.upload.pk, state__in=COMING).update(state=UploadState.VERIFYING):
            raise UploadLost
        enqueue("verify", writer.upload.pk)
    return None


def finish_upload(upload_id: UUID, *, actor: str = ARGUS) -> File | None:
    """The File of an upload, made now if its bytes are all there and its writer was lost; None while bytes are missing.

    Raises NotFound, UploadExpired, UploadBusy, and the errors of `finish`.
    """
    upload = Upload.objects.filter(pk=upload_id).first()
    if upload is None:
        raise NotFound
    try:
        uploads.need_coming(upload.state)
        with uploads.writing(upload) as writer:
            if writer.is_whole:
                return finish(writer, actor=actor)[0]
            writer.reopen()
            return None
    except uploads.Finished:
        return File.objects.get(pk=upload_id)


def add_file(upload: Upload, received: Received, *, actor: str) -> tuple[File, bool]:
    """Make the File of stored and verified bytes; False beside a file of the same name and content that was there before (PUT).

    Raises NotFound, BatchClosed, UploadLost, FileExists.
    """
    once = upload.way == Way.PUT
    with transaction.atomic():
        batch = _locked(upload.batch_id)
        _need_open(batch)  # complete and scatter take the same lock: a file is in the batch before them or not at all
        if once and (twin := _twin(batch, upload.name, received.sha256, once=True)):
            return twin, False
        if not _end_as_file(pk=upload.pk, size=received.size):
            raise UploadLost
        if once:
            # Of a sender that came back on another way while its old request still waited.
            uploads.end(uploads.coming(batch.pk).filter(name=upload.name, way=Way.PUT, declared=False))
        original = _original(batch, received.sha256)
        file = File(
            id=upload.pk,
            batch=batch,
            name=upload.name,
            kind=upload.kind,
            size=received.size,
            sha256=received.sha256,
            storage_key=upload.storage_key,
            duplicate_of_id=original and original[0],
        )
        _insert_file(file)
        payload: dict[str, object] = {"file_id": str(file.pk), "name": file.name, "size": file.size, "sha256": file.sha256}
        if original:
            payload |= {"duplicate_of": str(original[0]), "duplicate_why": "same SHA-256", "original_batch": str(original[1])}
        counters = {"total_files": batch.total_files + 1, "total_bytes": batch.total_bytes + received.size}
        record(batch, EventType.FILE_ADDED, payload, actor=actor, also=counters)
    upload.state = UploadState.FINISHED
    return file, True


def _coming(upload: Upload) -> QuerySet[Upload]:
    return Upload.objects.filter(pk=upload.pk, state__in=COMING)


def _original(batch: Batch, sha256: str) -> tuple[UUID, UUID] | None:
    """The oldest file of the vehicle with these bytes, and its batch."""
    return _oldest_of_same.first(sha256=sha256, vehicle_id=batch.vehicle_id)


def _give_up(upload: Upload) -> None:
    """End an upload that leads to no File, and remove its bytes; what fails here the sweep does."""
    try:
        uploads.end(_coming(upload))
        uploads.discard(upload)
    except Exception:  # it follows an error, which says more
        log.exception("upload not cleaned up", upload_id=str(upload.pk))


# -- what a vehicle asks of an upload ------------------------------------------------------------------------------------


def get_upload(upload_id: UUID, vehicle: Vehicle) -> Upload:
    """The upload, if it is the vehicle's; NotFound, the same for an unknown one and another vehicle's."""
    found = Upload.objects.filter(pk=upload_id, batch__vehicle=vehicle).first()
    if found is None:
        raise NotFound
    return found


def offset_of(upload: Upload, *, actor: str) -> int:
    """How many bytes of an upload are stored for good. If that is all of them and their writer was lost, the File is made first.

    Raises UploadExpired, StorageUnavailable.
    """
    try:
        offset = uploads.offset_of(upload)
        if offset == upload.declared_size and upload.state == UploadState.OPEN:
            finish_upload(upload.pk, actor=actor)
    except uploads.Finished:
        return upload.offset
    except ArgusError:
        upload.refresh_from_db()
        uploads.need_coming(upload.state)
        return uploads.offset_of(upload)
    return offset


def terminate_upload(upload: Upload) -> None:
    """The vehicle gives up a file: its bytes are removed, the address is gone. Raises WrongState for one that has become a File."""
    if not uploads.end(_coming(upload)):
        upload.refresh_from_db()
        try:
            uploads.need_coming(upload.state)
        except uploads.Finished:
            raise WrongState("The upload is finished: its file stays.", state=str(upload.state)) from None
    uploads.discard(upload)
