"""Database time: leases and deadlines are compared and written in SQL, so that no host's clock matters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db.models import DateTimeField, Expression, ExpressionWrapper, Value
from django.db.models.functions import Now

# `lease_until` is never NULL: `NULL < now` is not true, and a row without a lease would escape every deadline.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_now(delta: timedelta) -> Expression:
    """`Now() + delta` as an SQL expression."""
    return ExpressionWrapper(Now() + Value(delta), output_field=DateTimeField())
