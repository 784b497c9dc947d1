"""API tokens: `argus_v1_<key id>_<secret>_<crc32>`; made, shown once, verified in constant time, rotated, revoked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import CharField, F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from common.errors import WrongState
from common.hooks import ask
from common.prepared import Param, Prepared
from events.models import EventType
from events.record import record_act
from vehicles import credentials
from vehicles.models import LIVE_TOKENS_PER_VEHICLE, VEHICLE_SCOPES, ApiToken, Vehicle, VehicleState

KIND = "argus_v1"
TOUCH_EVERY = timedelta(minutes=1)
REPLACED_LIVES_ON = timedelta(hours=24)


class TooManyTokens(WrongState):
    code = "too_many_tokens"
    title = "The vehicle has two live tokens already"
    action = "Revoke one of them first."


class VehicleNotActive(WrongState):
    code = "vehicle_not_active"
    title = "The vehicle is not active"
    action = "Accept or restore it first."


def make_token(
    vehicle: Vehicle | None,
    scopes: Iterable[str],
    *,
    label: str,
    actor: str,
    expires_at: datetime | None = None,
    replaces: ApiToken | None = None,
) -> tuple[ApiToken, str]:
    """Make a token and return it with its full text, which exists only in this answer.

    Raises TooManyTokens when the vehicle has two live ones, VehicleNotActive.
    """
    issued = credentials.issue(KIND)
    with transaction.atomic():
        token = ApiToken.objects.create(
            vehicle=vehicle,
            slot=_free_slot(vehicle) if vehicle else None,
            label=label,
            key_id=issued.key_id,
            secret_sha256=issued.secret_sha256,
            scopes=sorted(str(scope) for scope in scopes),
            expires_at=expires_at,
            replaces=replaces,
        )
        told = {"key_id": token.key_id, "vehicle_id": str(vehicle.pk) if vehicle else None}
        record_act(EventType.TOKEN_CREATED, {**told, **({"replaces": replaces.key_id} if replaces else {})}, actor=actor)
    return token, issued.text


def _free_slot(vehicle: Vehicle) -> int:
    """A slot that no live token has. An expired token leaves its own: it is revoked as of its end."""
    state = Vehicle.objects.select_for_update(no_key=True).values_list("state", flat=True).get(pk=vehicle.pk)  # two makers: one slot
    if state != VehicleState.ACTIVE:
        raise VehicleNotActive
    vehicle.tokens.filter(revoked_at__isnull=True, expires_at__lte=Now()).update(revoked_at=F("expires_at"))
    taken = set(vehicle.tokens.filter(revoked_at__isnull=True).values_list("slot", flat=True))
    free = sorted(set(range(1, LIVE_TOKENS_PER_VEHICLE + 1)) - taken)
    if not free:
        raise TooManyTokens
    return free[0]


def rotate(vehicle: Vehicle, token: ApiToken | None, *, actor: str) -> tuple[ApiToken, str]:
    """Another token with the rights of `token`, which lives on until 24 hours after the new one is used first.

    A vehicle that came by its certificate has no token to replace and gets all rights of a vehicle. Raises TooManyTokens when the vehicle
    has two live ones: one rotation at a time.
    """
    scopes, label = (token.scopes, token.label) if token else (VEHICLE_SCOPES, "")
    return make_token(vehicle, scopes, label=label, actor=actor, expires_at=_as_long(token), replaces=token)


def _as_long(token: ApiToken | None) -> datetime | None:
    """A token with an end is followed by one that lives as long as it was meant to."""
    if token is None or token.expires_at is None:
        return None
    return timezone.now() + (token.expires_at - token.created_at)


def _by_key_id() -> QuerySet[ApiToken]:
    live = Q(expires_at__isnull=True) | Q(expires_at__gt=Now())
    of_active = Q(vehicle__isnull=True) | Q(vehicle__state=VehicleState.ACTIVE)
    key_id = Param("key_id", CharField())
    return ApiToken.objects.select_related("vehicle").filter(live, of_active, key_id=key_id, revoked_at__isnull=True)


_live_token = Prepared(_by_key_id)


def find_token(text: str) -> ApiToken | None:
    """The live token that `text` is, or None. Takes as long for an unknown key id as for a wrong secret."""
    presented = credentials.read(KIND, text)
    if presented is None:
        return None
    token = _live_token.first(key_id=presented.key_id)
    return token if presented.fits(token.secret_sha256 if token else None) else None


def touch(token: ApiToken) -> None:
    """Note that the token was used; at most one write a minute. Its first use sets the end of the token that it replaces."""
    now = timezone.now()
    if token.last_used_at and now - token.last_used_at < TOUCH_EVERY:
        return
    if token.last_used_at is None and token.replaces is not None:
        _first_use(token, token.replaces, now)
    else:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)


def _first_use(token: ApiToken, replaced: ApiToken, now: datetime) -> None:
    ends = now + REPLACED_LIVES_ON
    with transaction.atomic():
        if not ApiToken.objects.filter(pk=token.pk, last_used_at__isnull=True).update(last_used_at=now):
            return  # another request was first
        outlives = Q(expires_at__isnull=True) | Q(expires_at__gt=ends)
        if ApiToken.objects.filter(outlives, pk=replaced.pk, revoked_at__isnull=True).update(expires_at=ends):
            payload = {"vehicle_id": str(token.vehicle_id), "key_id": replaced.key_id, "by": token.key_id}
            record_act(EventType.TOKEN_REPLACED, {**payload, "expires_at": ends.isoformat()}, actor=f"vehicle:{token.vehicle_id}")


def revoke_token(token: ApiToken, *, actor: str) -> bool:
    """Revoke at once, and stop what the vehicle is sending at this moment; False if it was revoked before."""
    with transaction.atomic():
        if not ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=timezone.now()):
            return False
        if token.vehicle_id:
            ask("stop_writers", token.vehicle_id)
        record_act(EventType.TOKEN_REVOKED, {"key_id": token.key_id}, actor=actor)
    return True


def revoke_all(vehicle: Vehicle, *, actor: str) -> int:
    """Revoke every live token of a vehicle; their number."""
    return sum(revoke_token(token, actor=actor) for token in vehicle.tokens.filter(revoked_at__isnull=True))
