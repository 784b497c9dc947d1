"""How a vehicle comes in: it enrols, somebody accepts or rejects it, it claims its token. Lock order Vehicle, Enrolment, Upload, Event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from common.errors import ArgusError, InvalidField, NotFound, WrongState
from common.hooks import ask
from events.models import EventType
from events.record import record_act
from vehicles import credentials
from vehicles.enrolment_tokens import count_use
from vehicles.models import VEHICLE_SCOPES, Enrolment, EnrolmentState, EnrolmentToken, Preapproval, Vehicle, VehicleState
from vehicles.tokens import make_token, revoke_all, revoke_token
from vehicles.vin import PATTERN

CLAIM = "argus_claim"
CLAIM_AGAIN = timedelta(days=1)
LABEL = "enrolled"
PREAPPROVED_BY = "preapproved:"  # begins `decided_by` of an enrolment that nobody had to decide


class InvalidVin(InvalidField):
    code = "invalid_vin"
    title = "The VIN has not the form of one"
    action = "Send 17 characters: digits and capital letters without I, O and Q."


class EnrolmentRejected(ArgusError):
    status = 403
    code = "enrolment_rejected"
    title = "The vehicle was rejected"
    action = "Ask the operator to accept it; do not enrol again before."


class EnrolmentSuperseded(ArgusError):
    status = 403
    code = "enrolment_superseded"
    title = "The vehicle has enrolled again since"
    action = "Claim with the answer of the last enrolment, or enrol again."


class AlreadyClaimed(WrongState):
    code = "already_claimed"
    title = "The token was handed out and is in use"
    action = "Use the token; if it is lost, enrol again."


class NothingWaits(WrongState):
    code = "nothing_waits"
    title = "The vehicle does not wait for a decision"


class EnrolledAgain(WrongState):
    code = "enrolled_again"
    title = "The vehicle has enrolled again since you looked"
    action = "Look at what it says now, then decide."


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a vehicle says of itself; nothing of it is verified."""

    vin: str
    name: str = ""
    software: dict[str, str] | None = None
    address: str = ""


def enrol(token: EnrolmentToken, said: Announcement) -> tuple[Enrolment, str]:
    """Take note of a vehicle; its enrolment and the text of the claim, which exists only in this answer.

    A new VIN becomes a pending vehicle, a pre-approved one an active vehicle at once. A VIN that is active stays as it is, its tokens too,
    until somebody accepts the enrolment. Raises InvalidVin, EnrolmentRejected, EnrolmentTokenUsedUp.
    """
    if not PATTERN.fullmatch(said.vin):
        raise InvalidVin
    issued = credentials.issue(CLAIM)
    with transaction.atomic():
        # 1. One enrolment with a token at a time: its uses are counted, and two requests of one vehicle come one after the other.
        token = EnrolmentToken.objects.select_for_update().select_related(None).get(pk=token.pk)
        approved = Preapproval.objects.filter(vin=said.vin).first()
        vehicle, is_new = _vehicle(token, said, approved)
        if vehicle.state == VehicleState.REJECTED:
            raise EnrolmentRejected
        if not vehicle.enrolments.filter(token=token).exists():
            count_use(token)
        # 2. What counts is the last thing that the vehicle said: it may have lost the answer to the one before.
        waved_through = _waved_through(vehicle, token, said.vin)
        now = timezone.now()
        vehicle.enrolments.filter(state=EnrolmentState.PENDING).update(state=EnrolmentState.SUPERSEDED, decided_at=now)
        enrolment = Enrolment.objects.create(
            vehicle=vehicle,
            token=token,
            name=said.name,
            software=said.software or {},
            address=said.address,
            claim_sha256=issued.secret_sha256,
        )
        payload = {"vehicle_id": str(vehicle.pk), "enrolment_id": str(enrolment.pk), "token": token.key_id, "state": str(vehicle.state)}
        record_act(EventType.VEHICLE_ENROLLED, {**payload, "new": is_new}, actor=f"enrolment:{token.key_id}")
        # 3. Who is expected need not wait.
        if approved is not None and vehicle.state == VehicleState.PENDING:
            waved_through = f"{PREAPPROVED_BY}{approved.approved_by}"
            approved.delete()
        if waved_through:
            _accept(vehicle, enrolment, actor=waved_through)
    return enrolment, issued.text


def _vehicle(token: EnrolmentToken, said: Announcement, approved: Preapproval | None) -> tuple[Vehicle, bool]:
    """The vehicle of this VIN, locked, and whether it is new. A pre-approval knows better what it is than the vehicle and the token."""
    known = {
        "state": VehicleState.PENDING,
        "name": (approved.name if approved else "") or said.name,
        "fleet_id": (approved.fleet_id if approved else None) or token.fleet_id,
        "platform_id": (approved.platform_id if approved else None) or token.platform_id,
    }
    vehicle, is_new = Vehicle.objects.get_or_create(vin=said.vin, defaults=known)
    return _locked(vehicle.pk), is_new


def _waved_through(vehicle: Vehicle, token: EnrolmentToken, vin: str) -> str:
    """By whom, when a pre-approved vehicle enrols again because the answer was lost: within a day, and nothing has used a token of it."""
    last = vehicle.enrolments.first()
    if (
        vehicle.state != VehicleState.ACTIVE
        or last is None
        or last.state != EnrolmentState.ACCEPTED
        or not last.decided_by.startswith(PREAPPROVED_BY)
        or last.token_id != token.pk
        or last.created_at <= timezone.now() - CLAIM_AGAIN
        or vehicle.tokens.filter(revoked_at__isnull=True).exclude(pk=last.issued_id or last.pk).exists()
        or vehicle.tokens.filter(last_used_at__isnull=False).exists()
    ):
        return ""
    return last.decided_by


def _locked(vehicle_id: UUID) -> Vehicle:
    vehicle = Vehicle.objects.select_for_update(no_key=True).filter(pk=vehicle_id).first()
    if vehicle is None:
        raise NotFound
    return vehicle


# -- the decision ------------------------------------------------------------------------------------------------------


def accept(vehicle_id: UUID, *, actor: str, seen: UUID | None = None) -> Vehicle:
    """Let a vehicle in, or a vehicle that is in already with a new token: its old ones are revoked then.

    `seen` is the enrolment that was looked at. Raises NotFound, NothingWaits, EnrolledAgain.
    """
    with transaction.atomic():
        vehicle = _locked(vehicle_id)
        enrolment = _to_decide(vehicle, seen)
        if enrolment is None and vehicle.state not in {VehicleState.PENDING, VehicleState.REJECTED}:
            raise NothingWaits
        _accept(vehicle, enrolment, actor=actor)
    return vehicle


def reject(vehicle_id: UUID, *, actor: str, seen: UUID | None = None) -> Vehicle:
    """Turn an enrolment away: a pending vehicle is rejected, one that is in stays as it is. Raises as `accept` does."""
    with transaction.atomic():
        vehicle = _locked(vehicle_id)
        enrolment = _to_decide(vehicle, seen)
        if vehicle.state == VehicleState.PENDING:
            vehicle.reject()
            vehicle.save(update_fields=["state"])
        elif enrolment is None or vehicle.state == VehicleState.REJECTED:
            raise NothingWaits
        if enrolment is not None:
            _decide(enrolment, EnrolmentState.REJECTED, actor)
        _record(EventType.VEHICLE_REJECTED, vehicle, enrolment, actor)
    return vehicle


def retire(vehicle_id: UUID, *, actor: str) -> Vehicle:
    """A vehicle records no more: its credentials are refused, and what it sends at this moment ends. Raises NotFound, NothingWaits."""
    with transaction.atomic():
        vehicle = _locked(vehicle_id)
        if vehicle.state != VehicleState.ACTIVE:
            raise NothingWaits("Only an active vehicle can be retired.")
        vehicle.retire()
        vehicle.save(update_fields=["state"])
        ask("stop_writers", vehicle.pk)
        _record(EventType.VEHICLE_RETIRED, vehicle, None, actor)
    return vehicle


def restore(vehicle_id: UUID, *, actor: str) -> Vehicle:
    """A retired vehicle records again; tokens that were live then work again. Raises NotFound, NothingWaits."""
    with transaction.atomic():
        vehicle = _locked(vehicle_id)
        if vehicle.state != VehicleState.RETIRED:
            raise NothingWaits("Only a retired vehicle can be restored.")
        vehicle.restore()
        vehicle.save(update_fields=["state"])
        _record(EventType.VEHICLE_RESTORED, vehicle, None, actor)
    return vehicle


def _to_decide(vehicle: Vehicle, seen: UUID | None) -> Enrolment | None:
    """The enrolment that waits, or that was rejected with the vehicle."""
    open_states = [EnrolmentState.PENDING, *([EnrolmentState.REJECTED] if vehicle.state == VehicleState.REJECTED else [])]
    enrolment = vehicle.enrolments.filter(state__in=open_states).first()
    if seen is not None and (enrolment is None or enrolment.pk != seen):
        raise EnrolledAgain if enrolment is not None else NothingWaits
    return enrolment


def _accept(vehicle: Vehicle, enrolment: Enrolment | None, *, actor: str) -> None:
    """The vehicle is locked. Tokens that it had are of the computer that was there before."""
    if enrolment is not None:
        revoke_all(vehicle, actor=actor)
        vehicle.enrolments.filter(state=EnrolmentState.ACCEPTED).exclude(pk=enrolment.pk).update(state=EnrolmentState.SUPERSEDED)
        _decide(enrolment, EnrolmentState.ACCEPTED, actor)
    if vehicle.state == VehicleState.RETIRED:
        vehicle.restore()
    elif vehicle.state != VehicleState.ACTIVE:
        vehicle.accept()
    vehicle.save(update_fields=["state"])
    Preapproval.objects.filter(vin=vehicle.vin).delete()
    _record(EventType.VEHICLE_ACCEPTED, vehicle, enrolment, actor)


def _decide(enrolment: Enrolment, state: EnrolmentState, actor: str) -> None:
    enrolment.state, enrolment.decided_at, enrolment.decided_by = state, timezone.now(), actor[:150]
    enrolment.save(update_fields=["state", "decided_at", "decided_by"])


def _record(type: EventType, vehicle: Vehicle, enrolment: Enrolment | None, actor: str) -> None:
    record_act(type, {"vehicle_id": str(vehicle.pk), "enrolment_id": str(enrolment.pk) if enrolment else None}, actor=actor[:150])


# -- the token ---------------------------------------------------------------------------------------------------------


def find_enrolment(enrolment_id: UUID, text: str) -> Enrolment | None:
    """The enrolment whose claim `text` is, or None. Takes as long for an unknown id as for a wrong secret."""
    presented = credentials.read(CLAIM, text)
    if presented is None:
        return None
    enrolment = Enrolment.objects.filter(pk=enrolment_id).first()
    return enrolment if presented.fits(enrolment.claim_sha256 if enrolment else None) else None


def claim(enrolment: Enrolment) -> str | None:
    """The text of the vehicle's token once it is accepted, None while it waits.

    Whoever lost the answer may claim again within a day: the token that nobody has used is revoked and another one made. Raises
    EnrolmentRejected, EnrolmentSuperseded, AlreadyClaimed, VehicleNotActive, TooManyTokens.
    """
    with transaction.atomic():
        vehicle = _locked(enrolment.vehicle_id)
        enrolment = Enrolment.objects.select_for_update(of=("self",)).select_related("issued").get(pk=enrolment.pk)
        if enrolment.state == EnrolmentState.PENDING:
            return None
        if enrolment.state == EnrolmentState.REJECTED:
            raise EnrolmentRejected
        if enrolment.state == EnrolmentState.SUPERSEDED:
            raise EnrolmentSuperseded
        actor = f"vehicle:{vehicle.pk}"
        if enrolment.claimed_at is not None:
            lost = enrolment.issued
            if lost is None or lost.last_used_at or lost.revoked_at or enrolment.claimed_at <= timezone.now() - CLAIM_AGAIN:
                raise AlreadyClaimed
            revoke_token(lost, actor=actor)
        enrolment.issued, text = make_token(vehicle, VEHICLE_SCOPES, label=LABEL, actor=actor)
        enrolment.claimed_at = enrolment.claimed_at or timezone.now()
        enrolment.save(update_fields=["issued", "claimed_at"])
    return text
