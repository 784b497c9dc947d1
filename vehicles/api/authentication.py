"""Who calls the API with a token: a vehicle, or an integration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from vehicles.models import ApiToken, Vehicle
from vehicles.tokens import find_token, touch


@dataclass(frozen=True, slots=True)
class Bearer:
    """What stands in `request.user` when a token was sent."""

    token: ApiToken
    is_authenticated = True

    @property
    def vehicle(self) -> Vehicle | None:
        """The vehicle whose token it is; None for an integration's."""
        return self.token.vehicle

    @property
    def actor(self) -> str:
        """As events name it."""
        return f"vehicle:{self.token.vehicle_id}" if self.token.vehicle_id else f"token:{self.token.key_id}"


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer argus_v1_…`, in no other place: addresses and bodies end up in logs."""

    def authenticate(self, request: Request) -> tuple[Bearer, ApiToken] | None:
        """The caller; None without a bearer token. Raises AuthenticationFailed for a wrong, expired or revoked one, not saying which."""
        scheme, _, text = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = find_token(text.strip())
        if token is None:
            raise AuthenticationFailed("The token is not valid: mistyped, expired or revoked.")
        touch(token)
        return Bearer(token), token

    def authenticate_header(self, request: Request) -> str:
        """What a 401 answer asks for."""
        return 'Bearer realm="argus"'


class TokenScheme(OpenApiAuthenticationExtension):
    """How the API description names it."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The OpenAPI security scheme."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "argus_v1_<key id>_<secret>_<checksum>"}
