"""Who may call what: scopes for tokens, Django permissions for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from vehicles.api.authentication import Bearer
from vehicles.models import VEHICLE_SCOPES, Scope


@dataclass(frozen=True, slots=True)
class Needs:
    """One of these scopes of a vehicle's token, or of an integration's, or this permission of a person. Empty: nobody of that sort."""

    vehicle: tuple[Scope, ...] = ()
    integration: tuple[Scope, ...] = ()
    permission: str = ""


ANY_VEHICLE = Needs(vehicle=VEHICLE_SCOPES)


class HasRight(BasePermission):
    """The view's `needs` for the method; a method without an entry is for nobody, OPTIONS for everybody who is known."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Does the caller have it? Raises MethodNotAllowed for a method that the view lacks: no other token would help."""
        caller = request.user
        if not caller or not caller.is_authenticated:
            return False
        rights = cast("dict[str, Needs]", getattr(view, "needs", {}))
        method = "GET" if request.method == "HEAD" and "HEAD" not in rights else request.method
        if method == "OPTIONS":
            return True
        if method not in view.allowed_methods:
            raise MethodNotAllowed(str(request.method))
        needs = rights.get(str(method))
        if needs is None:
            return False
        if isinstance(caller, Bearer):
            wanted = needs.vehicle if caller.vehicle else needs.integration
            return any(scope in caller.scopes for scope in wanted)
        return bool(needs.permission) and caller.is_staff and caller.has_perm(needs.permission)
