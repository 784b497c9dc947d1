"""People who are logged in, and a batch that went through the whole pipeline."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.utils import timezone

from batches.models import Batch
from batches.transitions import locked
from diagnosis.models import Finding
from events.models import EventType
from events.record import record
from files import storage
from files.models import File
from parsers.base import Recording
from parsers.blocks import LEVELS, MessageList
from parsers.can.database import Database
from parsers.can.decode import Decoder
from parsers.results.writer import ResultWriter
from tests import factories
from tests.admin.pages import logged_in
from tests.queue import drain
from vehicles.signal_databases import add_signal_database

DBC = b"""VERSION ""
BS_:
BU_: X
BO_ 496 Engine: 8 X
 SG_ Counter : 0|32@1+ (1,0) [0|0] "" X
 SG_ Temperature : 32|16@1+ (0.1,-40) [-40|200] "degC" X
"""


@pytest.fixture
def support(db) -> Client:
    return logged_in(factories.user("susan", "support"))


@pytest.fixture
def ops(db) -> Client:
    return logged_in(factories.user("otto", "ops"))


@pytest.fixture
def root(db) -> Client:
    return logged_in(User.objects.create_superuser("root", password="a long password"))


def frame(second: int, number: int, raw: int) -> bytes:
    """A line of candump: the number, and the raw temperature (0.1 degC above -40)."""
    return b"(%d.%06d) can0 1F0#%s\n" % (second, number * 1000, struct.pack("<IHH", number, raw, 0).hex().encode())


@pytest.fixture
def finished(db) -> Batch:
    """Completed with issues: one file read, one not. Rows only, nothing was parsed."""
    batch = factories.batch(factories.vehicle(name="Heron"))
    factories.file(batch, name="drive.log", state="completed", result_key="results/x/1", format="candump")
    broken = factories.stored(batch, b"not a log " * 20, "broken.blf")
    File.objects.filter(pk=broken.pk).update(state="failed", error_class="input", error_code="unknown_format", error="It is no log.")
    done = {"state": "completed", "processed_files": 1, "failed_files": 1, "completed_at": timezone.now(), "worst_severity": "error"}
    Batch.objects.filter(pk=batch.pk).update(**done, finding_count=1)
    Finding.objects.create(batch=batch, rule="damaged", rule_version="1", severity="error", sentence="broken.blf could not be read.")
    with transaction.atomic():
        record(locked(batch.pk), EventType.STATUS_CHANGED, {"old_status": "diagnosing", "new_status": "completed"})
    return Batch.objects.get(pk=batch.pk)


@pytest.fixture
def diagnosed(db) -> Batch:
    """Two readable files of 900 samples each, one with a spike of 50 degC, and one that is no log."""
    vehicle = factories.vehicle(name="Kestrel")
    add_signal_database(vehicle.platform, "engine", DBC, actor="test")
    logs = {
        f"drive_{part}.log": b"".join(frame(1_700_000_000 + part, i, 900 if (part, i) == (1, 500) else 400) for i in range(900))
        for part in range(2)
    }
    made = factories.uploaded({**logs, "broken.blf": b"this is not a log " * 20}, vehicle)
    drain()
    return Batch.objects.get(pk=made.pk)


@pytest.fixture
def logged(finished: Batch, tmp_path: Path) -> Batch:
    """The file that was read holds 450 log messages, one of them an error that tries to be markup."""
    folder = tmp_path / "result"
    folder.mkdir()
    recording = Recording(start_ns=1_700_000_000 * 10**9, absolute=True)
    source = recording.source_index("nav<b>")
    gathered = MessageList()
    for i in range(450):
        level, text = ("error", "<script>alert(1)</script> lidar lost") if i == 300 else ("info", f"line {i}")
        gathered.add(i * 10**9, LEVELS.index(level), source, text)
    writer = ResultWriter(folder, Decoder(Database.merge([]), []), recording)
    writer.take_messages(gathered.take())
    for _ in writer.finish():
        pass
    writer.close()
    storage.put_folder("results/x/1", folder)
    File.objects.filter(batch=finished, name="drive.log").update(facts={"messages": 450, "message_levels": {"info": 449, "error": 1}})
    Batch.objects.filter(pk=finished.pk).update(recorded_from="2023-11-14T22:13:20Z")
    return Batch.objects.get(pk=finished.pk)
