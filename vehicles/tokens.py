"""API tokens: `argus_v1_<key id>_<secret>_<crc32>`; made, shown once, verified in constant time, revoked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from common.errors import WrongState
from events.models import EventType
from events.record import record_act
from vehicles.models import LIVE_TOKENS_PER_VEHICLE, ApiToken, Vehicle

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
KEY_ID_LENGTH = 12
SECRET_BYTES = 32
FORM = re.compile(r"argus_v1_([0-9A-Za-z]{12})_([0-9A-Za-z_-]{43})_([0-9A-Za-z]{6})")
TOUCH_EVERY = timedelta(minutes=1)


class TooManyTokens(WrongState):
    code = "too_many_tokens"
    title = "The vehicle has two live tokens already"
    action = "Revoke one of them first."


def make_token(vehicle: Vehicle | None, scopes: Iterable[str], *, label: str, actor: str) -> tuple[ApiToken, str]:
    """Make a token and return it with its full text, which exists only in this answer.

    Raises TooManyTokens when the vehicle has two live ones.
    """
    key_id = "".join(secrets.choice(BASE62) for _ in range(KEY_ID_LENGTH))
    secret = base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=").decode()
    with transaction.atomic():
        slot = None
        if vehicle is not None:
            Vehicle.objects.select_for_update().get(pk=vehicle.pk)  # two makers would take the same slot
            taken = set(vehicle.tokens.filter(revoked_at__isnull=True).values_list("slot", flat=True))
            free = sorted(set(range(1, LIVE_TOKENS_PER_VEHICLE + 1)) - taken)
            if not free:
                raise TooManyTokens
            slot = free[0]
        token = ApiToken.objects.create(
            vehicle=vehicle,
            slot=slot,
            label=label,
            key_id=key_id,
            secret_sha256=_digest(secret),
            scopes=sorted(str(scope) for scope in scopes),
        )
        record_act(EventType.TOKEN_CREATED, {"key_id": key_id, "vehicle_id": str(vehicle.pk) if vehicle else None}, actor=actor)
    head = f"argus_v1_{key_id}_{secret}"
    return token, f"{head}_{_checksum(head)}"


def find_token(text: str) -> ApiToken | None:
    """The live token that `text` is, or None. Takes as long for an unknown key id as for a wrong secret."""
    match = FORM.fullmatch(text)
    if match is None or not hmac.compare_digest(_checksum(text.rpartition("_")[0]), match[3]):
        return None
    token = (
        ApiToken.objects.select_related("vehicle", "vehicle__fleet")
        .filter(Q(expires_at__isnull=True) | Q(expires_at__gt=Now()), key_id=match[1], revoked_at__isnull=True)
        .first()
    )
    stored = token.secret_sha256 if token else "0" * 64
    return token if hmac.compare_digest(stored, _digest(match[2])) and token else None


def touch(token: ApiToken) -> None:
    """Note that the token was used; at most one write a minute."""
    now = timezone.now()
    if token.last_used_at and now - token.last_used_at < TOUCH_EVERY:
        return
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    if token.vehicle_id:
        Vehicle.objects.filter(pk=token.vehicle_id).update(last_contact_at=now)


def revoke_token(token: ApiToken, *, actor: str) -> bool:
    """Revoke at once; False if it was revoked before."""
    with transaction.atomic():
        if not ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=timezone.now()):
            return False
        record_act(EventType.TOKEN_REVOKED, {"key_id": token.key_id}, actor=actor)
    return True


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(head: str) -> str:
    """CRC-32 in six base-62 digits: a mistyped token is refused without a look at the database."""
    number, digits = zlib.crc32(head.encode()), ""
    while number:
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits.rjust(6, "0")
