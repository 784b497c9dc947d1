"""How a file is cut into parts that go straight to the store, and what of them is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from common.errors import PartsMissing, UploadLost
from files import storage
from files.models import Upload, UploadState

SMALLEST_PART, LARGEST_PART = 16 << 20, 64 << 20
MOST_PARTS = 1000  # as many addresses as one answer should have; S3 takes ten times as many
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a file: `etag` says that it is there, `address` where it can be sent to."""

    number: int
    size: int
    etag: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sender has to know; no parts once there is nothing to send any more."""

    upload: Upload
    part_size: int
    parts: list[Part]
    expires_at: datetime | None = None


def part_bytes(size: int, wish: int | None = None) -> int:
    """How large the parts of a file of `size` bytes are; as large as wished where that does not make too many."""
    least = -(-size // MOST_PARTS)
    return max(wish or SMALLEST_PART, -(-least // MIB) * MIB)


def begin(upload: Upload, wish: int | None) -> None:
    """Open a multipart upload for a file whose bytes have not begun to come. Raises DiskFull, StorageUnavailable, UploadLost.

    For the writer of the upload.
    """
    assert upload.declared_size is not None
    size = part_bytes(upload.declared_size, wish)

    def keep(remote_id: str) -> None:
        kept = Upload.objects.filter(pk=upload.pk, state=UploadState.OPEN, generation=upload.generation)
        if not kept.update(remote_id=remote_id, direct_part_size=size):
            raise UploadLost

    upload.remote_id = storage.direct(upload.storage_key).begin(keep)
    upload.direct_part_size = size


def plan(upload: Upload) -> Plan:
    """Every part, those that are missing or wrong with a new address. Raises UploadLost when the store knows nothing of it any more."""
    way = storage.direct(upload.storage_key)
    stored = way.stored(upload.remote_id) if upload.remote_id else None
    if stored is None:
        raise UploadLost("The storage has given the upload up: begin it again.")
    there = {part.number: part for part in stored}
    expires_at = timezone.now() + timedelta(seconds=settings.ARGUS_S3_URL_SECONDS)
    parts = []
    for number, size in _cut(upload).items():
        known = there.get(number)
        if known and known.size == size:
            parts.append(Part(number, size, etag=known.etag))
        else:
            parts.append(Part(number, size, address=way.address(upload.remote_id, number, size)))
    return Plan(upload, upload.direct_part_size or 0, parts, expires_at)


def need_parts(upload: Upload, told: Mapping[int, str]) -> None:
    """Raise PartsMissing unless every part is there in its size, and has the ETag that the sender was told, where it says one.

    Raises UploadLost when the store knows nothing of the upload any more, StorageUnavailable.
    """
    way = storage.direct(upload.storage_key)
    stored = way.stored(upload.remote_id) if upload.remote_id else None
    if stored is None:
        if way.published() == upload.declared_size:
            return  # made by an earlier call
        raise UploadLost("The storage has given the upload up: begin it again.")
    there = {part.number: part for part in stored}
    cut = _cut(upload)
    missing = [number for number in cut if number not in there]
    wrong = [
        number
        for number, size in cut.items()
        if number in there and (there[number].size != size or told.get(number, there[number].etag).strip('"') != there[number].etag)
    ]
    unknown = sorted(number for number in told if number not in cut)
    if missing or wrong or unknown:
        raise PartsMissing(
            f"{len(missing)} parts are missing, {len(wrong)} are not as announced, {len(unknown)} do not belong to the file.",
            missing=missing,
            wrong=wrong,
            unknown=unknown,
        )


def _cut(upload: Upload) -> dict[int, int]:
    """Numbers and sizes of all parts."""
    assert upload.declared_size is not None
    assert upload.direct_part_size
    starts = range(0, upload.declared_size, upload.direct_part_size)
    return {number: min(upload.direct_part_size, upload.declared_size - start) for number, start in enumerate(starts, 1)}
