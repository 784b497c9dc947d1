"""Makes rows and tokens for tests, through the same functions that the product uses where there is one."""

from __future__ import annotations

import itertools

from django.contrib.auth.models import Group, User

from batches.models import Batch
from vehicles.models import VEHICLE_SCOPES, Platform, Vehicle
from vehicles.tokens import make_token
from vehicles.vin import check_digit

_numbers = itertools.count(1)


def vin() -> str:
    """A new well-formed VIN with a right check digit."""
    draft = f"WARGUS000{next(_numbers):08d}"
    return draft[:8] + check_digit(draft) + draft[9:]


def platform(name: str = "demo") -> Platform:
    """The platform of this name."""
    return Platform.objects.get_or_create(name=name)[0]


def vehicle(**fields) -> Vehicle:
    """A vehicle of the demo platform."""
    fields.setdefault("vin", vin())
    fields.setdefault("platform", platform())
    return Vehicle.objects.create(**fields)


def token(of: Vehicle | None, scopes=VEHICLE_SCOPES) -> str:
    """The text of a new token."""
    return make_token(of, scopes, label="test", actor="test")[1]


def bearer(of: Vehicle | None, scopes=VEHICLE_SCOPES) -> dict[str, str]:
    """Keyword arguments for the test client that authorise it."""
    return {"HTTP_AUTHORIZATION": f"Bearer {token(of, scopes)}"}


def batch(of: Vehicle | None = None, **fields) -> Batch:
    """A pending batch."""
    return Batch.objects.create(vehicle=of or vehicle(), **fields)


def user(name: str, *groups: str) -> User:
    """A staff user in groups."""
    person = User.objects.create_user(name, password="a long password", is_staff=True)
    person.groups.set(Group.objects.filter(name__in=groups))
    return person

