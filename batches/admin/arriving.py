"""Files on their way into a batch, as its page shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser, User

from batches.admin import queries
from batches.admin.actions import CANCEL
from batches.models import OPEN, Batch
from files.models import Upload, UploadState


@dataclass(frozen=True, slots=True)
class Arrival:
    """One file on its way: `kind` colours the word for its state; `percent` is None while its length is not known."""

    upload: Upload
    words: str
    kind: str
    percent: int | None


def arriving(batch: Batch, user: User | AnonymousUser) -> dict[str, Any]:
    """What the part of the page shows, and whether this user may end an upload; nothing for a batch that takes no more files."""
    if batch.state not in OPEN:
        return {"arrivals": [], "may_end": False}
    rows, sums = [arrival(upload) for upload in queries.arriving(batch)], queries.arriving_sums(batch)
    return {
        "arrivals": rows,
        "arriving_count": sums["count"],
        "arriving_more": sums["count"] - len(rows),
        "arriving_offset": sums["offset"],
        "arriving_size": sums["size"],
        "may_end": user.has_perm(CANCEL),
    }


def arrival(upload: Any) -> Arrival:
    """One row, of an upload with `live`."""
    size = upload.declared_size
    percent = min(100, 100 * upload.offset // size) if size else None
    if upload.state == UploadState.VERIFYING:
        words, kind = "verifying", "running"
    elif upload.live:
        words, kind = "sending", "running"
    elif upload.error_code:
        words, kind = "must come again", "warning"
    elif upload.offset:
        words, kind = "interrupted", "warning"
    else:
        words, kind = "announced" if upload.declared else "opened", "quiet"
    return Arrival(upload, words, kind, percent)
