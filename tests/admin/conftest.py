"""People who are logged in, and a batch that went through the whole pipeline."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from batches.models import Batch
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


@pytest.fixture
def diagnosed(db) -> Batch:
    """Two readable files of 900 samples each, one with a spike of 50 degC, and one that is no log."""
    vehicle = factories.vehicle(name="Kestrel")
    add_signal_database(vehicle.platform, "engine", DBC, actor="test")
    logs = {
        f"drive_{part}.log": b"".join(
            b"(%d.%06d) can0 1F0#%08X%04X0000\n" % (1_700_000_000 + part, i * 1000, i, 900 if (part, i) == (1, 500) else 400)
            for i in range(900)
        )
        for part in range(2)
    }
    made = factories.uploaded({**logs, "broken.blf": b"this is not a log " * 20}, vehicle)
    drain()
    return Batch.objects.get(pk=made.pk)
