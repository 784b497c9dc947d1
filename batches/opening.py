"""How a batch is opened: by the server's id or the vehicle's own, with or without the list of its files."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import IntegrityError, transaction
from django.utils import timezone

from batches.models import Batch, DeletedBatch
from batches.quota import need_room
from common.errors import BatchDeleted, BatchExists, BatchFull, EmptyFile, FileTooLarge, InvalidField, NotFound
from events.models import EventType
from events.record import record
from files.models import Upload
from files.uploads import raw_key
from vehicles.models import Vehicle

VERSIONS = (4, 7)


def open_batch(vehicle: Vehicle, declared: dict[str, Any], files: list[dict[str, Any]] | None = None, *, actor: str) -> Batch:
    """A new pending batch under a new id; `declared` holds the fields that the vehicle may set, `files` what it will send.

    Raises BatchFull, EmptyFile, FileTooLarge, QuotaExceeded.
    """
    _check(files)
    with transaction.atomic():
        return _insert(uuid4(), vehicle, declared, files, actor)


def open_batch_as(
    batch_id: UUID, vehicle: Vehicle, declared: dict[str, Any], files: list[dict[str, Any]] | None = None, *, actor: str
) -> tuple[Batch, bool]:
    """The vehicle's batch with an id of its own making, and whether it is new: said again with the same content it is as it was.

    Raises InvalidField for an id that could not be random, NotFound for another vehicle's, BatchExists for one that was opened with other
    content, BatchDeleted, and the errors of `open_batch`.
    """
    if batch_id.version not in VERSIONS:
        raise InvalidField("The id must be a UUID of version 4 or 7.")
    _check(files)
    try:
        with transaction.atomic():
            batch = _known(batch_id)
            if batch is None:
                _need_unused(batch_id, vehicle)
                return _insert(batch_id, vehicle, declared, files, actor), True
    except IntegrityError:
        batch = _known(batch_id)  # somebody else was faster
        if batch is None:
            raise
    if batch.vehicle_id != vehicle.pk:
        raise NotFound
    if batch.opened_with != fingerprint(declared, files):
        raise BatchExists
    return batch, False


def _known(batch_id: UUID) -> Batch | None:
    return Batch.objects.defer("manifest").filter(pk=batch_id).first()


def _need_unused(batch_id: UUID, vehicle: Vehicle) -> None:
    """A deleted batch's objects may still be on their way out: what came under its id could be lost with them."""
    if deleted := DeletedBatch.objects.filter(pk=batch_id).first():
        raise BatchDeleted if deleted.vehicle_id == vehicle.pk else NotFound


def fingerprint(declared: dict[str, Any], files: list[dict[str, Any]] | None) -> str:
    """SHA-256 of what a batch is opened with."""
    text = json.dumps([declared, files], cls=DjangoJSONEncoder, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _insert(batch_id: UUID, vehicle: Vehicle, declared: dict[str, Any], files: list[dict[str, Any]] | None, actor: str) -> Batch:
    if files:
        need_room(vehicle.pk, sum(file["size"] for file in files))
    batch = Batch.objects.create(id=batch_id, vehicle=vehicle, manifest=files, opened_with=fingerprint(declared, files), **declared)
    record(batch, EventType.BATCH_OPENED, {"batch_id": str(batch.pk), "vehicle_id": str(vehicle.pk)}, actor=actor)
    if files:
        _announce(batch, files)
    return batch


def _announce(batch: Batch, files: list[dict[str, Any]]) -> None:
    """One open upload for each file; in one statement for many rows, because bulk_create needs a thousand for 50,000 on SQLite."""
    connection = transaction.get_connection()
    fields = Upload._meta.concrete_fields
    sample = Upload(batch=batch, declared=True)
    usual = {str(field.column): field.get_db_prep_save(field.pre_save(sample, add=True), connection) for field in fields}
    prepare_id = Upload._meta.pk.get_db_prep_save
    begun, rows = timezone.now(), []
    created_at = Upload._meta.get_field("created_at").get_db_prep_save
    for place, file in enumerate(files):
        upload_id = uuid4()
        row = {
            **usual,
            "id": prepare_id(upload_id, connection),
            "storage_key": raw_key(batch.pk, upload_id),
            "name": file["name"],
            "kind": file.get("kind", ""),
            "priority": file.get("priority", 0),
            "declared_size": file["size"],
            "declared_sha256": file.get("sha256", ""),
            # Microseconds apart: they are listed in the order of their announcement.
            "created_at": created_at(begun + timedelta(microseconds=place), connection),
        }
        rows.append(tuple(row.values()))
    _insert_rows(Upload._meta.db_table, list(usual), rows)


def _insert_rows(table: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """All rows at once, with what the database has for that: 50,000 take half a second."""
    connection = transaction.get_connection()
    quote = connection.ops.quote_name
    into = f"{quote(table)} ({', '.join(quote(name) for name in columns)})"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {into} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            cursor.executemany(f"INSERT INTO {into} VALUES ({', '.join(['%s'] * len(columns))})", rows)  # noqa: S608


def _check(files: list[dict[str, Any]] | None) -> None:
    """Refuse at once what no upload could bring."""
    files = files or []
    if len(files) > settings.ARGUS_MAX_FILES_PER_BATCH:
        raise BatchFull(f"A batch may have {settings.ARGUS_MAX_FILES_PER_BATCH} files.")
    for file in files:
        if file["size"] == 0:
            raise EmptyFile(f"{file['name']} has no bytes.")
        if file["size"] > settings.ARGUS_MAX_FILE_BYTES:
            raise FileTooLarge(
                f"{file['name']} has {file['size']} bytes; {settings.ARGUS_MAX_FILE_BYTES} are allowed.",
                limit=settings.ARGUS_MAX_FILE_BYTES,
            )
