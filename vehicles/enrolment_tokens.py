"""Enrolment tokens: `argus_enrol_<key id>_<secret>_<crc32>`; a vehicle announces itself with one, and can do nothing else with it."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from common.errors import ArgusError
from events.models import EventType
from events.record import record_act
from vehicles import credentials
from vehicles.models import EnrolmentToken, Fleet, Platform

KIND = "argus_enrol"


class EnrolmentTokenUsedUp(ArgusError):
    status = 403
    code = "enrolment_token_used_up"
    title = "As many vehicles as may have come with this enrolment token"
    action = "Ask the operator for another enrolment token."


def make_enrolment_token(
    label: str,
    *,
    actor: str,
    fleet: Fleet | None = None,
    platform: Platform | None = None,
    expires_at: datetime | None = None,
    max_uses: int | None = None,
) -> tuple[EnrolmentToken, str]:
    """Make one and return it with its full text, which exists only in this answer."""
    issued = credentials.issue(KIND)
    with transaction.atomic():
        token = EnrolmentToken.objects.create(
            label=label,
            key_id=issued.key_id,
            secret_sha256=issued.secret_sha256,
            fleet=fleet,
            platform=platform,
            expires_at=expires_at,
            max_uses=max_uses,
        )
        record_act(EventType.ENROLMENT_TOKEN_CREATED, {"key_id": token.key_id, "label": label, "max_uses": max_uses}, actor=actor)
    return token, issued.text


def find_enrolment_token(text: str) -> EnrolmentToken | None:
    """The token that `text` is, unless it is expired or revoked. Takes as long for an unknown key id as for a wrong secret."""
    presented = credentials.read(KIND, text)
    if presented is None:
        return None
    token = EnrolmentToken.objects.filter(
        Q(expires_at__isnull=True) | Q(expires_at__gt=Now()), key_id=presented.key_id, revoked_at__isnull=True
    ).first()
    return token if presented.fits(token.secret_sha256 if token else None) else None


def count_use(token: EnrolmentToken) -> None:
    """One more vehicle comes with it; inside the transaction of the enrolment. Raises EnrolmentTokenUsedUp."""
    room = EnrolmentToken.objects.filter(Q(max_uses__isnull=True) | Q(uses__lt=F("max_uses")), pk=token.pk)
    if not room.update(uses=F("uses") + 1, last_used_at=timezone.now()):
        raise EnrolmentTokenUsedUp


def revoke_enrolment_token(token: EnrolmentToken, *, actor: str) -> bool:
    """Nobody can enrol with it from now on; False if it was revoked before. What was enrolled with it stays as it is."""
    with transaction.atomic():
        if not EnrolmentToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=timezone.now()):
            return False
        record_act(EventType.ENROLMENT_TOKEN_REVOKED, {"key_id": token.key_id}, actor=actor)
    return True
