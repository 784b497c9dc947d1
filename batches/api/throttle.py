"""How many requests a second a vehicle may make."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from common import rates
from common.errors import TooManyRequests
from vehicles.api.authentication import Bearer

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which itself imports this module, by its name in the settings


class ByVehicle(BaseThrottle):
    """A token bucket for each vehicle, for every view of the API and all processes of the host; DRF's own throttles are not atomic."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        """True, or TooManyRequests."""
        caller: object = request.user
        if isinstance(caller, Bearer) and caller.vehicle:
            wait = rates.take(f"vehicle:{caller.vehicle.pk}", settings.ARGUS_REQUESTS_PER_SECOND, settings.ARGUS_REQUEST_BURST)
            if wait:
                error = TooManyRequests(f"More than {settings.ARGUS_REQUESTS_PER_SECOND:g} requests a second.")
                error.retry_after = math.ceil(wait)
                raise error
        return True
