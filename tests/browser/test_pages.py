"""The pages in a real browser: nothing refused by the security policy, the plot draws, nothing wider than a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batches.models import Batch
from batches.opening import open_batch
from files.models import Upload
from tests import factories
from tests.browser.chromium import PROGRAM, Browser, browser
from tests.flows.live import Live, running
from tests.queue import drain
from vehicles.signal_databases import add_signal_database

pytestmark = [pytest.mark.browser, pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed: apt-get install chromium")]

DBC = b"""VERSION ""
BS_:
BU_: X
BO_ 496 Example: 8 X
 SG_ Counter : 0|32@1+ (1,0) [0|0] "" X
 SG_ Temperature : 32|16@1+ (0.1,-40) [-40|200] "degC" X
"""
PASSWORD = "a long password"


@pytest.fixture
def argus(transactional_db, tmp_path: Path) -> Iterator[Live]:
    with running(tmp_path, workers=False) as live:
        yield live


@pytest.fixture
def batch(argus: Live) -> Batch:
    vehicle = factories.vehicle(name="Browser")
    add_signal_database(vehicle.platform, "example", DBC, actor="test")
    log = b"".join(b"(1700000000.%06d) can0 1F0#%08X%04X0000\n" % (i * 1000, i, 900 if i == 500 else 600) for i in range(900))
    made = factories.uploaded({"drive.log": log, "broken.blf": b"not a log at all" * 20}, vehicle)
    drain()
    return Batch.objects.get(pk=made.pk)


@pytest.fixture
def page(argus: Live) -> Iterator[Browser]:
    factories.user("ops", "ops")
    with browser() as opened:
        opened.view(1400)
        opened.log_in(argus.url, "ops", PASSWORD)
        yield opened


def paths(batch: Batch) -> list[str]:
    return [
        "/admin/",
        "/admin/batches/batch/",
        f"/admin/batches/batch/{batch.pk}/change/",
        f"/admin/vehicles/vehicle/{batch.vehicle_id}/change/",
    ]


def test_pages_run_under_the_strict_policy_and_fit_a_phone(argus: Live, batch: Batch, page: Browser):
    assert batch.state == "completed"
    too_wide = []
    for path in paths(batch):
        for width in (1400, 400):
            for dark in (False, True):
                page.view(width, dark=dark)
                page.open(argus.url + path)
                if page.run("document.documentElement.scrollWidth") > width:
                    too_wide.append((path, width))
                narrow = page.run("document.querySelector('#content').getBoundingClientRect().width")
                if width == 400 and narrow < 320:
                    too_wide.append((path, f"content only {narrow} px"))
    assert too_wide == []
    assert page.complaints == []


def test_the_plot_of_a_finding_or_a_ticked_signal_is_drawn(argus: Live, batch: Batch, page: Browser):
    page.open(f"{argus.url}/admin/batches/batch/{batch.pk}/change/")
    page.until("document.querySelector('input[name=signal]')")
    row = "[...document.querySelectorAll('tr')].find(row => row.textContent.includes('Temperature'))"
    page.run(f"{row}.querySelector('input[type=checkbox]').click()")
    page.until("document.querySelector('.uplot canvas')")
    assert "Temperature" in page.run("decodeURIComponent(location.href)")
    assert page.complaints == []


def test_the_api_documentation_works_without_a_network(argus: Live, page: Browser):
    page.open(f"{argus.url}/api/v1/docs")
    page.until("document.querySelector('.opblock')")
    assert page.complaints == []


def test_files_on_their_way_are_shown_live_on_any_screen(argus: Live, page: Browser):
    files = [{"name": "drive.blf", "size": 2_000_000_000}, {"name": "a_long_name_" * 12 + ".mcap", "size": 700_000_000}]
    batch = open_batch(factories.vehicle(name="Kestrel"), {}, files, actor="vehicle:x")
    upload = Upload.objects.get(name="drive.blf")
    paths = [f"/admin/batches/batch/{batch.pk}/{below}" for below in (f"upload/{upload.pk}/end/", "change/")]
    for path in paths:
        for width in (1400, 400):
            for dark in (False, True):
                page.view(width, dark=dark)
                page.open(argus.url + path)
                assert page.run("document.documentElement.scrollWidth") <= width
    Upload.objects.filter(pk=upload.pk).update(offset=1_800_000_000)
    page.until("document.querySelector('#arriving').textContent.includes('1.8 GB of 2.0 GB')")
    assert page.run("document.querySelector('#arriving progress').value") == 90
    assert page.complaints == []
