"""Counts in the database, so that all processes count together: how often something has happened within a minute."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now
from django.utils import timezone

from common.clock import from_now
from vehicles.models import Counter

WINDOW = timedelta(minutes=1)
KEPT = 2 * WINDOW


def seconds_over(subject: str, limit: int) -> int | None:
    """Seconds until the subject may go on, when it has reached its limit; else None. Writes nothing."""
    since = Counter.objects.filter(subject=subject, since__gt=from_now(-WINDOW), count__gte=limit).values_list("since", flat=True).first()
    return None if since is None else max(1, int((since + WINDOW - timezone.now()).total_seconds()) + 1)


def count_up(subject: str, limit: int) -> int | None:
    """Count once more; the seconds to wait when that is more than `limit` within a minute, else None.

    Above the limit nothing is written any more: whoever hammers costs a read.
    """
    if (wait := seconds_over(subject, limit)) is not None:
        return wait
    over = Q(since__lte=from_now(-WINDOW))
    step = {
        "count": Case(When(over, then=Value(1)), default=F("count") + 1),
        "since": Case(When(over, then=Now()), default=F("since")),
    }
    if not Counter.objects.filter(subject=subject).update(**step):
        Counter.objects.filter(since__lte=from_now(-KEPT)).delete()
        Counter.objects.bulk_create([Counter(subject=subject)], ignore_conflicts=True)  # another process may be as fast
        Counter.objects.filter(subject=subject).update(**step)
    return seconds_over(subject, limit + 1)
