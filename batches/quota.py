"""How many bytes a vehicle may send within 24 hours."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Sum
from django.db.models.functions import Coalesce

from common.clock import from_now
from common.errors import QuotaExceeded
from files.models import COMING, Upload, UploadState

DAY = timedelta(days=1)


def sent_bytes(vehicle_id: UUID) -> int:
    """Bytes of all uploads that the vehicle began within the last 24 hours: announced, or come; nothing for those given up."""
    begun = Upload.objects.filter(batch__vehicle_id=vehicle_id, created_at__gt=from_now(-DAY), state__in=[*COMING, UploadState.FINISHED])
    return int(begun.aggregate(total=Sum(Coalesce("declared_size", "offset")))["total"] or 0)


def need_room(vehicle_id: UUID, size: int) -> None:
    """Raise QuotaExceeded if the vehicle would send more than `ARGUS_DAILY_BYTES` with `size` bytes more; for the creation of an upload."""
    allowed = settings.ARGUS_DAILY_BYTES
    if not allowed:
        return
    sent = sent_bytes(vehicle_id)
    if sent + max(1, size) > allowed:
        raise QuotaExceeded(f"{sent} of {allowed} bytes were sent or announced within 24 hours.", sent=sent, limit=allowed)
