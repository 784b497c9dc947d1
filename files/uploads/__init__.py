"""Uploads: bytes on their way in, from the first of them to the File or to the end without one.

`writing` gives the one writer of an upload; `batches.intake` makes the File of what it publishes.
"""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from files.models import COMING, Upload
from files.uploads.claims import NEW_LEASE, NO_LEASE, STEP, Finished, need_coming
from files.uploads.ends import IDLE, collect, collect_strays, discard, end, expire, left_whole, offset_of
from files.uploads.writer import Sum, Writer, writing

__all__ = [
    "IDLE",
    "NEW_LEASE",
    "NO_LEASE",
    "STEP",
    "Finished",
    "Sum",
    "Writer",
    "collect",
    "collect_strays",
    "coming",
    "discard",
    "end",
    "expire",
    "left_whole",
    "need_coming",
    "offset_of",
    "raw_key",
    "raw_prefix",
    "writing",
]


def raw_key(batch_id: UUID, file_id: UUID) -> str:
    """Where the bytes of a file lie."""
    return f"{raw_prefix(batch_id)}/{file_id}"


def raw_prefix(batch_id: UUID) -> str:
    """Where the bytes of all files of a batch lie."""
    return f"raw/{batch_id}"


def coming(batch_id: UUID) -> QuerySet[Upload]:
    """Uploads of a batch that may still become files."""
    return Upload.objects.filter(batch_id=batch_id, state__in=COMING)
