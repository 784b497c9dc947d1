"""Signal databases: a file is compiled in the sandbox and becomes its platform's next version; which of them decode a batch."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from django.db import transaction
from django.db.models import Max

from common.errors import InvalidField
from events.models import EventType
from events.record import record_act
from parsers import sandbox
from parsers.errors import ParseError
from vehicles import recognition
from vehicles.models import Platform, SignalDatabase
from vehicles.software import version_key

MAX_BYTES = 16 * 2**20


class BadSignalDatabase(InvalidField):
    code = "bad_signal_database"
    title = "The file is no signal database that can be read"


@dataclass(frozen=True, slots=True)
class Binding:
    """What a database is for: a bus, and an interval of versions of a software component; empty is every one."""

    channel: str = ""
    software: str = ""
    software_from: str = ""
    software_before: str = ""

    def check(self) -> None:
        """Raises BadSignalDatabase for versions without a component and for an interval in which no version lies."""
        if not self.software and (self.software_from or self.software_before):
            raise BadSignalDatabase("Versions are given without the software component that they are of.")
        if self.software_from and self.software_before and version_key(self.software_from) >= version_key(self.software_before):
            raise BadSignalDatabase(f"No version lies between {self.software_from} and {self.software_before}.")


def add_signal_database(
    platform: Platform, name: str, content: bytes, *, channel: str = "", binding: Binding | None = None, actor: str
) -> SignalDatabase:
    """Store the next version of a platform's signal database and make it the active one of its name and software.

    Raises BadSignalDatabase with the reader's reason when it cannot be loaded, has no message or is larger than 16 MiB.
    """
    bound = binding or Binding(channel)
    bound.check()
    if len(content) > MAX_BYTES:
        raise BadSignalDatabase(f"The file has {len(content)} bytes; at most {MAX_BYTES} are allowed.")
    try:
        compiled, warnings, counts = sandbox.compile_database(content, name)
    except ParseError as error:
        raise BadSignalDatabase(str(error)) from error
    except sandbox.SandboxCrash as crash:
        if crash.outcome.kind in ("plugin", "start"):
            raise BadSignalDatabase(f"No parser could be started: {crash.outcome.detail}") from crash
        raise BadSignalDatabase("Reading it took more memory or time than allowed.") from crash
    if not counts["messages"]:
        # It would retire the version before it, and from then on nothing would be decoded.
        raise BadSignalDatabase("The file has no message: nothing could be decoded with it.")
    kind, signature = recognition.signature(compiled)
    with transaction.atomic():
        Platform.objects.select_for_update().get(pk=platform.pk)  # two uploads would take the same version
        versions = SignalDatabase.objects.filter(platform=platform, name=name)
        newest = versions.aggregate(newest=Max("version"))["newest"] or 0
        software = {name: value for name, value in asdict(bound).items() if name != "channel"}
        versions.filter(active=True, **software).update(active=False)
        database = SignalDatabase.objects.create(
            platform=platform,
            name=name,
            version=newest + 1,
            **asdict(bound),
            kind=kind,
            content=content,
            compiled=compiled,
            signature=signature,
            sha256=hashlib.sha256(content).hexdigest(),
            message_count=counts["messages"],
            signal_count=counts["signals"],
            warnings=warnings,
            uploaded_by=actor,
        )
        record_act(EventType.DATABASE_ADDED, {"platform": platform.name, "name": name, "version": database.version}, actor=actor)
    return database


def databases_for(platform_id: int | None, software: dict[str, Any]) -> list[SignalDatabase]:
    """What a batch of this platform with this software (component -> version) is decoded with, in a stable order.

    Of several active databases of one name one that is bound to a software wins over one for every software, then the newest.
    None for a vehicle without platform.
    """
    if platform_id is None:
        return []
    active = SignalDatabase.objects.filter(platform_id=platform_id, active=True).defer("content", "signature")
    chosen: dict[str, SignalDatabase] = {}
    for database in active.order_by("name", "version"):
        known = chosen.get(database.name)
        if database.fits(software) and (known is None or bool(database.software) >= bool(known.software)):
            chosen[database.name] = database
    return list(chosen.values())


def joined(databases: list[SignalDatabase]) -> bytes:
    """The compiled databases as the parser takes them."""
    return sandbox.join_databases([(bytes(database.compiled), [database.channel] if database.channel else None) for database in databases])
