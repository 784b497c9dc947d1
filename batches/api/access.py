"""What each call about batches needs, and which batches somebody sees at all."""

from __future__ import annotations

from django.contrib.auth.models import User
from rest_framework.request import Request

from events.actors import user_actor
from vehicles.api.access import Needs
from vehicles.api.authentication import Bearer
from vehicles.models import Scope, Vehicle

CREATE = Needs(vehicle=(Scope.BATCH_CREATE,))
SEND = Needs(vehicle=(Scope.FILE_PUT,))
COMPLETE = Needs(vehicle=(Scope.BATCH_COMPLETE,))
READ = Needs(vehicle=(Scope.BATCH_READ_OWN, Scope.BATCH_READ), integration=(Scope.BATCH_READ,), permission="batches.view_batch")
DELETE = Needs(integration=(Scope.BATCH_DELETE,), permission="batches.delete_batch")


def actor_of(request: Request) -> str:
    """The caller as events name it."""
    caller: Bearer | User = request.user  # type: ignore[assignment]
    return caller.actor if isinstance(caller, Bearer) else user_actor(caller)


def vehicle_of(request: Request) -> Vehicle | None:
    """The vehicle that the caller is; None for those who see every vehicle's batches."""
    caller: Bearer | User = request.user  # type: ignore[assignment]
    return caller.vehicle if isinstance(caller, Bearer) else None


def sees_vin(request: Request) -> bool:
    """A vehicle knows its own VIN, an integration is trusted with it, a person needs the permission to see vehicles."""
    caller: Bearer | User = request.user  # type: ignore[assignment]
    return isinstance(caller, Bearer) or caller.has_perm("vehicles.view_vehicle")
