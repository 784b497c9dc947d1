"""Signal databases: a DBC comes in, is compiled in the sandbox, and becomes the platform's next version."""

from __future__ import annotations

import hashlib

from django.db import transaction
from django.db.models import Max

from common.errors import InvalidField
from events.models import EventType
from events.record import record_act
from parsers import sandbox
from parsers.errors import ParseError
from vehicles.models import Platform, SignalDatabase

MAX_BYTES = 16 * 2**20


class BadSignalDatabase(InvalidField):
    code = "bad_signal_database"
    title = "The file is no DBC that can be read"


def add_signal_database(platform: Platform, name: str, content: bytes, *, channel: str = "", actor: str) -> SignalDatabase:
    """Store the next version of a platform's signal database and make it the active one.

    Raises BadSignalDatabase with the reader's reason when it cannot be loaded, has no message or is larger than 16 MiB.
    """
    if len(content) > MAX_BYTES:
        raise BadSignalDatabase(f"The file has {len(content)} bytes; at most {MAX_BYTES} are allowed.")
    try:
        compiled, warnings, counts = sandbox.compile_database(content, name)
    except ParseError as error:
        raise BadSignalDatabase(str(error)) from error
    except sandbox.SandboxCrash as crash:
        raise BadSignalDatabase("Reading it took more memory or time than allowed.") from crash
    if not counts["messages"]:
        # It would retire the version before it, and from then on nothing would be decoded.
        raise BadSignalDatabase("The file has no message: nothing could be decoded with it.")
    with transaction.atomic():
        Platform.objects.select_for_update().get(pk=platform.pk)  # two uploads would take the same version
        versions = SignalDatabase.objects.filter(platform=platform, name=name)
        newest = versions.aggregate(newest=Max("version"))["newest"] or 0
        versions.filter(active=True).update(active=False)
        database = SignalDatabase.objects.create(
            platform=platform,
            name=name,
            version=newest + 1,
            channel=channel,
            content=content,
            compiled=compiled,
            sha256=hashlib.sha256(content).hexdigest(),
            message_count=counts["messages"],
            signal_count=counts["signals"],
            warnings=warnings,
            uploaded_by=actor,
        )
        record_act(EventType.DATABASE_ADDED, {"platform": platform.name, "name": name, "version": database.version}, actor=actor)
    return database


def active_databases(platform_id: int | None) -> list[SignalDatabase]:
    """What a vehicle of this platform is decoded with, in a stable order; none for a vehicle without platform."""
    if platform_id is None:
        return []
    return list(SignalDatabase.objects.filter(platform_id=platform_id, active=True).defer("content").order_by("name"))


def joined(databases: list[SignalDatabase]) -> bytes:
    """The compiled databases as the parser takes them."""
    return sandbox.join_databases([(bytes(database.compiled), [database.channel] if database.channel else None) for database in databases])
