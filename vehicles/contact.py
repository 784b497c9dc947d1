"""When a vehicle was last heard, and how far its clock was off; at most one write a minute and vehicle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from django.db.models import Q
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.http import parse_http_date_safe

from vehicles.models import Vehicle

NOTE_EVERY = timedelta(minutes=1)
MILLISECONDS = re.compile(r"-?\d{1,15}")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def told_time_ms(headers: Mapping[str, str]) -> int | None:
    """The vehicle's own time in ms since 1970, from a request's META; None when it tells none that can be read.

    `X-Argus-Time` (ms since 1970, or ISO 8601 with a zone) before `Date` (whole seconds).
    """
    given = headers.get("HTTP_X_ARGUS_TIME", "").strip()
    if MILLISECONDS.fullmatch(given):
        return int(given)
    if given:
        try:
            moment = parse_datetime(given)
        except ValueError:
            return None
        return None if moment is None or moment.tzinfo is None else (moment - EPOCH) // timedelta(milliseconds=1)
    seconds = parse_http_date_safe(headers.get("HTTP_DATE", ""))
    return None if seconds is None else seconds * 1000


def note_contact(vehicle: Vehicle, headers: Mapping[str, str]) -> None:
    """The vehicle has called. The offset is its time minus ours (positive: it is ahead), the way through the network included."""
    now = timezone.now()
    due = now - NOTE_EVERY
    if vehicle.last_contact_at is not None and vehicle.last_contact_at > due:
        return
    values: dict[str, object] = {"last_contact_at": now}
    told = told_time_ms(headers)
    if told is not None:
        values |= {"clock_offset_ms": told - (now - EPOCH) // timedelta(milliseconds=1), "clock_measured_at": now}
    # Again in the row: requests of one vehicle come side by side.
    Vehicle.objects.filter(Q(last_contact_at__isnull=True) | Q(last_contact_at__lte=due), pk=vehicle.pk).update(**values)
