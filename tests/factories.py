"""Makes rows and tokens for tests, through the same functions that the product uses where there is one."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from importlib import import_module

from django.contrib.auth.models import Group, Permission, User
from django.db.models import F

from batches.models import Batch
from files import storage
from files.models import File
from vehicles.enrolment import Announcement, enrol
from vehicles.enrolment_tokens import find_enrolment_token, make_enrolment_token
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


def enrolment_token(**fields) -> str:
    """The text of a new enrolment token."""
    return make_enrolment_token(fields.pop("label", "workshop"), actor="test", **fields)[1]


def enrolled(of: str = "", **said) -> Vehicle:
    """A vehicle that has enrolled and waits."""
    token = find_enrolment_token(enrolment_token())
    assert token is not None
    return enrol(token, Announcement(of or vin(), **said))[0].vehicle


def batch(of: Vehicle | None = None, **fields) -> Batch:
    """A pending batch."""
    return Batch.objects.create(vehicle=of or vehicle(), **fields)


def user(name: str, *groups: str) -> User:
    """A staff user in groups."""
    person = User.objects.create_user(name, password="a long password", is_staff=True)
    if groups and not Group.objects.exists():
        restore_groups()
    person.groups.set(Group.objects.filter(name__in=groups))
    return person


def restore_groups() -> None:
    """The groups that the migration made, after a test with real transactions has emptied the tables."""
    for name, rights in import_module("argus_site.migrations.0001_groups").GROUPS.items():
        group = Group.objects.create(name=name)
        for label, codenames in rights:
            group.permissions.add(*Permission.objects.filter(content_type__app_label=label, codename__in=codenames))
    rights = import_module("argus_site.migrations.0003_enrolment").OPS
    Group.objects.get(name="ops").permissions.add(*Permission.objects.filter(content_type__app_label="vehicles", codename__in=rights))


def file(of: Batch, **fields) -> File:
    """A pending file whose object need not exist; counted in the batch."""
    fields = {"name": "drive.blf", "size": 10, "sha256": "0" * 64, "storage_key": f"raw/{of.pk}/{uuid.uuid4()}", **fields}
    made = File.objects.create(batch=of, **fields)
    Batch.objects.filter(pk=of.pk).update(total_files=F("total_files") + 1)
    return made


def stored(of: Batch, content: bytes, name: str = "drive.log") -> File:
    """A pending file whose bytes lie in storage."""
    key = f"raw/{of.pk}/{uuid.uuid4()}"
    storage.write_bytes(key, content)
    return file(of, name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest(), storage_key=key)


def uploaded(contents: dict[str, bytes], of: Vehicle | None = None) -> Batch:
    """A batch with these files, completed by the vehicle: scatter is in the queue."""
    from batches.intake import complete_batch

    made = batch(of)
    for name, content in contents.items():
        stored(made, content, name)
    complete_batch(made.pk, None, actor="test")
    return Batch.objects.get(pk=made.pk)


CANDUMP = b"".join(b"(1700000000.%06d) can0 1F0#%016X\n" % (i * 1000, i) for i in range(900))
"""A readable candump log."""
