"""What the demo fleet needs before it can upload: people, vehicles with tokens, one that waits, the signal database and its limits."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from django.contrib.auth.models import Group, User

from demo.fleet import VEHICLES
from diagnosis.models import FindingSeverity, SignalLimit
from vehicles.enrolment import Announcement, enrol
from vehicles.enrolment_tokens import make_enrolment_token
from vehicles.models import VEHICLE_SCOPES, Fleet, Platform, SignalDatabase, Vehicle, VehicleState
from vehicles.signal_databases import add_signal_database
from vehicles.tokens import find_token, make_token, revoke_token

ACTOR = "argus:demo"
DBC = Path(__file__).resolve().parent.parent / "demo" / "argus_demo.dbc"
NEWCOMER = Announcement("1A9AD6SH3SA078059", name="Sparrow", software={"gateway": "2.4.1"}, address="192.0.2.31")
PEOPLE = {"support": False, "ops": False, "admin": True}
LIMITS = [
    (
        "CoolantTemperature",
        None,
        115.0,
        5.0,
        FindingSeverity.CRITICAL,
        "Stop the vehicle, let the engine cool, check coolant level, pump and fan.",
    ),
    ("BatteryVoltage", 40.0, 54.0, 10.0, FindingSeverity.WARNING, "Check the 48 V battery and its converter."),
]


def prepare(folder: Path) -> tuple[dict[str, str], Path]:
    """Make what is missing; the passwords of the demo users and the file with the vehicles' tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    return people(folder / "logins.json"), vehicles(folder / "tokens.json")


def people(path: Path) -> dict[str, str]:
    """The demo users; their passwords are made once, by chance, and kept beside the data for this line on the terminal."""
    passwords: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    for name, is_admin in PEOPLE.items():
        user, made = User.objects.get_or_create(username=name, defaults={"is_staff": True, "is_superuser": is_admin})
        if made or name not in passwords:
            passwords[name] = secrets.token_urlsafe(9)
            user.set_password(passwords[name])
            user.save()
        if not is_admin:
            user.groups.add(Group.objects.get(name=name))
    write_private(path, passwords)
    return passwords


def vehicles(path: Path) -> Path:
    """The demo vehicles, each with a live token in the file unless somebody has retired it."""
    tokens: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    fleet, _ = Fleet.objects.get_or_create(name="Demo fleet")
    for described in VEHICLES:
        platform, _ = Platform.objects.get_or_create(name=described.platform, defaults={"description": "Demo platform"})
        if not SignalDatabase.objects.filter(platform=platform).exists():
            add_signal_database(platform, "powertrain", DBC.read_bytes(), actor=ACTOR)
        vehicle, _ = Vehicle.objects.get_or_create(
            vin=described.vin, defaults={"name": described.name, "fleet": fleet, "platform": platform}
        )
        if vehicle.state == VehicleState.ACTIVE and find_token(tokens.get(vehicle.vin, "")) is None:
            for old in vehicle.tokens.filter(label=ACTOR, revoked_at__isnull=True):
                revoke_token(old, actor=ACTOR)
            tokens[vehicle.vin] = make_token(vehicle, VEHICLE_SCOPES, label=ACTOR, actor=ACTOR)[1]
    for signal, low, high, duration, severity, action in LIMITS:
        SignalLimit.objects.get_or_create(
            platform=None,
            signal=signal,
            defaults={"low": low, "high": high, "duration_s": duration, "severity": severity, "action": action},
        )
    newcomer(fleet)
    write_private(path, tokens)
    return path


def newcomer(fleet: Fleet) -> None:
    """A vehicle that has announced itself and waits for a decision; once, whatever became of it."""
    if not Vehicle.objects.filter(vin=NEWCOMER.vin).exists():
        platform = Platform.objects.order_by("name").first()
        token, _ = make_enrolment_token("Demo workshop", fleet=fleet, platform=platform, actor=ACTOR)
        enrol(token, NEWCOMER)


def write_private(path: Path, content: dict[str, str]) -> None:
    """A JSON file that only its owner can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file, indent=1)
