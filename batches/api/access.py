"""Who may do what: scopes for tokens, Django permissions for people; and which batches somebody sees at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from django.contrib.auth.models import User
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from events.actors import user_actor
from vehicles.api.authentication import Bearer
from vehicles.models import Scope, Vehicle


@dataclass(frozen=True, slots=True)
class Needs:
    """One of these scopes of a vehicle's token, or of an integration's, or this permission of a person. Empty: nobody of that sort."""

    vehicle: tuple[Scope, ...] = ()
    integration: tuple[Scope, ...] = ()
    permission: str = ""


CREATE = Needs(vehicle=(Scope.BATCH_CREATE,))
SEND = Needs(vehicle=(Scope.FILE_PUT,))
COMPLETE = Needs(vehicle=(Scope.BATCH_COMPLETE,))
READ = Needs(vehicle=(Scope.BATCH_READ_OWN, Scope.BATCH_READ), integration=(Scope.BATCH_READ,), permission="batches.view_batch")
DELETE = Needs(integration=(Scope.BATCH_DELETE,), permission="batches.delete_batch")


class HasRight(BasePermission):
    """The view's `needs` for the method; a method without an entry is for nobody, OPTIONS for everybody who is known."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Does the caller have it? Raises MethodNotAllowed for a method that the view lacks: no other token would help."""
        caller = request.user
        if not caller or not caller.is_authenticated:
            return False
        method = "GET" if request.method == "HEAD" else request.method
        if method == "OPTIONS":
            return True
        if method not in view.allowed_methods:
            raise MethodNotAllowed(str(request.method))
        needs = cast("dict[str, Needs]", getattr(view, "needs", {})).get(str(method))
        if needs is None:
            return False
        if isinstance(caller, Bearer):
            wanted = needs.vehicle if caller.vehicle else needs.integration
            return any(scope in caller.token.scopes for scope in wanted)
        return bool(needs.permission) and caller.is_staff and caller.has_perm(needs.permission)


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
