"""Ends what a vehicle is sending at this moment, when it has lost the right to send."""

from __future__ import annotations

from uuid import UUID

from django.db.models import F
from django.db.models.functions import Now

from files.models import Upload, UploadState


def stop_writers(vehicle_id: UUID) -> int:
    """Evict whoever writes to the open uploads of the vehicle at this moment; their number.

    A writer looks at the generation every second and leaves when it is no longer its own. The uploads stay open: the vehicle can go on
    with another token.
    """
    writing = Upload.objects.filter(batch__vehicle_id=vehicle_id, state=UploadState.OPEN, lease_until__gt=Now())
    return writing.update(generation=F("generation") + 1)
