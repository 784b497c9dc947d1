"""The API by which vehicles come in and keep their tokens: each view authorises, makes one call and shapes one answer."""

from __future__ import annotations

import json
from typing import Any, ClassVar, NoReturn
from uuid import UUID

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import NotAuthenticated
from rest_framework.parsers import JSONParser
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.json import strict_constant
from rest_framework.views import APIView

from common.addresses import client_address
from common.errors import BodyTooLarge, LengthRequired, MalformedBody, TooManyRequests
from common.json_api import AlwaysJSON, StrictSerializer
from vehicles import enrolment
from vehicles.api import access, describe
from vehicles.api.authentication import (
    Bearer,
    ClaimAuthentication,
    Enrolling,
    EnrolmentAuthentication,
    TokenAuthentication,
    bearer_text,
    refuse,
)
from vehicles.counting import count_up
from vehicles.enrolment import InvalidVin
from vehicles.models import EnrolmentState
from vehicles.tokens import rotate

MAX_BODY_BYTES = 64 * 2**10
SOFTWARE_ENTRIES, SOFTWARE_KEY, SOFTWARE_VALUE = 100, 64, 200
ASK_AGAIN_SECONDS = 30
CLAIMS_PER_MINUTE = 30


class SmallJSONParser(JSONParser):
    """JSON up to MAX_BODY_BYTES; DRF's own reads whatever comes."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The value of the body. Raises BodyTooLarge, MalformedBody."""
        content = stream.read(MAX_BODY_BYTES + 1)
        if len(content) > MAX_BODY_BYTES:
            raise BodyTooLarge(f"At most {MAX_BODY_BYTES} bytes of JSON are read.")
        try:
            return json.loads(content, parse_constant=strict_constant)
        except (ValueError, RecursionError) as error:
            raise MalformedBody(f"The body is not JSON: {error}") from error


class VehicleView(APIView):
    """What all views share: JSON in and out, OPTIONS for everybody who is known."""

    parser_classes: ClassVar[list[Any]] = [SmallJSONParser]  # type: ignore[misc]
    content_negotiation_class = AlwaysJSON
    needs: ClassVar[dict[str, access.Needs]] = {}

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        """The methods, in the Allow header."""
        return Response(status=204)


class NewEnrolment(StrictSerializer):
    """What a vehicle says of itself."""

    vin = serializers.CharField(max_length=100, help_text="17 characters: digits and capital letters without I, O and Q")
    name = serializers.CharField(max_length=100, required=False, allow_blank=True, help_text="what people call it")
    software = serializers.DictField(
        child=serializers.CharField(max_length=SOFTWARE_VALUE, allow_blank=True),
        required=False,
        help_text=f"component -> version, at most {SOFTWARE_ENTRIES}",
    )

    def validate_vin(self, vin: str) -> str:
        """Refused with a code of its own."""
        if not enrolment.PATTERN.fullmatch(vin):
            raise InvalidVin
        return vin

    def validate_software(self, software: dict[str, str]) -> dict[str, str]:
        """Bounded, as that of a batch."""
        if len(software) > SOFTWARE_ENTRIES:
            raise serializers.ValidationError(f"At most {SOFTWARE_ENTRIES} components and versions are taken.")
        name = serializers.CharField(max_length=SOFTWARE_KEY)
        return {name.run_validation(key): version for key, version in software.items()}


class EnrolmentAnswer(serializers.Serializer):
    """Taken note of. With `claim` the vehicle asks for its token."""

    id = serializers.UUIDField()
    state = serializers.ChoiceField(choices=[EnrolmentState.PENDING.value, EnrolmentState.ACCEPTED.value])
    claim = serializers.CharField(help_text="shown here only: the bearer token of the next call")
    claim_url = serializers.URLField()
    retry_after = serializers.IntegerField(help_text="seconds until asking makes sense")


class WaitingAnswer(serializers.Serializer):
    """Nobody has decided yet."""

    id = serializers.UUIDField()
    state = serializers.ChoiceField(choices=[EnrolmentState.PENDING.value])
    retry_after = serializers.IntegerField(help_text="seconds until asking makes sense")


class TokenAnswer(serializers.Serializer):
    """The vehicle's token; it is shown here only."""

    token = serializers.CharField()
    vehicle_id = serializers.UUIDField()


class Enrol(VehicleView):
    """The first contact of a vehicle."""

    authentication_classes: ClassVar[list[type[BaseAuthentication]]] = [EnrolmentAuthentication]  # type: ignore[misc]
    permission_classes: ClassVar[list[type[BasePermission]]] = [IsAuthenticated]  # type: ignore[misc]

    @extend_schema(
        operation_id="enrolVehicle",
        summary="Announce a vehicle with an enrolment token",
        request=NewEnrolment,
        responses={202: EnrolmentAnswer, **describe.problems(400, 403, 411, 413, 415, 422)},
    )
    def post(self, request: Request) -> Response:
        """An operator accepts the vehicle, unless its VIN was approved before. May be said again: the last answer counts.

        The VIN of a vehicle that is in already is no way in: its tokens stay valid until an operator accepts the enrolment.
        """
        caller: Enrolling = request.user  # type: ignore[assignment]
        _bounded(f"enrol:{caller.token.key_id}", settings.ARGUS_ENROLMENTS_PER_MINUTE)
        if request.META.get("HTTP_TRANSFER_ENCODING"):
            raise LengthRequired
        body = NewEnrolment(data=request.data)
        body.is_valid(raise_exception=True)
        said = enrolment.Announcement(**body.validated_data, address=str(client_address(request.META) or ""))
        made, claim = enrolment.enrol(caller.token, said)
        wait = ASK_AGAIN_SECONDS if made.state == EnrolmentState.PENDING else 0
        url = request.build_absolute_uri(reverse("enrolment-claim", kwargs={"enrolment_id": made.pk}))
        return _never_stored({"id": made.pk, "state": made.state, "claim": claim, "claim_url": url, "retry_after": wait}, 202, wait)


class Claim(VehicleView):
    """The token of a vehicle that has enrolled."""

    authentication_classes: ClassVar[list[type[BaseAuthentication]]] = [ClaimAuthentication]  # type: ignore[misc]
    permission_classes: ClassVar[list[type[BasePermission]]] = []  # type: ignore[misc]

    @extend_schema(
        operation_id="claimToken",
        summary="Ask for the token of an enrolled vehicle",
        request=None,
        responses={200: TokenAnswer, 202: WaitingAnswer, **describe.problems(403, 404, 409)},
    )
    def post(self, request: Request, enrolment_id: UUID) -> Response:
        """With the claim of the enrolment as bearer token. 202 until an operator has decided.

        Whoever lost the answer asks again within a day: the token that was never used is revoked, and another one made.
        """
        found = self._enrolment(request, enrolment_id)
        _bounded(f"claim:{enrolment_id}", CLAIMS_PER_MINUTE)
        token = enrolment.claim(found)
        if token is None:
            waiting = {"id": enrolment_id, "state": EnrolmentState.PENDING.value, "retry_after": ASK_AGAIN_SECONDS}
            return _never_stored(waiting, 202, ASK_AGAIN_SECONDS)
        return _never_stored({"token": token, "vehicle_id": found.vehicle_id}, 200)

    def _enrolment(self, request: Request, enrolment_id: UUID) -> enrolment.Enrolment:
        text = bearer_text(request)
        if text is None:
            self._unknown()
        found = enrolment.find_enrolment(enrolment_id, text)
        if found is None:
            refuse(request, enrolment.CLAIM, text)
        return found

    def _unknown(self) -> NoReturn:
        raise NotAuthenticated("The claim that the enrolment answered is missing: Authorization: Bearer argus_claim_…")


class Token(VehicleView):
    """The vehicle's own token."""

    authentication_classes: ClassVar[list[type[BaseAuthentication]]] = [TokenAuthentication]  # type: ignore[misc]
    permission_classes: ClassVar[list[type[BasePermission]]] = [access.HasRight]  # type: ignore[misc]
    needs: ClassVar = {"POST": access.ANY_VEHICLE}

    @extend_schema(
        operation_id="rotateToken",
        summary="Get another token with the same rights",
        request=None,
        responses={201: TokenAnswer, **describe.problems(409)},
    )
    def post(self, request: Request) -> Response:
        """The old one lives on until 24 hours after the new one is used first; a third live token is refused."""
        caller: Bearer = request.user  # type: ignore[assignment]
        assert caller.vehicle is not None  # only a vehicle has the right
        _, text = rotate(caller.vehicle, caller.token, actor=caller.actor)
        return _never_stored({"token": text, "vehicle_id": caller.vehicle.pk}, 201)


def _bounded(subject: str, per_minute: int) -> None:
    """Raises TooManyRequests."""
    if (wait := count_up(subject, per_minute)) is not None:
        error = TooManyRequests()
        error.retry_after = wait
        raise error


def _never_stored(body: dict[str, Any], status: int, retry_after: int = 0) -> Response:
    headers = {"Cache-Control": "no-store", **({"Retry-After": str(retry_after)} if retry_after else {})}
    return Response(body, status=status, headers=headers)
