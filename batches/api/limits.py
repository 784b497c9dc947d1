"""How many uploads this process takes at once, in all and of one vehicle."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast
from uuid import UUID

from django.conf import settings
from rest_framework.request import Request

from batches.api import access
from common.errors import TooManyUploads

View = TypeVar("View", bound=Callable[..., Any])

# Senders that were refused together should not come back together.
RETRY_SECONDS = (3, 12)


class Slots:
    """Uploads that are under way in this process: in all, and by vehicle."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[UUID | None] = Counter()

    @property
    def taken(self) -> int:
        """How many there are."""
        return self._taken.total()

    @contextmanager
    def one(self, vehicle: UUID | None) -> Iterator[None]:
        """One upload more for the length of the block. Raises TooManyUploads, before anything of it was read."""
        with self._lock:
            if self._taken.total() >= settings.ARGUS_MAX_UPLOADS:
                raise _later("The server takes no more at the moment.")
            if self._taken[vehicle] >= settings.ARGUS_MAX_UPLOADS_PER_VEHICLE:
                raise _later(f"{self._taken[vehicle]} uploads of this vehicle are under way.")
            self._taken[vehicle] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[vehicle] -= 1
                if not self._taken[vehicle]:
                    del self._taken[vehicle]


slots = Slots()


def _later(detail: str) -> TooManyUploads:
    error = TooManyUploads(detail)
    error.retry_after = random.randint(*RETRY_SECONDS)  # noqa: S311 - spreads load, guards nothing
    return error


def one_upload(view: View) -> View:
    """For methods of views that read a file's bytes: as many at once as ARGUS_MAX_UPLOADS and ARGUS_MAX_UPLOADS_PER_VEHICLE allow."""

    @wraps(view)
    def limited(self: Any, request: Request, *args: Any, **kwargs: Any) -> Any:
        vehicle = access.vehicle_of(request)
        with slots.one(vehicle.pk if vehicle else None):
            return view(self, request, *args, **kwargs)

    return cast("View", limited)
