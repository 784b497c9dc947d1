"""Who calls the API: a vehicle by its token or its client certificate, an integration, or a vehicle that announces itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request

from common.addresses import as_subject, client_address
from vehicles import credentials
from vehicles.contact import note_contact
from vehicles.counting import count_up
from vehicles.enrolment_tokens import KIND as ENROLMENT_KIND
from vehicles.enrolment_tokens import find_enrolment_token
from vehicles.models import VEHICLE_SCOPES, ApiToken, EnrolmentToken, Vehicle
from vehicles.mtls import presented_certificate, vehicle_of_certificate
from vehicles.tokens import KIND, find_token, touch


@dataclass(frozen=True, slots=True)
class Bearer:
    """What stands in `request.user` when a token was sent, or when a proxy vouches for a certificate (`token` is None then)."""

    token: ApiToken | None
    vehicle: Vehicle | None
    scopes: tuple[str, ...]
    is_authenticated = True

    @property
    def actor(self) -> str:
        """As events name it."""
        if self.vehicle:
            return f"vehicle:{self.vehicle.pk}"
        return f"token:{self.token.key_id if self.token else ''}"


@dataclass(frozen=True, slots=True)
class Enrolling:
    """What stands in `request.user` when an enrolment token was sent: it opens nothing but the enrolment."""

    token: EnrolmentToken
    is_authenticated = True


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer argus_v1_…`, in no other place (addresses and bodies end up in logs); or a client certificate."""

    def authenticate(self, request: Request) -> tuple[Bearer, ApiToken | str] | None:
        """The caller; None without token and certificate. Raises AuthenticationFailed for a wrong, expired or revoked token, not saying
        which, and for one that is another vehicle's than the certificate; Throttled for the next one of too many.
        """
        text, fingerprint = bearer_text(request), presented_certificate(request.META)
        if text is not None:
            token = find_token(text)
            if token is None:
                refuse(request, KIND, text)
            if fingerprint is not None:
                _agree(token, fingerprint)
            touch(token)
            caller = Bearer(token, token.vehicle, tuple(token.scopes))
            auth: ApiToken | str = token
        elif fingerprint is not None and (vehicle := vehicle_of_certificate(fingerprint)):
            caller, auth = Bearer(None, vehicle, tuple(VEHICLE_SCOPES)), fingerprint
        else:
            return None
        if caller.vehicle:
            note_contact(caller.vehicle, request.META)
        return caller, auth

    def authenticate_header(self, request: Request) -> str:
        """What a 401 answer asks for."""
        return 'Bearer realm="argus"'


class EnrolmentAuthentication(BaseAuthentication):
    """`Authorization: Bearer argus_enrol_…`."""

    def authenticate(self, request: Request) -> tuple[Enrolling, EnrolmentToken] | None:
        """Who announces itself; None without a token. Raises as TokenAuthentication does."""
        text = bearer_text(request)
        if text is None:
            return None
        token = find_enrolment_token(text)
        if token is None:
            refuse(request, ENROLMENT_KIND, text)
        return Enrolling(token), token

    def authenticate_header(self, request: Request) -> str:
        """What a 401 answer asks for."""
        return 'Bearer realm="argus"'


class ClaimAuthentication(BaseAuthentication):
    """`Authorization: Bearer argus_claim_…`: which claim is right depends on the address, so the view looks at it."""

    def authenticate(self, request: Request) -> None:
        """Nobody yet."""
        return

    def authenticate_header(self, request: Request) -> str:
        """What a 401 answer asks for."""
        return 'Bearer realm="argus"'


def bearer_text(request: Request) -> str | None:
    """What was sent as a bearer token, whatever it is; None when none was sent."""
    scheme, _, text = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


def refuse(request: Request, kind: str, text: str) -> NoReturn:
    """Answer a wrong token: 401, and 429 after too many of one address or for one key id within a minute.

    Only refusals are counted and only refusals become 429: a valid token is found first, wherever it comes from, so nobody can lock a
    vehicle out. The secrets are too long to be guessed; the limit keeps guessing cheap for us and visible.
    """
    limit = settings.ARGUS_REFUSALS_PER_MINUTE
    wait = count_up(f"refused:{as_subject(client_address(request.META))}", limit)
    if wait is None and (presented := credentials.read(kind, text)):
        wait = count_up(f"refused:{kind}:{presented.key_id}", limit)
    if wait is not None:
        raise Throttled(wait, "Too many tokens were refused.")
    raise AuthenticationFailed("The token is not valid: mistyped, expired or revoked.")


def _agree(token: ApiToken, fingerprint: str) -> None:
    """A token and a certificate at once must be of one vehicle, as far as the certificate is any vehicle's."""
    vehicle = token.vehicle
    if vehicle is not None and vehicle.certificate_sha256 == fingerprint:
        return
    if vehicle is not None and vehicle.certificate_sha256:
        raise AuthenticationFailed("The token and the client certificate do not belong together.")
    if Vehicle.objects.filter(certificate_sha256=fingerprint).exists():
        raise AuthenticationFailed("The token and the client certificate do not belong together.")


class TokenScheme(OpenApiAuthenticationExtension):
    """How the API description names it."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The OpenAPI security scheme."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "argus_v1_<key id>_<secret>_<checksum>"}


class EnrolmentScheme(OpenApiAuthenticationExtension):
    """How the API description names it."""

    target_class = EnrolmentAuthentication
    name = "enrolmentToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The OpenAPI security scheme."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "argus_enrol_<key id>_<secret>_<checksum>"}


class ClaimScheme(OpenApiAuthenticationExtension):
    """How the API description names it."""

    target_class = ClaimAuthentication
    name = "enrolmentClaim"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The OpenAPI security scheme."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "argus_claim_<key id>_<secret>_<checksum>"}
